"""Which jobs a ladder becomes and how this machine's devices are shared among them; no job really runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from launches import jobs_of, launch

from ladder.errors import UserError
from ladder.jobs import local, slurm
from ladder.jobs.local import JobsFailed, LocalRun
from ladder.jobs.preflight import check_devices
from ladder.jobs.slurm import accelerate_line, script, submit_ladder
from ladder.jobs.supervise import End, EndState


def test_longest_first_then_what_measures_and_predicts(tmp_path: Path) -> None:
    jobs = jobs_of(launch(tmp_path))
    assert [job.name for job in jobs[:2]] == ["n2-8xC", "n1-8xC"]
    assert [job.name for job in jobs[12:]] == ["measure", "predict"]
    assert all("train.evaluate=true" in job.words for job in jobs[:12])
    assert set(jobs[-1].after) == {job.name for job in jobs[:-1]}


def test_followers_measure_in_place_of_the_trainings(tmp_path: Path) -> None:
    jobs = jobs_of(launch(tmp_path, "cluster.evaluators=2"))
    assert not any("train.evaluate=true" in job.words for job in jobs)
    assert [job.name for job in jobs[12:]] == ["follow-1", "follow-2", "measure", "predict"]
    assert jobs[12].after_start and not jobs[12].after


def test_shorter_wsd_runs_wait_for_the_longer_one_of_their_size(tmp_path: Path) -> None:
    jobs = {job.name: job for job in jobs_of(launch(tmp_path, "ladder.recipe.schedule=wsd"))}
    assert jobs["n2-8xC"].after == ()
    assert set(jobs["n2-2xC"].after) == {"n2-4xC", "n2-8xC"}


def started_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: Sequence[str], *words: str
) -> list[tuple[str, str]]:
    """(job, its CUDA_VISIBLE_DEVICES) in the order of their starts; checks that a device is shared only when asked."""
    one = launch(tmp_path, *words)
    shared = any(word.startswith("cluster.parallel=") for word in words)
    started: list[tuple[str, str]] = []
    running: dict[str, set[str]] = {}

    def start(words: Sequence[str], output: Path, environment: dict[str, str]) -> Any:
        name = output.parent.name if output.name == "output.txt" else output.stem
        mine = set(environment["CUDA_VISIBLE_DEVICES"].split(",")) - {""}
        assert shared or not any(mine & taken for taken in running.values())
        running[name] = mine
        started.append((name, ",".join(sorted(mine))))
        polls = iter(range(3 + 10**6 * name.startswith("follow")))

        def done() -> bool:
            if next(polls, None) is None:
                running.pop(name, None)
            return name not in running

        failed = End(state=EndState.FAILED, reason="not really run")
        return SimpleNamespace(done=done, send=lambda number: running.pop(name, None), end=lambda: failed)

    monkeypatch.setattr(local, "start_stage", start)
    monkeypatch.setattr(local, "_POLL_SECONDS", 0.001)
    object.__setattr__(one, "devices", list(devices))
    run = LocalRun(one.directory, one.cluster, one.rungs, devices, report=lambda line: None)
    with pytest.raises(UserError, match="failed: n"):
        run.run(jobs_of(one))
    return started


def test_one_gpu_each_runs_as_many_as_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = started_on(tmp_path, monkeypatch, ["0", "1", "5"], "cluster.gpus=1")
    assert [devices for _, devices in started[:3]] == ["0", "1", "5"]
    assert len(started) == 12


def test_more_trainings_than_gpus_share_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = started_on(tmp_path, monkeypatch, ["0", "1"], "cluster.gpus=1", "cluster.parallel=4")
    assert sorted(devices for _, devices in started[:4]) == ["0", "0", "1", "1"]
    shared = launch(tmp_path, "cluster.gpus=2", "cluster.parallel=4")
    with pytest.raises(UserError, match=r"cluster.parallel=4 shares 2 GPUs, and n0-1xC is to have 2 of its own"):
        check_devices(shared.cluster, shared.rungs, 2)


def test_lines_for_nodes_of_one_gpu_make_one_training(tmp_path: Path) -> None:
    one = launch(tmp_path, "cluster=slurm", "cluster.gpus=4", "cluster.slurm.gpus_per_node=1")
    job = jobs_of(one)[0]
    line = accelerate_line(job, one.cluster.nodes_of(job.gpus))
    assert line.startswith("MODEL_LADDER_GPUS=1 ")
    assert "accelerate launch --multi_gpu --num_processes=4 --num_machines=4 --machine_rank=$RANK" in line
    assert accelerate_line(replace(job, gpus=0), 1).startswith("python -m train")
    assert "--multi_gpu" not in accelerate_line(replace(job, gpus=1), 1)


def test_a_slurm_job_states_its_gpus_and_asks_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[Any] = []

    def submit(*words: Any) -> Any:
        submitted.append(words)
        return SimpleNamespace(job_id=len(submitted))

    executor = SimpleNamespace(update_parameters=lambda **_: None, submit=submit)
    monkeypatch.setattr("submitit.SlurmExecutor", lambda directory: executor)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    monkeypatch.setattr("ladder.jobs.launch.visible_gpus", list)
    one = launch(tmp_path, "cluster=slurm", "cluster.gpus=8", "cluster.slurm.gpus_per_node=4", "cluster.evaluators=1")
    jobs = jobs_of(one)
    submit_ladder(one.directory, one.cluster, jobs, {}, report=lambda line: None)
    given = {job.name: words[-1] for job, words in zip(jobs, submitted, strict=True)}
    assert given["n2-8xC"] == {"MODEL_LADDER_GPUS": "4"}  # on each of two nodes
    assert given["follow-1"] == {"MODEL_LADDER_GPUS": "1"} and given["predict"] == {"MODEL_LADDER_GPUS": "0"}
    names = [job.name for job in jobs]
    assert "#SBATCH --mem=41GB" in script(one.directory, one.cluster, jobs[0], names)
    assert "--mem" not in script(one.directory, one.cluster, jobs[-1], names)
    own = launch(tmp_path, "cluster=slurm", "cluster.gpus=8", "+cluster.slurm.options.mem-per-gpu=100G")
    assert "--mem=" not in script(own.directory, own.cluster, jobs_of(own)[0], names)


def test_larger_sizes_get_more_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "cluster.gpus={n2: 4, default: 2}"
    started = dict(started_on(tmp_path, monkeypatch, list("01234567"), words))
    assert {len(started[name].split(",")) for name in ("n2-8xC", "n2-1xC")} == {4}
    assert {len(started[name].split(",")) for name in ("n0-8xC", "n1-1xC")} == {2}


def test_a_gpu_is_kept_for_each_follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = started_on(tmp_path, monkeypatch, ["0", "1", "2"], "cluster.evaluators=1")
    assert len(started[0][1].split(",")) == 2  # auto: what the follower leaves
    assert [name for name, _ in started[:3]].count("follow-1") == 1


def test_a_signal_in_the_middle_of_a_start_loses_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = launch(tmp_path)
    started: list[str] = []
    ended: list[str] = []

    def start(words: Sequence[str], output: Path, environment: dict[str, str]) -> Any:
        name = str(output)
        started.append(name)
        if len(started) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return SimpleNamespace(done=lambda: name in ended, send=lambda number: ended.append(name))

    monkeypatch.setattr(local, "start_stage", start)
    run = LocalRun(one.directory, one.cluster, one.rungs, [], report=lambda line: None)
    with pytest.raises(KeyboardInterrupt):
        run.run(jobs_of(one))
    assert started and ended == started


def test_a_launcher_under_nohup_outlives_its_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = launch(tmp_path)

    def start(*_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGHUP)
        return SimpleNamespace(done=lambda: True, end=lambda: End(state=EndState.FAILED, reason="it went on"))

    monkeypatch.setattr(local, "start_stage", start)
    run = LocalRun(one.directory, one.cluster, one.rungs, [], report=lambda line: None)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(JobsFailed, match="it went on"):
            run.run(jobs_of(one)[:1])
    finally:
        signal.signal(signal.SIGHUP, before)
