"""Where each run stands: from its files first, which works from any machine and half-written, and the queue second."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ladder.records.run_log import last_row
from ladder.rungs.rung import Rung
from ladder.runs.history import History, finished, read_history
from ladder.runs.queue import QueuedJob
from ladder.runs.rundir import LadderDirectory, RunDirectory

QUIET_SECONDS = 300
"""A run on another machine whose log has not grown for so long is no longer taken to be running."""

EXIT_DONE, EXIT_UNDER_WAY, EXIT_STOPPED = 0, 1, 3


class RunState(StrEnum):
    MISSING = "missing"
    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"  # goes on when run again
    FAILED = "failed"
    TRAINED = "trained"  # not all of its checkpoints are measured
    DONE = "done"


UNDER_WAY = (RunState.RUNNING, RunState.QUEUED)


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """`unmeasured` counts checkpoints that are there and not measured; a measured one may have been thinned out.

    `outdated` counts those that were measured with another suite, whether they are there or not. With `other_settings`
    the run is not the rung that the configuration means: its steps are of another length.
    """

    rung: Rung
    state: RunState
    step: int
    loss: float | None
    tokens_per_second: float | None
    eta_seconds: float | None
    mfu: float | None
    checkpoints: int
    evaluated: int
    unmeasured: int
    outdated: int
    restarts: int
    error: str
    other_settings: bool = False

    @property
    def done(self) -> bool:
        return self.state is RunState.DONE and not self.other_settings

    @property
    def trained(self) -> bool:
        return self.state in (RunState.TRAINED, RunState.DONE)

    @property
    def fraction(self) -> float:
        return self.step / self.rung.hparams.total_steps

    @property
    def expected(self) -> int:
        return len(self.rung.hparams.checkpoint_steps)


def run_status(rung: Rung, run: RunDirectory, job: QueuedJob | None = None) -> RunStatus:
    row, history = last_row(run.log_file), read_history(run)
    steps = run.checkpoint_steps()
    measured = set(run.measured_steps()) & set(rung.hparams.checkpoint_steps)
    state, error = _state(rung, run, history, len(measured), job)
    return RunStatus(
        rung=rung,
        state=state,
        step=max([row.step if row else 0, *steps[-1:]]),
        loss=row.loss if row else None,
        tokens_per_second=row.tokens_per_second if row else None,
        eta_seconds=row.eta_seconds if row and state is RunState.RUNNING else None,
        mfu=row.mfu if row else None,
        checkpoints=len(steps),
        evaluated=len(measured),
        unmeasured=len(set(steps) - measured),
        outdated=len(run.metrics_files()) - len(run.measured_steps()),
        restarts=history.restarts,
        error=error,
    )


def _state(
    rung: Rung, run: RunDirectory, history: History, measured: int, job: QueuedJob | None
) -> tuple[RunState, str]:
    """Where the run stands, and why it does not go on."""
    if finished(run, rung.hparams.total_steps) and run.run_file.exists():
        return RunState.DONE if measured == len(rung.hparams.checkpoint_steps) else RunState.TRAINED, ""
    if history.alive or (history.alive is None and _grows(run)):
        return RunState.RUNNING, history.error
    if job is not None:
        return RunState.RUNNING if job.running else RunState.QUEUED, history.error or job.waits_for
    if history.error:
        return RunState.FAILED, history.error
    if history.starts or run.run_file.exists():
        return RunState.STOPPED, "it was killed" if history.starts and not history.end else ""
    return RunState.MISSING, ""


def _grows(run: RunDirectory) -> bool:
    newest = max((path.stat().st_mtime for path in (run.log_file, run.events_file) if path.exists()), default=0.0)
    return time.time() - newest < QUIET_SECONDS


def ladder_status(directory: LadderDirectory, rungs: Sequence[Rung]) -> list[RunStatus]:
    """From files alone."""
    return [run_status(rung, directory.run(rung.name)) for rung in rungs]


@dataclass(frozen=True, kw_only=True)
class LadderStatus:
    """`at_work`: a launcher is here, or the queue has jobs; `note`: on the prediction, or on a queue without answer.

    `incomplete`: something besides the runs is missing or wrong, as the note says.
    """

    runs: Sequence[RunStatus]
    at_work: bool
    note: str
    incomplete: bool = False

    @property
    def exit_code(self) -> int:
        """0: all done. 1: under way. 3: a run failed, or nothing is at work and something is missing."""
        states = {run.state for run in self.runs}
        if all(run.done for run in self.runs) and not self.incomplete:
            return EXIT_DONE
        return EXIT_UNDER_WAY if self.under_way and RunState.FAILED not in states else EXIT_STOPPED

    @property
    def under_way(self) -> bool:
        return self.at_work or any(run.state in UNDER_WAY for run in self.runs)
