"""The measurement table: one row per (run, step, task, split, metric), the only thing that `predict` reads.

Columns: ladder (name of the ladder, or the corpus, that a run belongs to; empty where there is one); run; size; n and d
(float: parameters and final tokens of the run); step; tokens (float, at that step); task; split; metric; value; items
(documents scored, 0 where unknown); chance (accuracy of guessing, NaN where unknown or without meaning). Metrics:
rc_bpb, rc_acc, rc_acc_per_byte, rc_acc_raw, rc_task_ce, rc_prob_correct, mc_acc, lm_loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ladder.errors import UserError, unknown
from ladder.metrics_file import MetricsFile
from ladder.rundir import RunDirectory, find_runs
from ladder.writing import atomic_file

ROW = ["run", "size", "n", "d", "step", "tokens", "task", "split", "metric", "value", "items", "chance"]
COLUMNS = ["ladder", *ROW]
KEY = ["ladder", "run", "task", "split", "metric", "step"]
NAMES = ["ladder", "run", "size", "task", "split", "metric"]
ACCURACIES = ("rc_acc", "rc_acc_per_byte", "rc_acc_raw", "rc_prob_correct", "mc_acc")
LOSSES = ("rc_bpb", "rc_task_ce", "lm_loss")


def table(rows: Iterable[dict[str, Any]], source: str) -> pd.DataFrame:
    """A checked table from row dictionaries; `source` names the file or directory in errors."""
    frame = pd.DataFrame(list(rows), columns=ROW)
    return check(frame, source)


def check(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """The table with its column types (names as categories), rows sorted by key, identical duplicates dropped.

    An index named "row" holds the line numbers of the source, which errors then quote.

    Raises:
        UserError: a missing column, an unknown metric, no N or D, a value that is not finite, an accuracy outside
            [0, 1], a loss not above 0, chance outside [0, 1), or two different values under one key; each names the
            source, run, task and metric.
    """
    missing = [column for column in ROW if column not in frame.columns]
    if missing:
        raise UserError(f"{source}: missing column {', '.join(missing)}; expected {', '.join(ROW)}")
    if "ladder" not in frame.columns:
        frame = frame.assign(ladder="")
    frame = _typed(frame[COLUMNS], source)
    known = frame.metric.cat.categories
    strange = known.difference([*ACCURACIES, *LOSSES])
    if len(strange):
        raise unknown(f"metric in {source}", str(strange[0]), [*ACCURACIES, *LOSSES])
    _reject(frame, ~((frame.n > 0) & (frame.d > 0)), source, "has no N or no D (both must be above 0)")
    _reject(frame, ~np.isfinite(frame.value), source, "is not a finite number")
    accuracy = frame.metric.isin(ACCURACIES)
    _reject(frame, accuracy & ~frame.value.between(0, 1), source, "is an accuracy outside [0, 1]")
    _reject(frame, ~accuracy & ~(frame.value > 0), source, "is a loss that is not above 0")
    guessing = frame.chance.isna() | ((frame.chance >= 0) & (frame.chance < 1))
    _reject(frame, ~guessing, source, "has chance outside [0, 1)")
    return _unique(frame, source)


def _typed(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    numbers: dict[str, Any] = {name: float for name in ("n", "d", "tokens", "value", "chance")}
    try:
        return frame.astype(numbers | {"step": "int64", "items": "int64"} | {name: "category" for name in NAMES})
    except (ValueError, TypeError) as error:
        raise UserError(f"{source}: {error}; n, d, step, tokens, value, items and chance must be numbers") from None


def _unique(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Sorted by key; of rows with equal key and value one is kept."""
    codes = [frame[name].cat.codes.to_numpy() if name in NAMES else frame[name].to_numpy() for name in KEY]
    order = np.lexsort([frame.value.to_numpy(), *codes[::-1]])
    same = np.all([column[order][1:] == column[order][:-1] for column in codes], axis=0)
    if not same.any():
        return frame.iloc[order].reset_index(drop=True)
    values = frame.value.to_numpy()[order]
    equal = np.append(False, same & (values[1:] == values[:-1]))
    clash = np.zeros(len(frame), dtype=bool)
    clash[order] = np.append(False, same) & ~equal
    _reject(frame, pd.Series(clash, index=frame.index), source, "is there twice with different values")
    return frame.iloc[order[~equal]].reset_index(drop=True)


def _reject(frame: pd.DataFrame, bad: pd.Series, source: str, what: str) -> None:
    if bad.any():
        row = frame[bad].iloc[0]
        where = f"row {row.name}, " if frame.index.name == "row" else ""
        raise UserError(
            f"{source}: {where}run {row.run}, step {row.step}, {row.task} {row.metric} = {row.value:g} {what} "
            f"({int(bad.sum())} such rows)"
        )


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Stores a table, to be read by `predict` as any other measurement file."""
    with atomic_file(path) as temporary:
        frame.to_parquet(temporary, compression="zstd", index=False)


def read_runs(directory: Path) -> pd.DataFrame:
    """Every metrics file of the run or of the ladder in `directory`."""
    runs = find_runs(directory)
    _reject_mixed_schedules(directory, runs)
    frame = table((row for run in runs for row in _run_rows(run)), str(directory))
    if frame.empty:
        raise UserError(f"no measurements in {directory}; run: python -m evaluate {directory}")
    return frame


def _reject_mixed_schedules(directory: Path, runs: Iterable[RunDirectory]) -> None:
    """A law fitted on runs of two schedules would take their difference for an effect of N or D."""
    found: dict[str, str] = {}
    for run in runs:
        found.setdefault(run.run_info().get("hparams", {}).get("schedule", "cosine"), run.name)
    if len(found) > 1:
        listed = ", ".join(f"{schedule} (as {name})" for schedule, name in sorted(found.items()))
        raise UserError(f"{directory} mixes learning-rate schedules: {listed}; keep each in a runs_dir of its own")


def _run_rows(run: RunDirectory) -> Iterable[dict[str, Any]]:
    for step in run.measured_steps():
        yield from metrics_rows(MetricsFile.load(run.metrics_file(step)))


def metrics_rows(metrics: MetricsFile) -> Iterable[dict[str, Any]]:
    """Rows of one metrics file."""
    common = {key: getattr(metrics, key) for key in ("run", "size", "n", "d", "step", "tokens")}
    for result in metrics.results:
        form = result.format
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
                "task": result.task,
                "split": result.split,
                "metric": metric,
                "value": getattr(result, key),
                "items": result.n,
                "chance": result.chance,
            }
    for loss in metrics.lm_loss:
        yield common | {
            "task": loss.name,
            "split": "val",
            "metric": "lm_loss",
            "value": loss.nats_per_token,
            "items": loss.tokens,
            "chance": math.nan,
        }
