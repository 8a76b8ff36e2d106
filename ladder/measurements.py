"""The measurement table: one row per (run, step, task, split, metric), the only thing that `predict` reads.

Columns: run; size; n and d (float: parameters and final tokens of the run); step; tokens (float, at that step);
task; split; metric; value; items (documents scored, 0 where unknown); chance (accuracy of guessing, NaN where it has
no meaning). Metrics: rc_bpb, rc_acc, rc_acc_per_byte, rc_acc_raw, rc_task_ce, rc_prob_correct, mc_acc, lm_loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ladder.errors import UserError
from ladder.files import read_json
from ladder.rundir import RunDirectory, find_runs

SCHEMA_VERSION = 1
COLUMNS = ["run", "size", "n", "d", "step", "tokens", "task", "split", "metric", "value", "items", "chance"]
KEY = ["run", "step", "task", "split", "metric"]
ACCURACIES = ("rc_acc", "rc_acc_per_byte", "rc_acc_raw", "rc_prob_correct", "mc_acc")


def table(rows: Iterable[dict[str, Any]], source: str) -> pd.DataFrame:
    """A checked table from row dictionaries; `source` names the file or directory in errors."""
    frame = pd.DataFrame(list(rows), columns=COLUMNS)
    return check(frame, source)


def check(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """The table with its column types, rows sorted by key, identical duplicates dropped.

    Raises:
        UserError: a missing column, no N or D, a value that is not finite, an accuracy outside [0, 1], or two
            different values under one key; each names the source, run, task and metric.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise UserError(f"{source}: missing column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    frame = frame[COLUMNS].astype(
        {
            "n": float,
            "d": float,
            "step": "int64",
            "tokens": float,
            "value": float,
            "items": "int64",
            "chance": float,
        }
    )
    _reject(frame, ~(frame.n > 0) | ~(frame.d > 0), source, "has no N or no D (both must be above 0)")
    _reject(frame, ~frame.value.map(math.isfinite), source, "is not a finite number")
    accuracy = frame.metric.isin(ACCURACIES)
    _reject(frame, accuracy & ~frame.value.between(0, 1), source, "is an accuracy outside [0, 1]")
    frame = frame.drop_duplicates([*KEY, "value"])
    _reject(frame, frame.duplicated(KEY), source, "is there twice with different values")
    return frame.sort_values(KEY, kind="stable").reset_index(drop=True)


def _reject(frame: pd.DataFrame, bad: pd.Series, source: str, what: str) -> None:
    if bad.any():
        row = frame[bad].iloc[0]
        raise UserError(
            f"{source}: run {row.run}, step {row.step}, {row.task} {row.metric} = {row.value:g} {what} "
            f"({int(bad.sum())} such rows)"
        )


def read_runs(directory: Path) -> pd.DataFrame:
    """Every metrics file of the run or of the ladder in `directory`."""
    runs = find_runs(directory)
    frame = table((row for run in runs for row in _run_rows(run)), str(directory))
    if frame.empty:
        raise UserError(f"no measurements in {directory}; run: python -m evaluate {directory}")
    return frame


def _run_rows(run: RunDirectory) -> Iterable[dict[str, Any]]:
    for step in run.measured_steps():
        path = run.metrics_file(step)
        metrics = read_json(path)
        if metrics.get("schema") != SCHEMA_VERSION:
            raise UserError(f"{path} has schema {metrics.get('schema')}, expected {SCHEMA_VERSION}; evaluate it again")
        try:
            yield from metrics_rows(metrics)
        except KeyError as error:
            raise UserError(f"{path} has no {error}; evaluate that checkpoint again with --force") from None


def metrics_rows(metrics: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Rows of one metrics file."""
    common = {key: metrics[key] for key in ("run", "size", "n", "d", "step", "tokens")}
    for result in metrics["results"]:
        form = result["format"]
        names = {"acc": f"{form}_acc"}
        if form == "rc":
            names |= {
                "bpb": "rc_bpb",
                "acc_per_byte": "rc_acc_per_byte",
                "acc_raw": "rc_acc_raw",
                "task_ce": "rc_task_ce",
                "prob_correct": "rc_prob_correct",
            }
        for key, metric in names.items():
            yield common | {
                "task": result["task"],
                "split": result["split"],
                "metric": metric,
                "value": result[key],
                "items": result["n"],
                "chance": result["chance"],
            }
    for loss in metrics["lm_loss"]:
        yield common | {
            "task": loss["name"],
            "split": "val",
            "metric": "lm_loss",
            "value": loss["nats_per_token"],
            "items": loss["tokens"],
            "chance": math.nan,
        }
