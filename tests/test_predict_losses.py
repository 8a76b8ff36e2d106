"""Tasks that have a loss and no accuracy, predicted by step 1: coverage where the truth is known, and all forms."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated_ladder import simulated, write

import model_ladder as ml
from ladder.config.config_files import load_target
from ladder.config.settings import Smoothing
from ladder.errors import UserError
from ladder.rungs.rung import Target
from predict.__main__ import main
from predict.fitting.forms import PowerLaw
from predict.measured.ladder import Measured
from predict.measured.rungs import measured_ladder
from predict.measured.table import table_of
from predict.methods.ensemble import Ensemble
from predict.methods.fits import Fits
from predict.methods.loss_fits import student
from predict.methods.losses import fit_losses

TARGET = Target(name="target", n=7e9, d=1.4e11)
ASKED = ["--n", "7e9", "--d", "1.4e11"]
SIZES = (7e7, 1.6e8, 4.1e8, 1e9)
LADDERS = {
    "3 rungs": [(n, 20 * n) for n in SIZES[1:]],
    "5 rungs, one D": [(n, 1e10) for n in (*SIZES, 2e9)],
    "6 rungs": [(n, 20 * n * m) for n in SIZES[1:] for m in (1, 5)],
    "12 rungs": [(n, 20 * n * m) for n in SIZES for m in (1, 2, 5)],
    "20 rungs": [(n, 20 * n * m) for n in SIZES for m in (0.5, 1, 2, 5, 10)],
}


def law(random: np.random.Generator) -> PowerLaw:
    """Falls by a third to two thirds over the ladder, to a floor of its own."""
    alpha, beta = random.uniform(0.12, 0.45, 2)
    a, b, floor = random.uniform(0.3, 1.2), random.uniform(0.3, 1.2), random.uniform(0.2, 1.8)
    return PowerLaw(A=a * 1e9**alpha, alpha=alpha, B=b * 2e10**beta, beta=beta, E=floor)


def ladder_of(
    points: Sequence[tuple[float, float]], laws: Sequence[PowerLaw], seed: int, noise: float, accuracies: bool = False
) -> Measured:
    """A loss per law, every other one of running text; or bits per byte of all, each beside an accuracy that falls
    with them."""
    random = np.random.default_rng(seed)
    rows = []
    for i, (n, d) in enumerate(points):
        for k, one in enumerate(laws):
            loss = float(one(n, d)) * (1 + noise * random.standard_normal())
            place = {"run": f"run{i}", "size": f"{n:g}", "n": n, "d": d, "step": 1, "tokens": d, "task": f"t{k:02d}"}
            place |= {"split": "test", "items": 1000, "chance": 0.25 if accuracies else float("nan")}
            metric = "rc_bpb" if accuracies or k % 2 == 0 else "lm_loss"
            rows.append(place | {"metric": metric, "value": loss})
            if accuracies:
                rows.append(place | {"metric": "rc_acc", "value": 0.25 + 0.7 / (1 + np.exp(3 * (loss - 1.5)))})
    smoothing = Smoothing(final_checkpoints=1, window=1, skip_fraction=0.0)
    return measured_ladder(table_of(rows, "sim"), "sim", name="sim", smoothing=smoothing, ladder=None)


@pytest.mark.parametrize("noise", [0.002, 0.015])
@pytest.mark.parametrize("name", LADDERS)
def test_intervals_hold_the_truth(name: str, noise: float) -> None:
    random = np.random.default_rng(7)
    laws = [law(random) for _ in range(60)]
    data = ladder_of(LADDERS[name], laws, seed=3, noise=noise)
    found = fit_losses(data, data.losses()).predict(TARGET)
    truths = [float(one(TARGET.n, TARGET.d)) * (1 + noise * random.standard_normal()) for one in laws]
    by_name = {f"t{k:02d}": truth for k, truth in enumerate(truths)}
    cells = [(by_name[p.task.name], p.loss) for p in found]
    in80 = np.mean([truth in loss.interval80 for truth, loss in cells if loss.interval80])
    in95 = np.mean([truth in loss.interval95 for truth, loss in cells if loss.interval95])
    assert len(cells) == 60 and in80 >= 0.75 and in95 >= 0.9
    widths = [loss.interval80.width / loss.value / 2 for _, loss in cells if loss.interval80]
    assert np.mean(widths) < {"3 rungs": 0.35, "5 rungs, one D": 0.5}.get(name, 0.12)
    errors = [abs(loss.value / truth - 1) for truth, loss in cells]
    assert np.mean(errors) < {"3 rungs": 0.15, "5 rungs, one D": 0.15}.get(name, 0.06)


@pytest.mark.parametrize("name", LADDERS)
def test_intervals_of_a_loss_that_stands_beside_an_accuracy_hold_the_truth(name: str) -> None:
    random, noise = np.random.default_rng(11), 0.005
    laws = [law(random) for _ in range(40)]
    data = ladder_of(LADDERS[name], laws, seed=4, noise=noise, accuracies=True)
    found = Ensemble().quick().fit(data, data.tasks()).predict(TARGET)
    truths = [float(one(TARGET.n, TARGET.d)) * (1 + noise * random.standard_normal()) for one in laws]
    cells = [(truth, p.loss) for truth, p in zip(truths, found, strict=True) if p.loss]
    assert len(cells) == 40
    assert np.mean([truth in loss.interval80 for truth, loss in cells if loss.interval80]) >= 0.75
    assert np.mean([truth in loss.interval95 for truth, loss in cells if loss.interval95]) >= 0.9
    errors = [abs(loss.value / truth - 1) for truth, loss in cells]
    assert np.mean(errors) < {"3 rungs": 0.15, "5 rungs, one D": 0.15}.get(name, 0.06)


def test_half_widths_are_a_student_ts() -> None:
    from scipy.stats import t

    for runs in (3, 5, 16, 200):
        assert student(0.8, runs) == pytest.approx(t.ppf(0.9, runs), rel=0.01)
        assert student(0.95, runs) == pytest.approx(t.ppf(0.975, runs), rel=0.04)


def test_back_tests_widen_the_intervals_of_a_ladder_that_errs() -> None:
    steady = [law(np.random.default_rng(k)) for k in range(4)]
    good = ladder_of(LADDERS["20 rungs"], steady, seed=1, noise=0.003)
    frame = [(run, key, curve) for run in good.rungs for key, curve in run.curves.items()]
    assert len(frame) == 80
    bent = [PowerLaw(A=2e5, alpha=0.65, B=1e7, beta=0.75, E=0.9), PowerLaw(A=1e6, alpha=0.7, B=1e8, beta=0.8, E=0.5)]
    bad = ladder_of(LADDERS["20 rungs"], bent * 2, seed=1, noise=0.03)
    factors = [fit_losses(data, data.losses()).fitted.scale.factor80 for data in (good, bad)]
    assert factors[0] == pytest.approx(student(0.8, 20)) and factors[1] >= factors[0]
    assert fit_losses(good, good.losses()).fitted.scale.cells > 20
    assert fit_losses(good, good.losses()[:0]).fitted.scale.cells == 0


def alone(tmp_path: Path, *, accuracies: bool) -> Path:
    """The simulated ladder with a gold answer's bits per byte; with its quiz, or without any accuracy."""
    frame = simulated(noise=0.002, checkpoints=3)
    gold = frame[frame.metric == "rc_bpb"].assign(task="gold", chance=float("nan"))
    kept = frame if accuracies else frame[frame.metric == "lm_loss"]
    return write(tmp_path / "mine.csv", pd.concat([kept, gold]))


