"""Runs rungs on this machine: a few `python -m train` processes at a time, longest first, only what is missing."""

from __future__ import annotations

import contextlib
import os
import shutil
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

TERMINATE_SECONDS = 60  # a trainer that is asked to stop finishes its step and saves
PROGRESS_SECONDS = 15
EXIT_PREEMPTED = 75

CPU_FLOPS_LIMIT = 1e16
"""Above this (6ND) a ladder is not started on a CPU: at some 30 GFLOP/s it would take more than four days."""


@dataclass(frozen=True)
class Job:
    """One rung in one process; its output goes to `path`."""

    rung: Rung
    process: subprocess.Popen[bytes]
    output: IO[bytes]


def count_gpus() -> int:
    """CUDA devices that the driver lists; 0 where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return min(listed, len([word for word in visible.split(",") if word])) if visible is not None else listed


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
    try:
        while todo or running:
            while len(running) < workers and (rung := _next(todo, running)):
                todo.remove(rung)
                running.append(_start(rung, overrides, directory, gpus, workers))
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
                if job.process.returncode:
                    failed.append(job.rung)
                    report(f"{job.rung.name} FAILED, see {_output(directory, job.rung)}")
                else:
                    finished += 1
                    status = run_status(job.rung, RunDirectory(directory / job.rung.name))
                    report(f"{job.rung.name} done ({finished}/{len(rungs)}), loss {status.loss or float('nan'):.3f}")
    finally:
        _stop(running)
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


def _start(rung: Rung, overrides: Sequence[str], directory: Path, gpus: int, workers: int) -> Job:
    launcher = ["-m", "accelerate.commands.launch", f"--num_processes={gpus}", "-m"] if gpus > 1 else ["-m"]
    kept = [word for word in overrides if not word.startswith("rung=")]
    command = [sys.executable, *launcher, "train", *kept, f"rung={rung.name}", "train.evaluate=true"]
    # One thread each: two single-threaded processes beat one of two threads, and threads that spin while they wait
    # would starve the others.
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"} | os.environ
    path = _output(directory, rung)
    path.parent.mkdir(parents=True, exist_ok=True)
    output = path.open("ab")
    # A session of its own: Ctrl-C reaches this process only, which then ends its children in order.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
    )
    return Job(rung, process, output)


def _stop(jobs: Sequence[Job]) -> None:
    """Asks every process to save and end; kills what does not."""
    for job in jobs:
        job.process.terminate()
    deadline = time.monotonic() + TERMINATE_SECONDS
    for job in jobs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(max(0.0, deadline - time.monotonic()))
        if job.process.poll() is None:
            job.process.kill()
            job.process.wait()
        job.output.close()
