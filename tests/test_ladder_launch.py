"""The launcher and the status table, on runs that fail, stop or are half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, assert_user_error

from ladder.config import ladder_from_config, load_config
from ladder.errors import UserError
from ladder.files import exclusive
from ladder.launch import check_affordable
from ladder.rundir import RunDirectory
from ladder.status import duration, last_row, run_status

LADDER = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32"]


def test_the_papers_ladder_is_not_started_on_a_cpu(command: Callable, tmp_path: Path) -> None:
    done = command("-m", "ladder", "run", "ladder=olmo2", f"runs_dir={tmp_path / 'runs'}")
    assert_user_error(done, "no GPU", "make demo")
    assert "16 rungs" in done.stdout  # the plan and its cost come first
    assert "H100-hours" in done.stdout
    assert not list(tmp_path.iterdir())
    rungs = ladder_from_config(load_config(["ladder=olmo2"])).rungs
    check_affordable(rungs, gpus=8)
    with pytest.raises(UserError):
        check_affordable(rungs, gpus=0)


def test_data_is_checked_once_before_anything_starts(command: Callable, tmp_path: Path) -> None:
    done = command("-m", "ladder", "run", *LADDER, f"data.directory={tmp_path / 'none'}", f"runs_dir={tmp_path}")
    assert_user_error(done, "no prepared data")
    assert not list(tmp_path.iterdir())


def test_a_failed_rung_is_named_with_its_reason(command: Callable, corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "train.precision=fp8"]
    done = command("-m", "ladder", "run", *words, "--sizes", "n0", "--multiples", "1,2")
    assert_user_error(done, "2 of 2 runs failed: ", "output.txt ends with", 'unknown train.precision "fp8"')


def test_interrupt_ends_the_children_and_the_same_command_continues(corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-4xC"]
    launcher = [sys.executable, "-m", "ladder", "run", *words]
    run = RunDirectory(tmp_path / "nano" / "n0-4xC")
    process = subprocess.Popen(launcher, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(run.checkpoint_steps()) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.strip() == "interrupted; the same command continues"
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(tmp_path) not in listed
    before = run.checkpoint_steps()
    assert before
    kept = {step: (run.checkpoint(step) / "model.safetensors").stat().st_mtime_ns for step in before[:-1]}
    done = subprocess.run(launcher, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert run.checkpoint_steps() == run.measured_steps() == run.run_info()["checkpoint_steps"]
    assert {step: (run.checkpoint(step) / "model.safetensors").stat().st_mtime_ns for step in kept} == kept


def test_two_at_once_on_one_directory(command: Callable, corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    with exclusive(tmp_path / "nano", "python -m ladder run"):
        assert_user_error(command("-m", "ladder", "run", *words), "python -m ladder run is at work", f"{os.getpid()}")
    with exclusive(tmp_path / "nano" / "n0-1xC", "a trainer"):
        assert_user_error(command("-m", "train", *words), "a trainer is at work there already", f"{os.getpid()}")
    assert not list(tmp_path.rglob("run.json"))


def test_status_of_missing_and_half_written_runs(tmp_path: Path) -> None:
    rung = ladder_from_config(load_config(["ladder=nano"])).rung("n0-1xC")
    run = RunDirectory(tmp_path)
    assert run_status(rung, RunDirectory(tmp_path / "none")).state == "missing"
    run.run_file.write_text("{}")
    assert run_status(rung, run).state == "running"
    run.log_file.write_text('{"step": 10, "loss": 5.0}\n{"step": 20, "loss": 4.5, "eta_seconds": 9}\n{"step": 3')
    status = run_status(rung, run)
    assert (status.step, status.loss, status.eta_seconds) == (20, 4.5, 9)
    (run.checkpoints / ".tmp-1-step-0000080").mkdir(parents=True)
    (run.checkpoint(80)).mkdir()
    assert run_status(rung, run).checkpoints == 0  # no rung.json: not a whole checkpoint


def test_last_row_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": step, "pad": "x" * 100}) + "\n" for step in range(1000)))
    assert last_row(path)["step"] == 999
    assert last_row(tmp_path / "none") == {}


def test_duration() -> None:
    assert [duration(s) for s in (4.4, 75, 3700, 100_000)] == ["4s", "1m15s", "1h1m", "1d3h"]


def test_a_run_trained_by_hand_is_measured_by_the_launcher(command: Callable, corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    assert command("-m", "train", *words).returncode == 0
    assert run.checkpoint_steps() and not run.measured_steps()
    done = command("-m", "ladder", "run", *words)
    assert done.returncode == 0, done.stderr
    assert run.measured_steps() == run.checkpoint_steps()
    assert command("-m", "ladder", "status", *words).returncode == 0


def test_sigterm_ends_the_children_too(corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-4xC"]
    run = RunDirectory(tmp_path / "nano" / "n0-4xC")
    process = subprocess.Popen(
        [sys.executable, "-m", "ladder", "run", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not run.log_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    assert process.wait(60) == 130
    assert str(tmp_path) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert list(run.resume.glob("step-*"))  # the trainer saved before it ended
