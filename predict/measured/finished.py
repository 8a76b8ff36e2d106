"""What was measured on a finished target, wherever it lies: no ladder needs to be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ladder.config.settings import Smoothing
from ladder.errors import UserError, shortened
from ladder.rungs.rung import Target
from predict.measured.ladder import Measured
from predict.measured.load import read_measurements
from predict.measured.runs import Run, measured_tasks, runs_of
from predict.measured.tasks import Task, tasks_of


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run and the tasks it may have been measured on, by name; `smoothing` says how many checkpoints are averaged."""

    run: Run
    tasks: Mapping[str, Task]
    smoothing: Smoothing

    def accuracy(self, task: str) -> float | None:
        """In [0, 1], as `Measured.actual`; None where the task was not measured, or not at the run's end."""
        return self._final(task, "rc_acc", self.smoothing.window)

    def loss(self, task: str, metric: str) -> float | None:
        """By `rc_bpb` or `rc_task_ce`; None as of `accuracy`."""
        return self._final(task, metric, self.smoothing.final_checkpoints)

    def lm_loss(self, texts: Sequence[str]) -> float | None:
        """The mean over these texts, nats per token; None where one was not measured."""
        if not set(texts) <= set(self.run.lm_losses()):
            return None
        return self.run.final(self.run.lm_loss(texts), self.smoothing.final_checkpoints)

    def _final(self, name: str, metric: str, count: int) -> float | None:
        task = self.tasks.get(name)
        return self.run.final(self.run.curve(task, metric), count) if task and self.run.has(task, metric) else None


def runs_at(path: Path, smoothing: Smoothing, mapping: Path | None = None) -> Measured:
    """Everything that was measured at `path`, none of it a rung. Raises as `read_measurements`."""
    table = read_measurements(path, mapping).table
    return Measured(
        name=path.stem,
        source=str(path),
        rungs=(),
        runs=tuple(runs_of(table)),
        measured=measured_tasks(table),
        smoothing=smoothing,
    )


def measured_target(path: Path, target: Target, smoothing: Smoothing, mapping: Path | None = None) -> Finished:
    """The finished run of the target's N and D. Raises UserError where there is none."""
    measured = runs_at(path, smoothing, mapping)
    run = measured.at(target)
    if run is None:
        same_n = [f"{one.name} (N = {one.n:.4g}, D = {one.last_tokens:.4g})" for one in measured.runs[-3:]]
        raise UserError(
            f"{path} holds no finished run of {target.name} (N = {target.n:.4g}, D = {target.d:.4g}, each within 1%); "
            f"its largest: {shortened(', '.join(same_n), 120)}"
        )
    return Finished(run=run, tasks=tasks_of(measured.measured).all, smoothing=smoothing)
