"""A ladder through a real SLURM of one node, brought up for the test: queue, dependencies, requeue, signals, cancel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, assert_user_error, run_module
from held import Hold, wait_until

from ladder.runs.history import read_history
from ladder.runs.rundir import RunDirectory
from predict.measured.own_runs import read_runs

pytestmark = pytest.mark.slurm
CLUSTER = ROOT / "scripts" / "slurm_test_cluster.sh"
STEP = 170  # after the first checkpoint of every run
NAMES = ["n0-1xC", "n0-2xC", "n1-1xC", "n1-2xC"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    if shutil.which("slurmctld") is None or shutil.which("munged") is None:
        pytest.skip("no SLURM here: apt-get install slurm-wlm munge")
    if os.geteuid():
        pytest.skip("a SLURM of one's own needs root")
    up = subprocess.run([CLUSTER, "up"], capture_output=True, text=True)
    assert up.returncode == 0, up.stderr
    os.environ["SLURM_CONF"] = up.stdout.strip()
    yield
    subprocess.run([CLUSTER, "down"], check=True)
    del os.environ["SLURM_CONF"]


def words_for(corpus: Path, runs_dir: Path) -> list[str]:
    ladder = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32", "ladder.multiples=[1,2]"]
    data = [f"data.directory={corpus}", "data.max_epochs=200", f"runs_dir={runs_dir}", "train.log_every=2"]
    return [*ladder, "~ladder.sizes.n2", *data]


def on_slurm(words: list[str]) -> list[str]:
    cluster = ["cluster=slurm", "cluster.gpus=0", "cluster.evaluators=1", "cluster.slurm.max_hours=0.2"]
    return [*words, *cluster, "cluster.slurm.cpus_per_task=1", "cluster.slurm.signal_seconds=60"]


def scontrol(*words: str) -> str:
    return subprocess.run(["scontrol", *words], capture_output=True, text=True, check=True).stdout


def job_state(number: str) -> str:
    done = subprocess.run(["squeue", "-h", "-j", number, "-o", "%T"], capture_output=True, text=True)
    return done.stdout.strip()


def job_ids() -> dict[str, str]:
    listed = subprocess.run(["squeue", "-h", "-o", "%j %i"], capture_output=True, text=True).stdout
    return dict(line.split() for line in listed.splitlines())


def start_now(number: str) -> None:
    """SLURM lets a requeued job wait two minutes; this one may start at once."""
    wait_until(lambda: job_state(number) == "PENDING")
    scontrol("update", f"JobId={number}", "StartTime=now")


def submit(hold: Hold, *words: str) -> subprocess.CompletedProcess[str]:
    """Trainings wait where `hold` says."""
    done = subprocess.run(hold.command("ladder", "run", *words), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_a_ladder_from_submission_to_prediction(slurm: None, corpus: Path, tmp_path: Path, hold: Hold) -> None:
    words = on_slurm(words_for(corpus, tmp_path))
    directory = tmp_path / "nano"
    for name in ("n1-2xC", "n0-2xC"):
        hold.at(name, STEP)
    submit(hold, *words)
    ids = job_ids()
    assert set(ids) == {*NAMES, "follow-1", "measure", "predict"}
    dependency = scontrol("show", "job", ids["predict"])
    assert all(f"afterany:{ids[name]}" in dependency for name in (*NAMES, "measure"))
    again = run_module("-m", "ladder", "run", *words)
    assert again.stdout.count("is in the queue as job") == len(ids) and job_ids() == ids

    requeued, signalled = RunDirectory(directory / "n1-2xC"), RunDirectory(directory / "n0-2xC")
    hold.until_held(requeued.name)
    assert job_state(ids["predict"]) == "PENDING"
    status = run_module("-m", "ladder", "status", *words)
    assert status.returncode == 1 and "running" in status.stdout and "queued" in status.stdout
    scontrol("requeue", ids["n1-2xC"])
    start_now(ids["n1-2xC"])
    hold.until_held(signalled.name)
    subprocess.run(["scancel", "--signal=USR2", ids["n0-2xC"]], check=True)  # as ahead of the time limit
    wait_until(lambda: read_history(signalled).end is not None)
    assert list(signalled.resume.glob("step-*"))
    start_now(ids["n0-2xC"])

    def finished() -> bool:
        code = run_module("-m", "ladder", "status", *words).returncode
        assert code in (0, 1)
        return code == 0 and not job_state(ids["predict"])

    wait_until(finished)
    assert read_history(requeued).restarts == read_history(signalled).restarts == 1
    prediction = json.loads((directory / "prediction-n5-8xC.json").read_text())
    assert set(prediction["tasks"]) == {"next_phrase", "word", "order", "agree"}
    shown = run_module("-m", "ladder", "status", *words).stdout
    assert "4 of 4 runs done" in shown and "prediction-n5-8xC.json" in shown

    calm = words_for(corpus, tmp_path / "calm")
    for name in ("n0-2xC", "n1-2xC"):
        alone = run_module("-m", "train", *calm, f"rung={name}", "train.evaluate=true")
        assert alone.returncode == 0, alone.stderr
        expected = read_runs(tmp_path / "calm" / "nano" / name)
        pd.testing.assert_frame_equal(read_runs(directory / name), expected)
    nothing = run_module("-m", "ladder", "run", *words)
    assert "4 of 4 runs are already done" in nothing.stdout and not job_ids()


def test_a_sweep_is_in_the_queue_before_it_can_be_judged(slurm: None, corpus: Path, tmp_path: Path, hold: Hold) -> None:
    words = on_slurm(words_for(corpus, tmp_path))
    hold.at("n0-1xC", STEP)
    done = subprocess.run(hold.command("ladder", "check", "--sweep", *words), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # nothing can be judged yet
    assert "python -m ladder status --sweep --watch ladder=nano" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("once they have ended, what they show: python -m ladder check ladder=nano")
    assert {"n0-1xC", "n0-1xC-lr2", "n1-1xC-lr4", "measure"} <= set(job_ids()) and "predict" not in job_ids()
    hold.until_held("n0-1xC")
    status = run_module("-m", "ladder", "status", "--sweep", *words)
    assert status.returncode == 1 and "n0-1xC-lr2" in status.stdout
    ended = run_module("-m", "ladder", "cancel", "--sweep", *words)
    assert ended.stdout.startswith("cancelled"), ended.stderr
    wait_until(lambda: not job_ids())


def test_slurm_rejects_a_job(slurm: None, corpus: Path, tmp_path: Path) -> None:
    words = on_slurm(words_for(corpus, tmp_path))
    done = run_module("-m", "ladder", "run", *words, "+cluster.slurm.options.partition=nope")
    assert_user_error(done, "SLURM did not take n1-2xC", "invalid partition specified: nope")
    assert not job_ids()


def test_cancelled_jobs_save_and_go_on_when_run_again(slurm: None, corpus: Path, tmp_path: Path, hold: Hold) -> None:
    words = on_slurm(words_for(corpus, tmp_path))
    run = RunDirectory(tmp_path / "nano" / "n1-2xC")
    hold.at(run.name, STEP)
    hold.at("n1-1xC", STEP)  # so that it is still there later on
    submit(hold, *words)
    hold.until_held(run.name)
    here = run_module("-m", "ladder", "run", *words_for(corpus, tmp_path))
    assert_user_error(here, "SLURM has 7 jobs of", "cluster=slurm")
    one = run_module("-m", "ladder", "cancel", *words, "rung=n1-2xC")
    assert "cancelled 1 of 7 jobs" in one.stdout, one.stderr
    first = job_ids()
    # At once, while the cancelled job still ends: its successor waits for it, and what waits for all waits for it too.
    hold.at(run.name, STEP + 20)
    assert "n1-2xC submitted" in submit(hold, *words, "rung=n1-2xC").stdout
    second = job_ids()
    assert set(second) >= {"n1-2xC", "n1-1xC", "measure", "predict"}
    assert second["n1-2xC"] != first.get("n1-2xC") and second["measure"] != first["measure"]
    assert f"afterany:{second['n1-1xC']}" in scontrol("show", "job", second["measure"])
    hold.release("n1-1xC")  # the node may have no room for both
    hold.until_held(run.name)
    assert read_history(run).restarts == 1
    assert list(run.resume.glob("step-*"))
    everything = run_module("-m", "ladder", "cancel", *words)
    assert everything.stdout.startswith("cancelled"), everything.stderr
    wait_until(lambda: not job_ids())
    status = run_module("-m", "ladder", "status", *words)
    assert status.returncode == 3 and "stopped" in status.stdout
