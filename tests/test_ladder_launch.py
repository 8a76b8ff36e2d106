"""The launcher on this machine: real subprocesses that fail, are stopped or killed, and what the next call does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
from conftest import ROOT, assert_user_error

from ladder.__main__ import main
from ladder.config import ladder_from_config, load_config
from ladder.errors import UserError
from ladder.history import read_history
from ladder.local import check_affordable
from ladder.locks import exclusive
from ladder.measurements import read_runs
from ladder.rundir import RunDirectory
from ladder.status import run_status

LADDER = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32"]


def test_the_papers_ladder_is_not_started_on_a_cpu(command: Callable, tmp_path: Path) -> None:
    done = command("-m", "ladder", "run", "ladder=olmo2", f"runs_dir={tmp_path / 'runs'}")
    assert_user_error(done, "no GPU", "make demo")
    assert "16 rungs" in done.stdout  # the plan and its cost come first
    assert "GPU-hours of training" in done.stdout
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
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}"]
    for name in ("n0-1xC", "n0-2xC"):
        (tmp_path / "nano" / name).mkdir(parents=True)
        (tmp_path / "nano" / name / "checkpoints").write_text("in the way")
    done = command("-m", "ladder", "run", *words, "--sizes", "n0", "--multiples", "1,2")
    assert_user_error(done, "n0-1xC", "n0-2xC", "output.txt ends with", "cannot write", "checkpoints")


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


def process_with(*words: str) -> psutil.Process | None:
    """The process whose command line has all these words."""
    for process in psutil.process_iter(["cmdline"]):
        if all(word in (process.info["cmdline"] or []) for word in words):
            return process
    return None


def wait_until(condition: Callable[[], object], launcher: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and launcher.poll() is None, launcher.communicate()
        time.sleep(0.01)


def test_a_killed_trainer_and_a_killed_follower_lose_nothing(command: Callable, corpus: Path, tmp_path: Path) -> None:
    common = [*LADDER, "data.max_epochs=50", f"data.directory={corpus}"]
    undisturbed = [*common, "rung=n0-8xC", "train.evaluate=true", f"runs_dir={tmp_path / 'calm'}"]
    calm = subprocess.Popen([sys.executable, "-m", "train", *undisturbed], cwd=ROOT, stdout=subprocess.DEVNULL)
    ladder = [*common, "cluster.evaluators=1", "--sizes", "n0", "--multiples", "1,8"]

    directory = tmp_path / "killed" / "nano"
    words = ["-m", "ladder", "run", *ladder, f"runs_dir={tmp_path / 'killed'}"]
    launcher = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    runs = {name: RunDirectory(directory / name) for name in ("n0-1xC", "n0-8xC")}
    doomed = runs["n0-8xC"]
    wait_until(lambda: list(doomed.resume.glob("step-*")), launcher)
    trainer = read_history(doomed).start["pid"]
    os.kill(trainer, signal.SIGSTOP)  # so that it does not get to its end meanwhile
    wait_until(lambda: doomed.measured_steps(), launcher)
    follower = process_with("evaluate", str(directory), "--watch")
    assert follower is not None
    follower.kill()
    os.kill(trainer, signal.SIGKILL)
    printed, errors = launcher.communicate(timeout=240)
    assert launcher.returncode == 2
    assert "n0-8xC FAILED" in printed
    assert errors.startswith("error: failed: n0-8xC; n0-8xC: it was killed by SIGKILL")
    status = run_status(ladder_from_config(load_config(LADDER)).rung("n0-8xC"), doomed)
    assert (status.state, status.error) == ("stopped", "it was killed")
    for name, run in runs.items():  # what was trained is measured, although its follower died
        assert run.measured_steps() == run.checkpoint_steps(), name

    whole = [run.path / "checkpoints" for run in runs.values()]
    before = {path: path.stat().st_mtime_ns for directory in whole for path in directory.rglob("*.safetensors")}
    measured = {path: path.stat().st_mtime_ns for run in runs.values() for path in run.metrics_files()}
    finished = command(*words)
    assert finished.returncode == 0, finished.stderr
    assert "1 of 2 runs are already done" in finished.stdout
    kept = {path: path.stat().st_mtime_ns for path in before}
    newest = doomed.checkpoint(max(step for step in doomed.measured_steps() if doomed.metrics_file(step) in measured))
    kept.pop(newest / "model.safetensors"), before.pop(newest / "model.safetensors")  # may be from after the last state
    assert kept == before
    assert calm.wait(60) == 0
    expected = RunDirectory(tmp_path / "calm" / "nano" / "n0-8xC")
    pd.testing.assert_frame_equal(read_runs(doomed.path), read_runs(expected.path))
    last = expected.checkpoint_steps()[-1]  # weights too, to the last bit
    paths = [run.checkpoint(last) / "model.safetensors" for run in (doomed, expected)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_cancel_ends_a_launcher_and_its_children_saved(command: Callable, corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-4xC"]
    assert "nothing runs" in command("-m", "ladder", "cancel", *words).stdout
    run = RunDirectory(tmp_path / "nano" / "n0-4xC")
    launcher = subprocess.Popen(
        [sys.executable, "-m", "ladder", "run", *words], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(run.log_file.exists, launcher)
    assert command("-m", "ladder", "status", *words).returncode == 1  # under way
    reader = threading.Thread(target=launcher.communicate)  # a child that nobody waits for stays in the process table
    reader.start()
    cancelled = command("-m", "ladder", "cancel", *words)
    assert cancelled.returncode == 0, cancelled.stderr
    reader.join()
    assert launcher.returncode == 130
    assert process_with("train", "rung=n0-4xC", f"runs_dir={tmp_path}") is None
    assert list(run.resume.glob("step-*"))
    status = command("-m", "ladder", "status", *words)
    assert status.returncode == 3 and "stopped" in status.stdout


def test_the_prediction_waits_for_every_point(command: Callable, corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, "ladder.multiples=[1]", f"data.directory={corpus}", f"runs_dir={tmp_path}"]
    done = command("-m", "ladder", "run", *words, "--sizes", "n0")
    assert done.returncode == 0, done.stderr
    refused = command("-m", "ladder", "predict", *words)
    assert_user_error(refused, "cannot predict n5-8xC yet, missing: n1-1xC (not trained); n2-1xC", "n3-1xC")
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    first, *_ = run.metrics_files()
    first.unlink()
    step = run.checkpoint_steps()[0]
    assert_user_error(command("-m", "ladder", "predict", *words), f"n0-1xC (1 of 3 steps: {step})")
    assert command("-m", "ladder", "status", *words, "rung=n0-1xC").returncode == 3


def test_dry_run_prints_scripts_and_lines_and_writes_nothing(command: Callable, tmp_path: Path) -> None:
    words = ["ladder=olmo2", "cluster=slurm", f"runs_dir={tmp_path / 'runs'}", "--sizes", "1.3B", "--multiples", "1"]
    done = command("-m", "ladder", "run", "--dry-run", *words, "+cluster.slurm.options.partition=gpu")
    assert done.returncode == 0, done.stderr
    for line in (
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --nodes=4",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --partition=gpu",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@300",
        "#SBATCH --dependency='after:<1.3B-1xC>'",
        "#SBATCH --dependency='afterany:<1.3B-1xC>,afterany:<follow-1>,afterany:<follow-2>'",
    ):
        assert line in done.stdout
    minutes = int(re.findall(r"--time=(\d+)", done.stdout)[0])
    assert minutes == pytest.approx(60 * (1.3 * 167 / 32 + 0.5), rel=0.01)
    assert "accelerate launch --num_processes=32 --num_machines=4" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100_000))
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    with pytest.raises(UserError, match=r"needs 3\d\d kB for checkpoints .* 100 kB free; .*train.keep_checkpoints"):
        main(["run", *words])
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written(command: Callable, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path / 'file'}", "rung=n0-1xC"]
    assert_user_error(command("-m", "ladder", "run", *words), "cannot write", "file/nano")


def test_a_changed_configuration_is_refused_with_the_difference(
    command: Callable, corpus: Path, tmp_path: Path
) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    assert command("-m", "ladder", "run", *words).returncode == 0
    for changed in (command("-m", "ladder", "run", *words, "seed=5"), command("-m", "train", *words, "seed=5")):
        assert_user_error(changed, "begun with another configuration (seed: 0 there, 5 now)")
    assert "seed: 0 there" in command("-m", "ladder", "status", *words, "seed=5").stdout

    run = RunDirectory(tmp_path / "nano" / "n0-1xC")  # measured no more, and thinned out: nothing can make it again
    shutil.rmtree(run.checkpoint(run.checkpoint_steps()[0]))
    run.metrics_files()[0].unlink()
    assert_user_error(command("-m", "ladder", "run", *words), "cannot be made: n0-1xC (1 of 3 steps: 80)")


def test_what_a_killed_launcher_left_is_waited_for(corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, "data.max_epochs=50", f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-8xC"]
    start = [sys.executable, "-m", "ladder", "run", *words]
    run = RunDirectory(tmp_path / "nano" / "n0-8xC")
    launcher = subprocess.Popen(start, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(run.log_file.exists, launcher)
    launcher.kill()
    launcher.wait()
    second = subprocess.run(start, cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert "waiting for what an earlier launcher left at work: n0-8xC (process" in second.stdout
    assert read_history(run).starts == 1
    assert run.measured_steps() == run.run_info()["checkpoint_steps"]


def test_a_run_that_vanishes_is_not_called_done(corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, "data.max_epochs=50", f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-8xC"]
    run = RunDirectory(tmp_path / "nano" / "n0-8xC")
    launcher = subprocess.Popen(
        [sys.executable, "-m", "ladder", "run", *words], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(run.checkpoint_steps, launcher)
    while run.path.exists():  # it writes meanwhile
        shutil.rmtree(run.path, ignore_errors=True)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 2 and "failed: n0-8xC" in errors


@pytest.mark.parametrize(
    ("word", "fragment"),
    [
        ("ladder.multiples=[nan]", "ladder.multiples.0 = NaN: must be a finite number"),
        ("ladder.multiples=[1,1]", "twice"),
        ("ladder.multiples=3", "must be a list"),
        ("ladder.recipe.sequence_length=0", "ladder.recipe.sequence_length = 0: must be at least 1"),
        ("train.weights=fp8", 'unknown train.weights "fp8"; did you mean "fp32"'),
        ("train.micro_batch=-3", "train.micro_batch = -3"),
        ("suite.forward_tokens=abc", "suite: forward_tokens = "),
        ("runs_dir=null", "runs_dir = null: must be text"),
        ("cluster.gpus=4096", "more than its batch's"),
        ("target.n=70e9", "target.d, target.name is missing"),
        ("target.name=../../../x", 'target.name = "../../../x": must be a name'),
        ("ladder.name=../outside", 'ladder.name = "../outside": must be a name'),
        ("data.max_epochs=nan", "data.max_epochs = NaN: must be a finite number"),
        ("data.max_epochs=-1", "data.max_epochs = -1: must be above 0"),
        ("ladder.nmae=x", 'did you mean "ladder.name"?'),
        ("+ladder.nmae=x", 'unknown key "ladder.nmae"; did you mean "name"?'),
        ("ladder=../ladder/nano", 'unknown ladder "../ladder/nano"'),
        ("ladder.target=7B-4T", "on the command line it is target=NAME"),
        ("ladder.multiples=[1e300]", "would train on"),
        ("wandb=sometimes", 'unknown wandb "sometimes"'),
    ],
)
def test_values_are_checked_before_anything_else(word: str, fragment: str) -> None:
    with pytest.raises(UserError) as error:
        main(["plan", "ladder=nano", word])
    assert fragment in str(error.value)
