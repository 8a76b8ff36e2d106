"""`import model_ladder`: the names for notebooks, on a ladder whose law is known, and what they leave alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from simulated_ladder import ACCURACY, LOSS, simulated, write

import model_ladder as ml
from predict.__main__ import main

SIZES = ["190M", "370M", "760M", "1.3B"]
TARGET = {"n": 7e9, "d": 2.8e12}


@pytest.fixture(scope="module")
def ladder() -> ml.Measured:
    return ml.read(simulated(noise=0.003), sizes=SIZES)


def test_a_prediction_is_a_data_frame_that_shows_itself(ladder: ml.Measured) -> None:
    found = ml.predict(ladder, **TARGET)
    assert isinstance(found, pd.DataFrame)
    row = found.loc["quiz"]
    truth = float(ACCURACY(float(LOSS(7e9, 2.8e12))))
    assert row.low95 < truth < row.high95
    assert row.accuracy == pytest.approx(truth, abs=0.05)
    assert row.actual == pytest.approx(truth, abs=0.01)  # the mean of the last checkpoints
    page = found._repr_html_()
    assert f"{100 * row.accuracy:.2f}" in page and page.count("<tr>") == 4  # with the language-modelling loss
    assert any("fitted on 16 runs" in note for note in found.notes)
    assert type(found[["accuracy"]]) is type(found.head()) is pd.DataFrame


def test_the_numbers_are_those_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.csv", simulated(noise=0.003))
    found = ml.predict(ml.read(path, sizes=SIZES), **TARGET)
    main(["--ladder", str(path), "--sizes", ",".join(SIZES), "--n", "7e9", "--d", "2.8e12", "--json"])
    (printed,) = json.loads(capsys.readouterr().out)["predictions"]
    assert found.loc["quiz", "accuracy"] == printed["accuracy"]
    assert found.loc["quiz", "paper_accuracy"] == printed["paper_accuracy"]
    by_frame = ml.predict(ml.read(pd.read_csv(path), sizes=SIZES), **TARGET)
    assert by_frame.drop(columns="flags").equals(found.drop(columns="flags"))


def test_back_tests_hold_every_held_out_run(ladder: ml.Measured) -> None:
    found = ml.backtest(ladder)
    assert set(found.columns) >= {"fitted", "task", "run", "actual", "predicted", "low80", "high80"}
    assert np.allclose(found.error_points, 100 * (found.predicted - found.actual))
    assert found.error_points.abs().mean() < 2
    assert "last rung" in found._repr_html_()


def test_the_better_of_two_ladders(ladder: ml.Measured) -> None:
    better = ml.read(simulated(noise=0.003, shift=0.05), sizes=SIZES)
    row = ml.compare(better, ladder, **TARGET).loc["quiz"]
    assert 0.02 < row.a - row.b < 0.1 and row.low80 < 0.05 < row.high80
    assert row.probability > 0.5 and row.agreed and 1 < row.speed_up < row.speed_up_high80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"n": 7e9}, "either its name, or both n"),
        ({"target": "13B-5T", "n": 7e9}, "either its name, or both n"),
        ({"n": -1, "d": 1e9}, "n = -1: expected a number from 1"),
        ({"n": 1e9, "d": "x"}, "d = 'x': expected a number"),
        ({"n": float("nan"), "d": 1e9}, "n = nan: expected a number"),
        ({"n": True, "d": 1e9}, "n = True: expected a number"),
        ({"target": 3}, "target = 3: expected a name"),
        ({**TARGET, "method": None}, "method = None: expected a name"),
        ({**TARGET, "tasks": 3}, "tasks = 3: expected a name"),
        ({**TARGET, "tasks": {"quiz": 1}}, "tasks = .*expected a list of names"),
        ({"target": "13B-5X"}, 'did you mean "13B-5T"'),
        ({**TARGET, "tasks": ["quizz"]}, 'did you mean "quiz"'),
        ({**TARGET, "method": "papr"}, 'did you mean "paper"'),
    ],
)
def test_what_cannot_be_answered_is_one_line(ladder: ml.Measured, words: dict, message: str) -> None:
    with pytest.raises(ml.UserError, match=message):
        ml.predict(ladder, **words)


@pytest.mark.parametrize("given", [3, None, "", b"x", ["a.csv"], {}, object()])
def test_what_is_no_source_is_one_line(given: object) -> None:
    with pytest.raises(ml.UserError, match=r"source = .*: expected a DataFrame or a path"):
        ml.read(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["mine.csv", None, pd.DataFrame({"a": range(1000)})])
def test_what_is_no_ladder_is_one_line(ladder: ml.Measured, given: object) -> None:
    for asked in (
        lambda: ml.predict(given, **TARGET),
        lambda: ml.backtest(given),
        lambda: ml.compare(ladder, given, **TARGET),
    ):
        with pytest.raises(ml.UserError, match=r"(ladder|b) = .*: expected a ladder that model_ladder\.read") as raised:
            asked()
        assert len(str(raised.value)) < 300


def test_a_ladder_is_not_compared_with_itself(ladder: ml.Measured) -> None:
    with pytest.raises(ml.UserError, match="compared with itself"):
        ml.compare(ladder, ladder, **TARGET)


def test_one_name_stands_for_a_list_of_it() -> None:
    ladder = ml.read(simulated(), sizes=SIZES, multiples=1)
    assert len(ladder.rungs) == 4
    assert list(ml.predict(ladder, **TARGET, tasks="quiz").index) == ["quiz"]


def test_a_bad_row_of_a_data_frame_is_named() -> None:
    frame = simulated()
    frame.loc[7, "value"] = 2e9
    with pytest.raises(ml.UserError, match="the DataFrame: row 7, run"):
        ml.read(frame)


def test_figures_leave_the_notebooks_matplotlib_alone(ladder: ml.Measured) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    before = dict(matplotlib.rcParams)
    other = ml.read(simulated(), sizes=SIZES)
    for answer in (ml.predict(ladder, **TARGET), ml.backtest(ladder), ml.compare(ladder, other, **TARGET)):
        assert isinstance(answer.figure(), Figure)
    after = dict(matplotlib.rcParams)
    assert {key for key in before if before[key] != after[key]} <= {"backend", "backend_fallback"}


def test_importing_it_changes_no_other_import(tmp_path: Path) -> None:
    """Another project's `evaluate` and a `predict.py` of one's own are imported as without it, before and after."""
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "__init__.py").write_text("whose = 'theirs'\n")
    code = (
        "import sys; path, finders = list(sys.path), list(sys.meta_path)\n"
        "import model_ladder; model_ladder.__all__\n"
        "import evaluate; assert evaluate.whose == 'theirs'\n"
        "assert (sys.path, sys.meta_path) == (path, finders)\n"
        "print('pandas' in sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr  # nor is anything loaded before it is asked for
