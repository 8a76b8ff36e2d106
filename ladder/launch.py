"""Runs rungs on this machine: a few `python -m train` processes at a time, longest first, only what is missing."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from omegaconf import DictConfig

from ladder.config import ladder_directory
from ladder.errors import UserError, unknown
from ladder.rundir import RunDirectory
from ladder.rung import Rung
from ladder.status import duration, run_status

TERMINATE_SECONDS = 600  # a trainer that is asked to stop finishes its step and saves
PROGRESS_SECONDS = 15
EXIT_PREEMPTED = 75

CPU_FLOPS_LIMIT = 1e16
"""Above this (6ND) a ladder is not started on a CPU: at some 30 GFLOP/s it would take more than four days."""


@dataclass(frozen=True)
class Job:
    """One rung in one process: its training, or what is left to measure of it."""

    rung: Rung
    measures: bool
    process: subprocess.Popen[bytes]
    output: IO[bytes]


def count_gpus() -> int:
    """CUDA devices that the driver lists; 0 where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    if visible is None:
        return listed
    words = itertools.takewhile(lambda word: word and not word.startswith("-"), visible.split(","))  # -1 hides all
    return min(listed, len(list(words)))


def check_affordable(rungs: Sequence[Rung], gpus: int) -> None:
    """Raises UserError where the rungs need a GPU and this machine has none."""
    flops = sum(rung.flops_6nd for rung in rungs)
    if gpus == 0 and flops > CPU_FLOPS_LIMIT:
        cluster = "SLURM is here, but" if shutil.which("sbatch") else "and no SLURM,"
        raise UserError(
            f"this machine has no GPU {cluster} and the ladder needs {flops:.1e} FLOPs (6ND); start it where there is "
            "one, or see the whole pipeline on this machine with: make demo"
        )


def run_rungs(
    config: DictConfig, overrides: Sequence[str], rungs: Sequence[Rung], report: Callable[[str], None]
) -> None:
    """Trains and evaluates what is missing of `rungs`; what is complete is left alone.

    Args:
        overrides: the words the user gave, handed on to each `python -m train`.
        report: called with one line per event.

    Raises:
        UserError: a rung failed; the message names it and its output file. The other rungs are finished first.
    """
    directory = ladder_directory(config)
    gpus = count_gpus()
    check_affordable(rungs, gpus)
    todo = sorted(
        (rung for rung in rungs if run_status(rung, RunDirectory(directory / rung.name)).state != "done"),
        key=lambda rung: -rung.flops_with_attention,
    )
    if skipped := len(rungs) - len(todo):
        report(f"{skipped} of {len(rungs)} runs are already done")
    workers = _workers(config, gpus, len(todo))
    failed: list[Rung] = []
    running: list[Job] = []
    finished = skipped
    next_line = time.monotonic() + PROGRESS_SECONDS
    handlers = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        while todo or running:
            while len(running) < workers and (rung := _next(todo, running)):
                todo.remove(rung)
                running.append(_start(config, rung, overrides, gpus, workers))
                report(f"{rung.name} started")
            time.sleep(0.2)
            if time.monotonic() > next_line:
                next_line = time.monotonic() + PROGRESS_SECONDS
                report(_progress([job.rung for job in running], directory))
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                job.output.close()
                if job.process.returncode == EXIT_PREEMPTED:
                    raise KeyboardInterrupt
                state = run_status(job.rung, RunDirectory(directory / job.rung.name)).state
                if not job.process.returncode and state == "trained" and not job.measures:
                    running.append(_start(config, job.rung, overrides, gpus, workers))
                elif job.process.returncode or state != "done":
                    failed.append(job.rung)
                    report(f"{job.rung.name} FAILED, see {_output(directory, job.rung)}")
                else:
                    finished += 1
                    status = run_status(job.rung, RunDirectory(directory / job.rung.name))
                    report(f"{job.rung.name} done ({finished}/{len(rungs)}), loss {status.loss or float('nan'):.3f}")
    finally:
        _stop(running)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if failed:
        last = _output(directory, failed[0]).read_text(errors="replace").strip().splitlines()[-1:]
        raise UserError(
            f"{len(failed)} of {len(rungs)} runs failed: {', '.join(rung.name for rung in failed)}; "
            f"{_output(directory, failed[0])} ends with: {''.join(last)}"
        )


def _next(todo: Sequence[Rung], running: Sequence[Job]) -> Rung | None:
    """The first rung that may start: with WSD, shorter runs wait for the longer one of their size to branch from."""
    busy = {job.rung.size for job in running}
    return next((rung for rung in todo if rung.hparams.schedule != "wsd" or rung.size not in busy), None)


def _progress(rungs: Sequence[Rung], directory: Path) -> str:
    """What runs, how far it is and how long it will take: `n3-8xC 45% ETA 1m5s, n2-8xC 12% ETA 2m`."""
    parts = []
    for rung in rungs:
        status = run_status(rung, RunDirectory(directory / rung.name))
        eta = "" if status.eta_seconds is None else f" ETA {duration(status.eta_seconds)}"
        parts.append(f"{rung.name} {status.fraction:.0%}{eta}")
    return "  running: " + ", ".join(parts)


def _workers(config: DictConfig, gpus: int, jobs: int) -> int:
    parallel = config.cluster.parallel
    if parallel == "auto":
        return 1 if gpus else max(1, min(os.cpu_count() or 1, jobs))
    if not isinstance(parallel, int) or parallel < 1:
        raise unknown("cluster.parallel", str(parallel), ["auto", "1", "2"])
    return parallel


def _output(directory: Path, rung: Rung) -> Path:
    return directory / rung.name / "output.txt"


def _start(config: DictConfig, rung: Rung, overrides: Sequence[str], gpus: int, workers: int) -> Job:
    """Trains the rung; one whose weights are all there is measured instead."""
    directory = ladder_directory(config)
    measures = run_status(rung, RunDirectory(directory / rung.name)).state == "trained"
    kept = [word for word in overrides if not word.startswith("rung=")]
    if measures:
        suite = [word for word in kept if word.startswith("suite")]
        command = [sys.executable, "-m", "evaluate", str(directory / rung.name), *suite]
    else:
        launcher = ["accelerate.commands.launch", f"--num_processes={gpus}", "-m"] if gpus > 1 else []
        command = [sys.executable, "-m", *launcher, "train", *kept, f"rung={rung.name}"]
        if config.train.parallel == "ddp" and not any(word.startswith("train.evaluate=") for word in kept):
            command.append("train.evaluate=true")
    # One thread each: two single-threaded processes beat one of two threads, and threads that spin while they wait
    # would starve the others. torchrun's agent kills workers that take longer to save than its timeout.
    environment = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers)),
        "OMP_WAIT_POLICY": "passive",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(TERMINATE_SECONDS),
    } | os.environ
    path = _output(directory, rung)
    path.parent.mkdir(parents=True, exist_ok=True)
    output = path.open("ab")
    # A session of its own: Ctrl-C reaches this process only, which then ends its children in order.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
    )
    return Job(rung, measures, process, output)


def _interrupt(*_: object) -> None:
    """SIGTERM and SIGHUP end the children as Ctrl-C does, instead of leaving them alone."""
    raise KeyboardInterrupt


def _stop(jobs: Sequence[Job]) -> None:
    """Asks every process to save and end; kills what does not."""
    for job in jobs:
        job.process.terminate()
    deadline = time.monotonic() + TERMINATE_SECONDS
    for job in jobs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(max(0.0, deadline - time.monotonic()))
        if job.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGKILL)
            job.process.wait()
        job.output.close()