def test_losses_stand_beside_accuracies_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(alone(tmp_path, accuracies=True))
    words = ["--ladder", path, "--n", "7e9", "--d", "2.8e12"]
    main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [p["task"] for p in found["predictions"]] == ["quiz"]
    assert [(p["task"], p["unit"]) for p in found["losses"]] == [("gold", "bits per byte"), ("text", "nats per token")]
    gold = found["losses"][0]
    assert gold["loss_low95"] < gold["loss_low80"] < gold["loss"] < gold["loss_high80"] < gold["loss_high95"]
    assert abs(gold["loss_error_percent"]) < 2 and gold["loss_low80"] < gold["actual_loss"] < gold["loss_high80"]
    assert "losses-calibrated" in {note["code"] for note in found["notes"]}
    main([*words, "--csv"])
    rows = {row["task"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert rows["gold"]["accuracy"] == "" and float(rows["gold"]["loss"]) == pytest.approx(gold["loss"])
    quiz = {name: float(rows["quiz"][name]) for name in ("accuracy", "loss", "actual_loss", "loss_error_percent")}
    assert quiz["accuracy"] > 0.5
    assert quiz["loss_error_percent"] == pytest.approx(100 * (quiz["loss"] / quiz["actual_loss"] - 1))
    main(words)
    text = capsys.readouterr().out
    assert "Losses of tasks without an accuracy" in text and "nats" in text
    main([*words, "--tasks", "quiz", "--json"])
    assert json.loads(capsys.readouterr().out)["losses"] == []


def test_a_ladder_of_losses_alone_is_predicted_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(alone(tmp_path, accuracies=False))
    words = ["--ladder", path, "--n", "7e9", "--d", "2.8e12"]
    main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["predictions"] == [] and [p["task"] for p in found["losses"]] == ["gold", "text"]
    main(words)
    assert "losses of tasks without an accuracy, by step 1" in " ".join(capsys.readouterr().out.split())
    main(["backtest", "--ladder", path, "--json"])
    (table,) = json.loads(capsys.readouterr().out)
    gold, text, mean = table["rows"]
    assert gold["step 1"] < gold["last rung"] and gold["held out"] == text["held out"] > 5 and mean["in 95%"] > 0.8
    main(["advise", *words, "--sizes", "190M,370M", "--budget", "1e21", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["rows"][0]["uncertainty"] < 0
    main(["report", *words, "--output", str(tmp_path / "report")])
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Losses without an accuracy" in page and "gold" in page
    assert (tmp_path / "report" / "losses.png").read_bytes()[:4] == b"\x89PNG"
    capsys.readouterr()
    main(["bench", path, "--json"])
    (bench,) = json.loads(capsys.readouterr().out)
    assert all(row["step 1"] < row["last rung"] for row in bench["rows"])
    with pytest.raises(UserError, match="holds no accuracy"):
        main(["compute", *words])


def test_losses_alone_go_on_record_and_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ladder, record = str(alone(tmp_path, accuracies=False)), tmp_path / "forecast.json"
    words = ["--ladder", ladder, "--n", "7e9", "--d", "2.8e12", "--name", "7B"]
    main(["register", *words, "--output", str(record)])
    assert "gold" in capsys.readouterr().out
    assert json.loads(record.read_text())["losses"]["gold"]["law"].startswith("L(N,D) = ")
    main(["score", str(record), "--measured", ladder, "--json"])
    (table,) = json.loads(capsys.readouterr().out)
    assert [row["task"] for row in table["rows"]] == ["gold", "text"]
    assert all(abs(row["error %"]) < 3 for row in table["rows"])
    assert any("80% intervals hold 2 of 2" in note for note in table["notes"])
    elsewhere = simulated(noise=0.002, checkpoints=3)
    other = write(tmp_path / "other.csv", elsewhere[elsewhere.metric == "rc_acc"])
    with pytest.raises(UserError, match=r"other\.csv has no loss that .*forecast\.json predicts \(gold, text\)"):
        main(["score", str(record), "--measured", str(other)])
    node = json.loads(record.read_text()) | {"losses": {}}
    record.write_text(json.dumps(node))
    with pytest.raises(UserError, match=r"forecast\.json predicts nothing"):
        main(["score", str(record), "--measured", ladder])


def test_losses_from_python() -> None:
    frame = simulated(noise=0.002, checkpoints=2)
    ladder = ml.read(frame[frame.metric == "lm_loss"])
    answer = ml.predict(ladder, n=7e9, d=2.8e12)
    row: Any = answer.loc["text"]
    assert row.loss_low80 < row.actual_loss < row.loss_high80
    assert answer.figure().axes and "nats" in answer._repr_html_()


def test_a_loss_that_some_rung_lacks_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_csv(alone(tmp_path, accuracies=False))
    path = write(tmp_path / "gap.csv", frame[~((frame.task == "gold") & (frame.run == "370M-2xC"))])
    words = ["--ladder", str(path), "--n", "7e9", "--d", "2.8e12"]
    main([*words, "--json"])
    assert [p["task"] for p in json.loads(capsys.readouterr().out)["losses"]] == ["text"]
    with pytest.raises(UserError, match="some rung lacks the loss of gold"):
        main([*words, "--tasks", "gold"])
    with pytest.raises(UserError, match=r'unknown task of .*"gld"; did you mean "gold"'):
        main([*words, "--tasks", "gld"])


def test_ai2s_language_modelling_losses_are_predicted(shared: Path) -> None:
    fits = Fits(ml.read(shared / "olmo-ladder" / "runs"), load_target("7B-4T"))
    found = fits.predict_losses()
    errors = [abs(one.error_percent) for one in found if one.error_percent is not None]
    inside = [one.actual in one.loss.interval80 for one in found if one.loss.interval80]
    assert len(errors) == 11 and np.mean(errors) < 1.6 and sum(inside) >= 9
