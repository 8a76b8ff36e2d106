"""What the command shows: progress, a table per checkpoint, JSON."""

from __future__ import annotations

import sys
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ladder.errors import UserError

WANDB_MODES = ("off", "offline", "online")
COLUMNS = ("bpb", "acc_per_char", "acc_per_byte", "acc_raw", "task_ce", "prob_correct")


class Progressing:
    """A bar per task on a terminal's standard error; elsewhere a line when a task begins."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        if sys.stderr.isatty() and not quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f}%"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)

    def __enter__(self) -> Progressing:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, name: str) -> None:
        if self._bar:
            for identity in self._tasks.values():
                self._bar.remove_task(identity)
        self._tasks = {}
        self.line(name)

    def advance(self, task: str, done: int, total: int) -> None:
        if self._bar is None:
            if done == 0:
                self.line(f"  {task}: {total:,} tokens")
            return
        if task not in self._tasks:
            self._tasks[task] = self._bar.add_task(task, total=total)
        self._bar.update(self._tasks[task], completed=done)

    def line(self, text: str) -> None:
        if self._bar:
            self._bar.console.print(text, highlight=False)
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)


def table(metrics: dict[str, Any]) -> str:
    """The metrics of one checkpoint as text; the primary accuracy with its standard error."""
    rows = [["task", "format", "n", "acc", "±", *COLUMNS]]
    for row in metrics["results"]:
        error = row["stderr"][row["primary"]]
        numbers = [f"{row['acc']:.4f}", f"{error:.4f}", *(f"{row[column]:.4f}" for column in COLUMNS)]
        rows.append([row["task"], row["format"], f"{row['n']:,}", *numbers])
    lines = _align(rows) if metrics["results"] else []
    for loss in metrics["lm_loss"]:
        lines.append(
            f"{loss['name']}: {loss['nats_per_token']:.4f} nats per token, "
            f"{loss['bits_per_byte']:.4f} bits per byte over {loss['tokens']:,} tokens"
        )
    return "\n".join(lines)


def _align(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def log_to_wandb(mode: str, project: str, measured: list[dict[str, Any]]) -> None:
    """One W&B run with a table of all results, a row per (checkpoint, task, format).

    Raises:
        UserError: W&B cannot be reached.
    """
    import wandb

    columns = ["run", "step", "task", "format", "n", "acc", *COLUMNS]
    rows = [
        [metrics["run"], metrics["step"], *(row[column] for column in columns[2:])]
        for metrics in measured
        for row in metrics["results"]
    ]
    chosen: Literal["online", "offline"] = "online" if mode == "online" else "offline"
    try:
        with wandb.init(project=project, job_type="evaluate", mode=chosen) as run:
            run.log({"results": wandb.Table(columns=columns, data=rows)})
    except wandb.errors.Error as error:
        raise UserError(f"W&B: {error}; results are on disk, wandb=offline keeps the table here") from None
