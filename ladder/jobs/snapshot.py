"""A ladder as it stands: its runs, its jobs in a queue and its launcher, read once for a whole command."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from ladder.errors import UserError
from ladder.files.locks import lock_holder
from ladder.jobs.slurm import queue_of
from ladder.rungs.rung import Rung
from ladder.runs.queue import JobKind, QueuedJob
from ladder.runs.rundir import LadderDirectory
from ladder.runs.status import RunState, RunStatus, run_status


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """`runs` are of the chosen rungs; `queue` has the ladder's jobs by name; `silent`: why the queue did not answer."""

    runs: tuple[RunStatus, ...]
    queue: dict[str, QueuedJob]
    silent: UserError | None
    holder: tuple[int, str] | None

    @property
    def done(self) -> int:
        return sum(run.state is RunState.DONE for run in self.runs)

    @property
    def outdated(self) -> int:
        """Checkpoints that were measured with another suite."""
        return sum(run.outdated for run in self.runs)

    @property
    def to_train(self) -> list[Rung]:
        """What is not trained to its end, the longest first."""
        rungs = [status.rung for status in self.runs if not status.trained]
        return sorted(rungs, key=lambda rung: -rung.flops_with_attention)

    @property
    def queued_trainings(self) -> list[str]:
        return [job.name for job in self.queue.values() if job.kind is JobKind.TRAIN]

    @property
    def launcher_here(self) -> bool:
        return self.holder is not None and self.holder[1] == platform.node()

    @property
    def at_work(self) -> bool:
        """Whether a launcher of this machine is at work, or the queue has jobs."""
        return bool(self.queue) or self.launcher_here

    def measured_mfu(self, size: str) -> float | None:
        """MFU of a size, from the last row of one of its runs that has one."""
        return next((run.mfu for run in reversed(self.runs) if run.rung.size == size and run.mfu), None)


def take_snapshot(directory: LadderDirectory, rungs: Sequence[Rung]) -> Snapshot:
    queue, silent = {}, None
    try:
        queue = queue_of(directory)
    except UserError as error:
        silent = error
    runs = (run_status(rung, directory.run(rung.name), queue.get(rung.name)) for rung in rungs)
    return Snapshot(runs=tuple(runs), queue=queue, silent=silent, holder=lock_holder(directory.path))
