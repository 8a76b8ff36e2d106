"""The launcher on this machine, interrupted, cancelled or killed, its children too; and what the next call does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
from conftest import ROOT
from held import HANG_SECONDS, Hold, wait_until

from ladder.__main__ import main
from ladder.config.config import ladder_from_config, load_config
from ladder.jobs import cancel
from ladder.jobs.snapshot import Snapshot
from ladder.process.cpu import usable_cores
from ladder.runs.history import read_history
from ladder.runs.rundir import LadderDirectory, RunDirectory
from ladder.runs.status import run_status
from predict.measured.own_runs import read_runs

LADDER = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32"]
MIDDLE = 170  # of the 239 steps of n0-1xC, with checkpoints at 80 and 160


def start(hold: Hold, *words: str) -> subprocess.Popen[str]:
    """`python -m ladder run`, whose trainings wait where `hold` says."""
    command = hold.command("ladder", "run", *words)
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def processes_with(*words: str) -> list[psutil.Process]:
    """Those whose command line has all these words."""
    listed = psutil.process_iter(["cmdline"])
    return [process for process in listed if all(word in (process.info["cmdline"] or []) for word in words)]


def written_at(paths: list[Path]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in paths}


def weights(run: RunDirectory) -> list[Path]:
    return sorted(run.checkpoints.rglob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_interrupt_ends_the_children_and_the_same_command_continues(
    command: Callable, corpus: Path, tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    if processes > 1:
        cores = usable_cores()
        if cores != processes:
            pytest.skip(f"a training shares its batches among as many processes as there are cores, here {cores}")
        monkeypatch.delenv("OMP_NUM_THREADS")
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    hold.at(run.name, MIDDLE)
    launcher = start(hold, *words)
    hold.until_held(run.name, launcher, processes=processes)
    launcher.send_signal(signal.SIGINT)
    _, errors = launcher.communicate(timeout=HANG_SECONDS)
    assert launcher.returncode == 130, errors
    assert errors.strip() == "interrupted; the same command continues"
    assert not processes_with(f"runs_dir={tmp_path}")
    assert run.checkpoint_steps() == [80, 160]
    assert [path.name for path in run.resume.iterdir()] == [f"step-{MIDDLE:07d}"]  # the trainer saved before it ended
    kept = written_at(weights(run))
    done = command("-m", "ladder", "run", *words)
    assert done.returncode == 0, done.stderr
    assert run.checkpoint_steps() == run.measured_steps() == list(run.record().checkpoint_steps) == [80, 160, 239]
    assert written_at(list(kept)) == kept
    assert f" {processes} processes (ddp)" in run.output_file.read_text()


def test_cancel_ends_the_children_saved_and_the_same_command_continues(
    command: Callable, corpus: Path, tmp_path: Path, hold: Hold, capsys: pytest.CaptureFixture[str]
) -> None:
    """By SIGTERM."""
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    assert main(["cancel", *words]) == 0 and "nothing runs" in capsys.readouterr().out
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    hold.at(run.name, MIDDLE)
    launcher = start(hold, *words)
    hold.until_held(run.name, launcher)
    assert main(["status", *words]) == 1  # under way
    cancelled = command("-m", "ladder", "cancel", *words)
    assert cancelled.returncode == 0, cancelled.stderr
    assert launcher.wait(HANG_SECONDS) == 130
    assert not processes_with(f"runs_dir={tmp_path}")
    assert [path.name for path in run.resume.iterdir()] == [f"step-{MIDDLE:07d}"]
    assert main(["status", *words]) == 3 and "stopped" in capsys.readouterr().out
    kept = written_at(weights(run))
    done = command("-m", "ladder", "run", *words)
    assert done.returncode == 0, done.stderr
    assert run.checkpoint_steps() == run.measured_steps() == list(run.record().checkpoint_steps) == [80, 160, 239]
    assert written_at(list(kept)) == kept


def test_a_trainer_that_ends_while_it_is_cancelled_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    monkeypatch.setattr(cancel, "find_runs", lambda directory: [RunDirectory(tmp_path / "n0-1xC")])
    monkeypatch.setattr(cancel, "at_work", lambda run: done.pid)
    nobody = Snapshot(runs=(), queue={}, silent=None, holder=None)
    cancel.cancel_here(LadderDirectory(tmp_path), nobody, [ladder_from_config(load_config(LADDER)).rung("n0-1xC")])
    assert f"process {done.pid} was asked to end" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_trainer_and_a_killed_follower_lose_nothing(
    command: Callable, corpus: Path, tmp_path: Path, hold: Hold
) -> None:
    common = [*LADDER, f"data.directory={corpus}"]
    ladder = [*common, "cluster.evaluators=1", "--sizes", "n0", "--multiples", "1,2", f"runs_dir={tmp_path / 'killed'}"]
    directory = tmp_path / "killed" / "nano"
    runs = {name: RunDirectory(directory / name) for name in ("n0-1xC", "n0-2xC")}
    doomed = runs["n0-2xC"]
    hold.at(doomed.name, 400)  # of 478, with checkpoints at 160 and 320
    launcher = start(hold, *ladder)
    hold.until_held(doomed.name, launcher)
    wait_until(doomed.measured_steps, launcher)
    (follower,) = processes_with("evaluate", str(directory), "--watch")
    follower.kill()
    os.kill(read_history(doomed).start["pid"], signal.SIGKILL)
    printed, errors = launcher.communicate(timeout=HANG_SECONDS)
    assert launcher.returncode == 2
    assert "n0-2xC FAILED" in printed
    assert errors.startswith("error: failed: n0-2xC; n0-2xC: it was killed by SIGKILL")
    status = run_status(ladder_from_config(load_config(LADDER)).rung(doomed.name), doomed)
    assert (status.state, status.error) == ("stopped", "it was killed")
    assert doomed.checkpoint_steps() == [160, 320]
    for name, run in runs.items():  # what was trained is measured, although its follower died
        assert run.measured_steps() == run.checkpoint_steps(), name

    before = written_at([path for run in runs.values() for path in (*weights(run), *run.metrics_files())])
    finished = command("-m", "ladder", "run", *ladder)
    assert finished.returncode == 0, finished.stderr
    assert "1 of 2 runs are already done" in finished.stdout
    assert written_at(list(before)) == before
    undisturbed = [*common, f"rung={doomed.name}", "train.evaluate=true", f"runs_dir={tmp_path / 'calm'}"]
    assert command("-m", "train", *undisturbed).returncode == 0
    calm = RunDirectory(tmp_path / "calm" / "nano" / doomed.name)
    pd.testing.assert_frame_equal(read_runs(doomed.path), read_runs(calm.path))
    assert [path.read_bytes() for path in weights(doomed)] == [path.read_bytes() for path in weights(calm)]


@pytest.mark.slow
def test_what_a_killed_launcher_left_is_waited_for(corpus: Path, tmp_path: Path, hold: Hold) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    hold.at(run.name, MIDDLE)
    launcher = start(hold, *words)
    hold.until_held(run.name, launcher)
    launcher.kill()
    launcher.wait()
    second = start(hold, *words)
    assert second.stdout is not None
    assert "waiting for what an earlier launcher left at work: n0-1xC (process" in second.stdout.readline()
    hold.release(run.name)
    _, errors = second.communicate(timeout=HANG_SECONDS)
    assert second.returncode == 0, errors
    assert read_history(run).starts == 1
    assert run.measured_steps() == list(run.record().checkpoint_steps)


@pytest.mark.slow
def test_a_run_that_vanishes_is_not_called_done(corpus: Path, tmp_path: Path, hold: Hold) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    hold.at(run.name, MIDDLE)
    launcher = start(hold, *words)
    hold.until_held(run.name, launcher)
    shutil.rmtree(run.path)
    hold.release(run.name)
    _, errors = launcher.communicate(timeout=HANG_SECONDS)
    assert launcher.returncode == 2 and "failed: n0-1xC" in errors
