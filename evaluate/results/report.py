"""What the command shows: progress, a table per checkpoint, JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ladder.errors import UserError
from ladder.records.metrics_file import MetricsFile, Trial
from ladder.words import count_of

LINE_SECONDS = 30.0  # off a terminal, between two lines of one task
WANDB_MODES = ("off", "offline", "online")
COLUMNS = ("bpb", "acc_per_char", "acc_per_byte", "acc_raw", "task_ce", "prob_correct")


class Progressing:
    """What is being done, on standard error: a bar per task on a terminal, elsewhere a line now and then."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line = 0.0
        self._said: set[str] = set()

    def say(self, line: str) -> None:
        self._last_line = time.monotonic()
        if not self._quiet:
            print(line, file=sys.stderr, flush=True)

    def say_once(self, line: str) -> None:
        """Of many checkpoints the same; an empty line is none."""
        if line and line not in self._said:
            self._said.add(line)
            self.say(line)

    def begin(self, name: str) -> None:
        self.say(name)
        if not self._quiet and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f}%"))
            console = Console(stderr=True)
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
            self._bar.start()

    def tried(self, trial: Trial) -> None:
        self.say(f"  {way_text(trial)}")

    def end(self) -> None:
        """Takes the bars away, so that what is printed next stands alone."""
        if self._bar:
            self._bar.stop()
        self._bar, self._tasks = None, {}

    def advance(self, task: str, done: int, total: int) -> None:
        if self._bar:
            if task not in self._tasks:
                self._tasks[task] = self._bar.add_task(task, total=total)
            self._bar.update(self._tasks[task], completed=done)
        elif done == 0:
            self.say(f"  {task}: {total:,} tokens")
        elif time.monotonic() - self._last_line > LINE_SECONDS:
            self.say(f"  {task}: {done / total:.0%}")


def way_text(trial: Trial) -> str:
    """Which way a model is run, and why."""
    difference = "" if trial.difference is None else f" by {trial.difference:.1g} nats"
    match trial.outcome:
        case "same":
            flex = ", with FlexAttention" if trial.attention == "flex" else ""
            without = (
                f"; FlexAttention: {trial.without_flex} {trial.error or ''}".rstrip() if trial.without_flex else ""
            )
            same = f"the same as plain sequences on {trial.tokens:,} tokens, to {trial.difference:.1g} nats"
            return f"as tries{flex}: {same}{without}"
        case "differs":
            why = f"a trie of {trial.tokens:,} tokens gives another result{difference}"
        case "partial_attention":
            why = "some of its layers do not see every token"
        case "refused":
            why = f"it refuses a trie of {trial.tokens:,} tokens ({trial.error})"
        case "no_mask":
            why = "it takes no attention mask or no positions"
    return f"as plain sequences, which is slower: {why}"


def table(metrics: MetricsFile) -> str:
    """The metrics of one checkpoint as text; the primary accuracy with its standard error."""
    lines = [*_ranked_lines(metrics), *_gold_lines(metrics)]
    for group in metrics.groups:
        what = f"the mean of {count_of(len(group.weights), 'task')}"
        lines.append(f"{group.name}: {group.metric} {group.value:.4f} ± {group.stderr:.4f}, {what}")
    for loss in metrics.lm_loss:
        lines.append(
            f"{loss.name}: {loss.nats_per_token:.4f} nats per token, "
            f"{loss.bits_per_byte:.4f} bits per byte over {loss.tokens:,} tokens"
        )
    return "\n".join(lines)


def _ranked_lines(metrics: MetricsFile) -> list[str]:
    rows = [["task", "format", "n", "acc", "±", *COLUMNS]]
    for row in metrics.results:
        numbers = [row.acc, row.stderr[row.primary], *(getattr(row, column) for column in COLUMNS)]
        rows.append([row.task, row.format, f"{row.n:,}", *(f"{number:.4f}" for number in numbers)])
    return _align(rows) if metrics.results else []


def _gold_lines(metrics: MetricsFile) -> list[str]:
    rows = [["task", "format", "n", "bpb", "±", "nats_per_token"]]
    for row in metrics.gold:
        numbers = (row.bpb, row.stderr["bpb"], row.nats_per_token)
        rows.append([row.task, "gold", f"{row.n:,}", *(f"{number:.4f}" for number in numbers)])
    return _align(rows) if metrics.gold else []


def _align(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def log_to_wandb(mode: str, project: str, measured: list[MetricsFile]) -> None:
    """One W&B run with a table each of ranked tasks, gold tasks and groups, a row per (checkpoint, task or group).

    Raises:
        UserError: W&B cannot be reached.
    """
    import wandb

    tables = {name: table for name, table in wandb_tables(measured).items() if table[1] or name == "results"}
    chosen: Literal["online", "offline"] = "online" if mode == "online" else "offline"
    try:
        with wandb.init(project=project, job_type="evaluate", mode=chosen) as run:
            run.log({name: wandb.Table(columns=columns, data=rows) for name, (columns, rows) in tables.items()})
    except wandb.errors.Error as error:
        raise UserError(f"W&B: {error}; results are on disk, wandb=offline keeps the table here") from None


def wandb_tables(measured: list[MetricsFile]) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """Name -> columns and rows."""
    kinds: dict[str, tuple[list[str], Callable[[MetricsFile], Sequence[Any]]]] = {
        "results": (["task", "format", "n", "acc", *COLUMNS], lambda metrics: metrics.results),
        "gold": (["task", "n", "bpb", "bpb_with_space", "nats_per_token"], lambda metrics: metrics.gold),
        "groups": (["name", "metric", "value", "stderr"], lambda metrics: metrics.groups),
    }
    tables = {}
    for name, (columns, of) in kinds.items():
        rows = [
            [metrics.run, metrics.step, *(getattr(row, column) for column in columns)]
            for metrics in measured
            for row in of(metrics)
        ]
        tables[name] = (["run", "step", *columns], rows)
    return tables
