"""What is drawn: curves of the method that predicted, on ladders of any shape, and names that cover nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from simulated_ladder import rows_of, simulated, write

from ladder.rungs.rung import Target
from predict.__main__ import main
from predict.analyses.quantities import Quantity
from predict.analyses.track_plot import track_plot
from predict.measured.ladder import Measured
from predict.measured.load import load_ladder
from predict.measured.progress import Trace
from predict.measured.table import table_of
from predict.methods import METHODS
from predict.methods.ensemble import FittedEnsemble
from predict.methods.fits import predict_target
from predict.methods.slack import estimate
from predict.methods.text_loss import fit_text_loss
from predict.show.curves import paths
from predict.show.method_curves import curves_of
from predict.show.plots import BLUE, CELL, Plot, dot, label, legend, place_names

TARGET = Target(name="far", n=7e9, d=2.8e12)
WORDS = ["--n", "7e9", "--d", "2.8e12"]
SMALL = ["--sizes", "190M,370M,760M,1.3B"]


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return load_ladder(write(tmp_path_factory.mktemp("ladder") / "mine.csv", simulated(noise=0.003))).below(TARGET)


def accuracies_alone(folder: Path, checkpoints: int) -> str:
    frame = simulated(noise=0.003, checkpoints=checkpoints)
    return str(write(folder / "mine.csv", frame[frame.metric == "rc_acc"]))


def test_curves_are_those_of_the_method_that_predicted(ladder: Measured) -> None:
    tasks = ladder.tasks()
    fitted = {name: METHODS[name].fit(ladder, tasks) for name in ("default", "paper", "paper-flops", "paper-single")}
    drawn = {name: curves_of(one, ladder) for name, one in fitted.items()}
    ensemble = fitted["default"]
    assert isinstance(ensemble, FittedEnsemble)
    for method, (curves,) in drawn.items():
        (p,) = predict_target(ladder, TARGET, method)
        assert curves.accuracy is not None
        assert float(curves.accuracy(TARGET.n, TARGET.d)) == pytest.approx(p.accuracy.value, abs=1e-12)
        along = np.asarray(curves.accuracy(np.full(5, TARGET.n), np.geomspace(1e11, 1e13, 5)))
        assert along.shape == (5,) and (np.diff(along) > 0).all()
    names = [chain.name for chain in drawn["default"][0].chains]
    assert names == [name for name in ensemble.study.members if name != "direct"] and names
    (p,), text = ensemble.predict(TARGET), fit_text_loss(ladder)
    assert p.loss and text
    predicted = {"task loss": p.loss.value, "LM loss": text.predict(TARGET).value}  # one prediction, wherever it is
    for chain in drawn["default"][0].chains:
        assert len(chain.clouds) == len(chain.finals) == len(ladder.rungs)
        assert float(chain.step1(TARGET.n, TARGET.d)) == pytest.approx(predicted[chain.name], rel=1e-12)
        actual = chain.actual(TARGET)
        assert actual is not None and float(chain.step1(TARGET.n, TARGET.d)) == pytest.approx(actual, rel=0.05)


def test_where_each_size_was_trained_once_one_curve_leads_to_the_target(tmp_path: Path) -> None:
    rows = [row for size, n in (("a", 1e8), ("b", 3e8), ("c", 1e9)) for row in rows_of(size, size, n, 20 * n)]
    runs = load_ladder(write(tmp_path / "mine.csv", table_of(rows, "mine"))).rungs
    through, ahead = paths(runs, [TARGET])
    assert (through.n[0], through.n[-1]) == (pytest.approx(1e8), pytest.approx(1e9)) and not through.ahead
    assert (ahead.n[-1], ahead.d[-1]) == (pytest.approx(TARGET.n), pytest.approx(TARGET.d)) and ahead.ahead
    assert (ahead.n[0], ahead.d[0]) == (pytest.approx(1e9), pytest.approx(2e10))


def test_a_ladder_of_accuracies_alone_has_curves_formula_and_noise(tmp_path: Path) -> None:
    path, out = accuracies_alone(tmp_path, 12), tmp_path / "out"
    main(["report", "--ladder", path, *SMALL, *WORDS, "--output", str(out)])
    page = (out / "report.html").read_text()
    assert (out / "chained.png").exists() and not list(out.glob("step*.png"))
    assert "z(N,D) = " in page and "7B on 2.8T tokens, predicted from 16 smaller models" in page
    assert (
        "accuracy SNR" in page and "loss SNR" not in page and "inf" not in page.split("</style>")[1].split("<h2>")[-2]
    )


def test_noise_is_blank_where_there_is_one_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["variance", "--ladder", accuracies_alone(tmp_path, 1), "--json"])
    (noise,) = json.loads(capsys.readouterr().out)
    assert noise["rows"] == [{"task": "quiz", **dict.fromkeys(noise["rows"][0].keys() - {"task"})}]


def test_advice_needs_no_losses_and_says_why_it_chose_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = accuracies_alone(tmp_path, 12)
    words = ["advise", "--ladder", path, "--sizes", "190M,370M,760M", *WORDS, "--json"]
    main([*words, "--budget", "1e21"])
    (advice,) = json.loads(capsys.readouterr().out)
    assert any(row["order"] == 1 for row in advice["rows"])
    assert "1 of 1 tasks by accuracy: no task loss in every rung" in advice["notes"]
    main([*words, "--budget", "1e20"])  # buys a longer run of the smallest size alone
    (advice,) = json.loads(capsys.readouterr().out)
    chosen = [row for row in advice["rows"] if row["order"]]
    assert bool(chosen) != any(note.startswith("none chosen: ") for note in advice["notes"])


def test_names_cover_neither_points_nor_names_nor_edges() -> None:
    plot = Plot(1, "crowded")
    (axis,) = plot.axes
    points = [(1.0, 1.0), (1.02, 1.0), (1.0, 1.03), (2.0, 2.0)]
    axis.plot(*zip(*points, strict=True), "o")
    axis.margins(0.4)
    place_names(axis, points, ["first", "second", "third", "at the edge"])
    frame = axis.get_window_extent()
    boxes = [text.get_window_extent() for text in axis.texts]
    assert axis.texts[0].get_text() == "first" and axis.texts[-1].get_text() == "at the edge"
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_a_page_shows_each_panel_by_itself(tmp_path: Path) -> None:
    from PIL import Image

    plot = Plot(4, "four")
    for shade, axis in enumerate(plot.axes):
        axis.set_facecolor(str(0.2 * shade))
    plot.save(tmp_path / "four.png")
    panels = plot.cut(tmp_path / "four.png")
    shades = []
    for i, panel in enumerate(panels):
        (tmp_path / f"{i}.png").write_bytes(panel)
        picture = Image.open(tmp_path / f"{i}.png").convert("L")
        shades.append(picture.getpixel((picture.width // 2, picture.height // 2)))
    assert len({len(panels)}) == 1 and shades == pytest.approx([0, 51, 102, 153], abs=3)


def test_a_panels_words_stay_in_its_cell() -> None:
    plot = Plot(3, "Title")
    for axis, words in zip(plot.axes, ("short", "a very long subtitle " * 6, "x"), strict=True):
        label(axis, "Panel", words, "x", "y")
    sizes = [[text.get_fontsize() for text in axis.texts] for axis in plot.axes]
    assert sizes[0] == [10, 8] and sizes[1][1] < 8
    right = plot.axes[1].texts[1].get_window_extent().x1 / plot.figure.dpi
    assert right <= 2 * CELL[0]


def test_a_legend_on_the_page_is_as_high_as_its_words(tmp_path: Path) -> None:
    plot = Plot(2, "Title")
    plot.axes[0].plot([0, 1], [0, 1])
    legend(plot.axes[1], [dot("o", BLUE, "predicted")])
    plot.save(tmp_path / "plot.png")
    panel, key = (Image.open(io.BytesIO(content)) for content in plot.cut(tmp_path / "plot.png"))
    assert panel.width == key.width and key.height < panel.height / 4


def test_noise_of_single_checkpoints_is_not_shown_as_an_empty_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = accuracies_alone(tmp_path, checkpoints=1)
    main(["variance", "--ladder", path])
    printed = capsys.readouterr().out
    assert "the one checkpoint of 7B-20xC says nothing" in printed and "still learned" not in printed
    main(["report", "--ladder", path, *SMALL, *WORDS, "--output", str(tmp_path / "report")])
    assert "Noise" not in (tmp_path / "report" / "report.html").read_text()


def test_a_band_that_is_wide_at_the_start_leaves_a_plot_readable() -> None:
    at = np.array([0.01, 0.1, 0.5, 1.0])
    curve = [estimate(value, sd, 1.6, 0.0) for value, sd in ((4.0, 9000.0), (3.0, 1.0), (2.6, 0.1), (2.5, 0.02))]
    own = Trace(shares=at[1:3], values=np.array([3.1, 2.7]))
    loss = Quantity(
        name="LM loss",
        unit="nats per token",
        own=own,
        bands=tuple(curve[1:3]),
        at=at,
        curve=tuple(curve),
        window=1,
    )
    low, high = track_plot("run", [loss], 1e12).axes[0].get_ylim()
    end = curve[-1].interval95
    assert end and 2.3 < low < end.low and 4.0 < high < 4.2
