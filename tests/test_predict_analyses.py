"""The analyses around a prediction, on a simulated ladder and on AI2's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from simulated_ladder import rows_of, simulated, write

from ladder.config.config_files import load_target
from ladder.errors import UserError
from predict.__main__ import main
from predict.analyses.advise import advise
from predict.analyses.compute import compute_errors
from predict.analyses.variance import ladder_noise
from predict.measured.ladder import Measured
from predict.measured.load import load_ladder
from predict.measured.table import table_of
from predict.measured.tasks import EIGHT
from predict.reproduction.paper_study import PaperStudy
from predict.reproduction.printed import Printed
from predict.reproduction.tables import all_tables

RUNGS = ["--sizes", "190M,370M,760M,1.3B"]
TARGET = ["--n", "7e9", "--d", "2.8e12"]


@pytest.fixture(scope="module")
def everything(shared: Path) -> Measured:
    return load_ladder(shared / "olmo-ladder" / "runs")


@pytest.fixture(scope="module")
def tables(everything: Measured):  # type: ignore[no-untyped-def]
    return all_tables(PaperStudy(everything))


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, list[dict[str, str]]]]:
    capsys.readouterr()
    main([*words, "--json"])
    return json.loads(capsys.readouterr().out)


def differs(cell: object) -> bool:
    return isinstance(cell, Printed) and cell.differs


def test_every_number_of_the_paper_comes_out_but_for_its_own_slips(tables) -> None:  # type: ignore[no-untyped-def]
    marked = {(name, row[0]) for name, t in tables.items() for row in t.rows if any(map(differs, row))}
    slips = {
        ("figure2-13B-5T", "ARC-Easy"), ("figure2-13B-5T", "Social IQa"), ("figure2-13B-5T", "OpenBookQA"),
        ("figure2-13B-5T", "Average"), ("table8-taskce", "ARC-Challenge"), ("table8-taskce", "ARC-Easy"),
        ("table8-taskce", "Social IQa"), ("table8-taskce", "OpenBookQA"), ("table6-designs", "13B-5T paper-single"),
        ("table6-designs", "7B-4T paper-single"),
        # The published solver stops on a flat ridge of this fit, at a place that depends on the linear algebra library.
        ("table6-designs", "13B-5T paper-taskce"),
    }  # fmt: skip
    # Table 7 prints A to nine digits, of which the last depend on where a solver stops.
    assert {(name, row) for name, row in marked if name != "table7-coefficients"} <= slips
    assert not any(name in ("table4-variance", "table5-step1", "figure2-7B-4T") for name, _ in marked)
    assert len(tables["table4-variance"].rows) == 10


def test_compute_curves_equal_the_reference(tables) -> None:  # type: ignore[no-untyped-def]
    def means(figure: str) -> dict[str, float]:
        return {row["ladder"]: round(row["mean %"], 2) for row in tables[figure].records()}

    by_size, by_flops = means("figure7-compute"), means("figure6-compute")
    assert (by_size["760M"], by_size["1.3B"]) == (11.89, 5.85)
    assert list(means("figure8-compute").values())[1:] == [7.45, 7.21, 5.85]
    assert (by_flops["760M-1xC"], by_flops["760M-2xC"], by_flops["1.3B-5xC"]) == (24.82, 15.40, 7.35)


def test_noise_between_reruns_is_measured(everything: Measured) -> None:
    noise = {one.task.name: one for one in ladder_noise(everything, everything.tasks())}
    assert noise["mmlu"].loss is not None and noise["mmlu"].loss.rerun == pytest.approx(0.0059, abs=2e-4)
    assert noise["openbookqa"].accuracy.rerun == pytest.approx(0.0068, abs=1e-4)


def test_advice_ranks_size_over_length_and_goes_no_smaller(shared: Path) -> None:
    path = shared / "olmo-ladder" / "runs"
    data = load_ladder(path, sizes=["190M", "370M", "760M"], multiples=[1, 2, 5])
    found = {one.name: one for one in advise(data, load_target("7B-4T"), data.tasks(EIGHT), 3e21).candidates}
    order = sorted(found, key=lambda name: -found[name].reduction)
    assert order[0] == "1.3B-10xC" and order.index("1.3B-5xC") < order.index("760M-10xC") < order.index("190M-10xC")
    assert found["1.3B-10xC"].reduction == pytest.approx(0.40, abs=0.02)
    assert all(one.n >= 190e6 for one in found.values())
    assert sum(one.flops for one in found.values() if one.chosen) <= 3e21
    assert found["190M-10xC"].chosen is None


@pytest.mark.parametrize(
    ("lengths", "proposed"),
    [
        ((3e11, 3e11, 3e11), {"150B", "600B"}),  # all runs on the same tokens, as Pythia's and GPT-3's
        ((1.96e9, 8e9, 3.25e10), {"3.92B", "15.7B", "62.7B"}),  # nearly the same multiple, as Cerebras-GPT's
        ((1e11, 1e11, 3e11), {"100B", "300B", "600B"}),
    ],
)
def test_advice_for_foreign_runs_names_what_can_be_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lengths: tuple[float, ...], proposed: set[str]
) -> None:
    sizes = {"llm-100m": 1e8, "llm-400m": 4e8, "llm-1.6b": 1.6e9}
    rows = [rows_of(name, name, n, d) for (name, n), d in zip(sizes.items(), lengths, strict=True)]
    path = str(write(tmp_path / "foreign.csv", table_of([row for run in rows for row in run], "foreign")))
    (table,) = shown(capsys, "advise", "--ladder", path, "--n", "7e10", "--d", "2e12", "--budget", "4e22")
    names = [row["run"] for row in table["rows"]]
    pairs = [name.removesuffix(" tokens").split(" on ") for name in names]
    assert {size for size, _ in pairs} == {"100M", "400M", "1.6B", "3.2B"}
    assert proposed <= {length for _, length in pairs} and not any("xC" in name for name in names)
    assert table["rows"][0]["gain per FLOP"] == 1 and all(0 <= row["gain per FLOP"] <= 1 for row in table["rows"])
    shortest = min(row["FLOPs"] for row in table["rows"] if row["run"].startswith("100M"))
    assert shortest >= 0.49 * 6 * 1e8 * lengths[0]


def test_a_loss_of_running_text_is_not_shown_as_the_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = simulated()
    path = str(write(tmp_path / "own.csv", frame))

    def head() -> list[str]:
        main(["--ladder", path, *RUNGS, *TARGET, "--markdown"])
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| task"))
        return [cell.strip() for cell in line.split("|")]

    assert "loss" in head() and "LM loss" not in head()
    path = str(write(tmp_path / "text.csv", frame[frame.metric != "rc_bpb"]))
    assert "LM loss" in head() and "loss" not in head()
    main(["--ladder", path, *RUNGS, *TARGET, "--json"])
    (row,) = json.loads(capsys.readouterr().out)["predictions"]
    assert row["loss_of"] == "text" and row["loss"] > 1.8  # above the entropy of the simulated text


def test_a_budget_that_buys_nothing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", simulated())
    with pytest.raises(UserError, match="buys no further run; the cheapest"):
        main(["advise", "--ladder", str(path), "--sizes", "190M,370M", *TARGET, "--budget", "1e9"])


def test_subcommands_print_tables_and_write_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path / "mine.csv", simulated(noise=0.003)))
    words = ["--ladder", path, *RUNGS, "--plot", str(tmp_path / "backtest.png")]
    split, task, losses = shown(capsys, "backtest", *words)
    assert losses["rows"][0]["task"] == "text" and losses["rows"][0]["step 1"] < losses["rows"][0]["last rung"]
    assert len(split["rows"]) == 8 and task["rows"][0]["default"] < 2
    assert type(split["rows"][0]["runs"]) is int and 0 < split["rows"][0]["in 80%"] <= 1
    (noise,) = shown(capsys, "variance", "--ladder", path, "--plot", str(tmp_path / "variance.png"))
    assert 0.0 < float(noise["rows"][0]["accuracy SD"]) < 0.01
    assert "last 10 checkpoints" in noise["title"]
    short = str(write(tmp_path / "short.csv", simulated(checkpoints=4)))
    (noise,) = shown(capsys, "variance", "--ladder", short)
    assert "last 4 checkpoints" in noise["title"] and "still learned" in noise["notes"][0]
    (compute,) = shown(
        capsys, "compute", "--ladder", path, *TARGET, "--by", "size", "--plot", str(tmp_path / "compute.png")
    )
    assert [row["ladder"] for row in compute["rows"]] == ["190M", "370M", "760M", "1.3B"]
    words = ["--sizes", "190M,370M,760M", *TARGET, "--budget", "1e21", "--plot", str(tmp_path / "advise.png")]
    (advice,) = shown(capsys, "advise", "--ladder", path, *words)
    assert advice["rows"][0]["run"].startswith("1.52B-")  # twice the largest size, before longer runs of small ones
    for name in ("backtest", "variance", "compute", "advise"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UserError, match=r"must be the name of a \.png"):
        main(["variance", "--ladder", path, "--plot", str(tmp_path / "x.pdf")])


def test_the_better_mix_wins_beside_its_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    better = str(write(tmp_path / "a.csv", simulated(noise=0.002, shift=0.04)))
    worse = str(write(tmp_path / "b.csv", simulated(noise=0.002, seed=1)))
    (table,) = shown(capsys, "compare", better, worse, *TARGET, "--plot", str(tmp_path / "compare.png"))
    row = table["rows"][0]
    assert better in table["notes"][0] and worse in table["notes"][0] and "A is better with" in table["notes"][1]
    assert float(row["A - B"]) > 0 and float(row["P(A > B)"]) > 0.5 and row["agree"] is True
    assert float(row["A - B at 1.3B-10xC"]) == pytest.approx(4.0, abs=0.8)
    (mirrored,) = shown(capsys, "compare", worse, better, *TARGET)
    assert float(mirrored["rows"][0]["P(A > B)"]) == pytest.approx(1 - float(row["P(A > B)"]), abs=0.011)
    with pytest.raises(UserError, match="holds one ladder; compare takes two"):
        main(["compare", better, *TARGET])
    with pytest.raises(UserError, match="compare takes two ladders"):
        main(["compare", *TARGET])


def test_two_corpora_of_one_file_are_two_ladders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    a, b = simulated(noise=0.002, shift=0.03), simulated(noise=0.002, seed=1)
    both = pd.concat([a.assign(ladder="books"), b.assign(ladder="web")])
    path = str(write(tmp_path / "both.csv", both))
    with pytest.raises(UserError, match=r"holds 2 ladders; choose one with --corpus: books, web"):
        main(["--ladder", path, *TARGET])
    main(["--ladder", path, "--corpus", "web", *TARGET, "--json"])
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 1
    (table,) = shown(capsys, "compare", path, "--corpora", "books,web", *TARGET)
    assert float(table["rows"][0]["A - B"]) > 0


def test_errors_need_a_measured_target(everything: Measured) -> None:
    target = load_target("n5-8xC")
    with pytest.raises(UserError, match="holds no finished run of n5-8xC"):
        compute_errors(everything, target, everything.tasks(), "size", "paper")
