"""Ends what runs of a ladder, saved, and takes back what waits."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence

from ladder.errors import UserError
from ladder.jobs.slurm import cancel
from ladder.jobs.snapshot import Snapshot
from ladder.process.processes import process_lives
from ladder.rungs.rung import Rung
from ladder.runs.history import at_work
from ladder.runs.queue import JobKind
from ladder.runs.rundir import LadderDirectory, find_runs

CANCEL_SECONDS = 700  # a launcher waits 600 for its trainers to save


def cancel_queued(snapshot: Snapshot, rungs: Sequence[Rung]) -> None:
    """Takes the rungs' jobs out of SLURM's queue; those that measure and predict too, once no training is left."""
    names = {rung.name for rung in rungs}
    others_left = not set(snapshot.queued_trainings) <= names
    chosen = [
        job for job in snapshot.queue.values() if (job.name in names if job.kind is JobKind.TRAIN else not others_left)
    ]
    cancel(job.id for job in chosen)
    print(f"cancelled {len(chosen)} of {len(snapshot.queue)} jobs; those that ran save their state first")


def cancel_here(directory: LadderDirectory, snapshot: Snapshot, rungs: Sequence[Rung]) -> None:
    """Ends the launcher of this machine and its trainings.

    Raises:
        UserError: the launcher is on another machine, does not end, or only a part of it was meant.
    """
    holder = snapshot.holder
    if holder and not snapshot.launcher_here:
        raise UserError(f"{directory.path}: the launcher is process {holder[0]} on {holder[1]}: cancel there")
    runs = find_runs(directory.path) if directory.path.is_dir() else []
    trainers = {run.name: pid for run in runs if (pid := at_work(run))}
    if others := sorted(set(trainers) - {rung.name for rung in rungs}):
        raise UserError(
            f"cancel ends all that runs here, also {', '.join(others)}; leave out --sizes, --multiples and rung"
        )
    processes = [holder[0]] if holder else list(trainers.values())
    if not processes:
        print(f"nothing runs in {directory.path}")
        return
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            os.kill(process, signal.SIGTERM)
    listed = ", ".join(map(str, processes))
    print(f"process {listed} was asked to end; trainers finish their step and save", flush=True)
    deadline = time.monotonic() + CANCEL_SECONDS
    while any(map(process_lives, processes)):
        if time.monotonic() > deadline:
            raise UserError(f"process {listed} did not end in {CANCEL_SECONDS} s")
        time.sleep(0.1)
