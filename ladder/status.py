"""Where each run stands, from its files alone: works while it runs, from another machine, and half-written."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ladder.rundir import RunDirectory
from ladder.rung import Rung

QUIET_SECONDS = 300
"""A run whose log has not grown for so long is no longer taken to be running."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    rung: Rung
    state: str  # missing, running, stopped, trained (some checkpoints not evaluated), done
    step: int
    loss: float | None
    tokens_per_second: float | None
    eta_seconds: float | None
    checkpoints: int
    evaluated: int

    @property
    def fraction(self) -> float:
        return self.step / self.rung.hparams.total_steps


def run_status(rung: Rung, run: RunDirectory) -> RunStatus:
    row = last_row(run.log_file)
    steps = run.checkpoint_steps()
    evaluated = len(set(run.measured_steps()) & set(rung.hparams.checkpoint_steps))
    if rung.hparams.total_steps in steps:
        state = "done" if evaluated == len(rung.hparams.checkpoint_steps) else "trained"
    elif not run.run_file.exists():
        state = "missing"
    else:
        newest = max((path.stat().st_mtime for path in (run.log_file, run.run_file) if path.exists()), default=0.0)
        state = "running" if time.time() - newest < QUIET_SECONDS else "stopped"
    return RunStatus(
        rung=rung,
        state=state,
        step=max([int(row.get("step", 0)), *steps[-1:]]),
        loss=row.get("loss"),
        tokens_per_second=row.get("tokens_per_second"),
        eta_seconds=row.get("eta_seconds") if state == "running" else None,
        checkpoints=len(steps),
        evaluated=evaluated,
    )


def last_row(path: Path) -> dict[str, Any]:
    """The last whole row of a log, read from its end; empty where there is none yet."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:  # a line being written, or cut by the seek
            continue
        if isinstance(row, dict):
            return row
    return {}


def ladder_status(directory: Path, rungs: Sequence[Rung]) -> list[RunStatus]:
    return [run_status(rung, RunDirectory(directory / rung.name)) for rung in rungs]


def status_table(directory: Path, statuses: Sequence[RunStatus]) -> Table:
    done = sum(status.state == "done" for status in statuses)
    table = Table(box=SIMPLE_HEAD, title=f"{directory}: {done} of {len(statuses)} runs done")
    for column in ("run", "state", "step", "%", "loss", "tokens/s", "ETA", "checkpoints", "evaluated"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right")
    for status in statuses:
        hparams = status.rung.hparams
        expected = len(hparams.checkpoint_steps)
        table.add_row(
            status.rung.name,
            status.state,
            f"{status.step:,}/{hparams.total_steps:,}",
            f"{status.fraction:.0%}",
            "" if status.loss is None else f"{status.loss:.3f}",
            "" if status.tokens_per_second is None else f"{status.tokens_per_second:,.0f}",
            "" if status.eta_seconds is None else duration(status.eta_seconds),
            f"{status.checkpoints}/{expected}",
            f"{status.evaluated}/{expected}",
        )
    return table


def duration(seconds: float) -> str:
    """75 -> "1m15s"; two units at most."""
    whole = max(0, round(seconds))
    for unit, size, lower, lower_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // lower_size}{lower}"
    return f"{whole}s"
