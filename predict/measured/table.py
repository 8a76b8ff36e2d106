"""The measurement table: one row per (run, step, task, split, metric), the only thing that `predict` reads.

Columns: ladder (name of the ladder, or the corpus, that a run belongs to; empty where there is one); run; size; n and d
(float: parameters and final tokens of the run); step; tokens (float, at that step); task; split; metric; value; items
(documents scored, 0 where unknown); chance (accuracy of guessing, NaN where unknown or without meaning). Metrics:
rc_bpb, rc_acc, rc_acc_per_byte, rc_acc_raw, rc_task_ce, rc_prob_correct, mc_acc, lm_loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from ladder.errors import UserError, shortened, unknown
from ladder.words import count_of, named
from predict.measured.counts import counted
from predict.measured.same import SAME

ROW = ["run", "size", "n", "d", "step", "tokens", "task", "split", "metric", "value", "items", "chance"]
COLUMNS = ["ladder", *ROW]
KEY = ["ladder", "run", "task", "split", "metric", "step"]
NAMES = ["ladder", "run", "size", "task", "split", "metric"]
NUMBERS = ["n", "d", "step", "tokens", "value", "items", "chance"]
COUNTS = ("n", "d", "tokens")  # numbers that may be written as 7B
Metric = Literal[
    "rc_bpb", "rc_acc", "rc_acc_per_byte", "rc_acc_raw", "rc_task_ce", "rc_prob_correct", "mc_acc", "lm_loss"
]
ACCURACIES = ("rc_acc", "rc_acc_per_byte", "rc_acc_raw", "rc_prob_correct", "mc_acc")
LOSSES = ("rc_bpb", "rc_task_ce", "lm_loss")
LONGEST_NAME = 400
# Largest values that mean anything; beyond them the fits would overflow.
LARGEST = {"n": 1e18, "d": 1e21, "tokens": 1e21, "step": 1e15, "items": 1e12}
LARGEST_LOSS, SMALLEST_LOSS = 1e4, 1e-6


def table_of(rows: Iterable[dict[str, Any]], source: str) -> pd.DataFrame:
    """A checked table from row dictionaries; `source` names the file or directory in errors."""
    return check(pd.DataFrame(list(rows), columns=ROW), source)


def check(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """The table with its column types (names as categories), rows sorted by key, identical duplicates dropped.

    An index named "row" holds the line numbers of the source, which errors then quote.

    Raises:
        UserError: no row, a missing column, an empty name, an unknown metric, a value outside its range (see
            `_check_values`), N, D or size that differ within a run, tokens beyond D or fewer than at an earlier step,
            or two different values under one key; each names the source, run, task and metric.
    """
    missing = [column for column in ROW if column not in frame.columns]
    if missing:
        raise UserError(f"{source}: missing {named('column', missing)}; expected {', '.join(ROW)}")
    if frame.empty:
        raise UserError(f"{source} holds no measurements")
    if "ladder" not in frame.columns:
        frame = frame.assign(ladder="")
    frame = _typed(frame[COLUMNS], source)
    strange = frame.metric.cat.categories.difference([*ACCURACIES, *LOSSES])
    if len(strange):
        error = unknown(f"metric in {source}", str(strange[0]), [*ACCURACIES, *LOSSES])
        raise UserError(f"{error}; say which it is under metrics: of a --mapping file")
    _check_values(frame, source)
    _check_runs(frame, source)
    return _unique(frame, source)


def _typed(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    typed = {}
    for name in COLUMNS:
        column = frame[name]
        typed[name] = numbers(column, name, source) if name in NUMBERS else _names(column, name, source)
    whole = {}
    for name in ("step", "items"):
        values = typed[name]
        _reject_column(values, ~(values.between(0, LARGEST[name]) & (values % 1 == 0)), source, "a whole number")
        whole[name] = values.astype("int64")
    return pd.DataFrame(typed | whole, columns=COLUMNS)


def numbers(column: pd.Series, name: str, source: str) -> pd.Series:
    """As floats (N · D of real targets exceeds int64). Raises UserError for what is no number; empty is NaN."""
    if column.dtype.kind in "fiu":
        return column.astype(float)
    read = _counted if name in COUNTS else _number
    values = pd.Series([read(value) for value in column], index=column.index, dtype=float, name=name)
    wrong = values.isna() & ~np.array([_empty(value) for value in column], dtype=bool)
    _reject_column(column.rename(name), wrong, source, "a number")
    return values


def _number(value: Any) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, str | int | float | np.integer | np.floating | Decimal
    ):
        return np.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return np.nan


def _counted(value: Any) -> float:
    """As `_number`, and 7B."""
    number = counted(value) if isinstance(value, str) else None
    return _number(value) if number is None else number


def _empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float | np.floating) and np.isnan(value))
    )


def _names(column: pd.Series, name: str, source: str) -> pd.Series:
    """As categories. Raises UserError where a name is empty (a ladder may be) or absurdly long."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        check_scalars(column, source)
        column = column.astype(object).where(column.notna(), "").map(str).astype("category")
    bad = [value for value in column.cat.categories if not _is_name(str(value), name)]
    _reject_column(column, column.isin(bad) | column.isna(), source, f"a name of 1 to {LONGEST_NAME} characters")
    return column


def check_scalars(column: pd.Series, source: str) -> None:
    """Raises UserError where a value is a list, a mapping or another thing that cannot be a name."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return
    scalar = [isinstance(value, str | int | float | np.number) or value is None or value is pd.NA for value in column]
    _reject_column(column, ~np.array(scalar, dtype=bool), source, "a name")


def _is_name(value: str, column: str) -> bool:
    return len(value) <= LONGEST_NAME and value.isprintable() and bool(value.strip() or column == "ladder")


def _check_values(frame: pd.DataFrame, source: str) -> None:
    for name in ("n", "d"):
        good = frame[name].between(1, LARGEST[name])
        _reject(frame, ~good, source, f"has {name} = {{{name}:g}}, which must lie between 1 and {LARGEST[name]:g}")
    good = frame.tokens.between(0, LARGEST["tokens"])
    _reject(frame, ~good, source, "has tokens = {tokens:g}, which must be a number of at least 0")
    _reject(frame, ~np.isfinite(frame.value), source, "is not a finite number")
    accuracy = frame.metric.isin(ACCURACIES)
    _reject(frame, accuracy & ~frame.value.between(0, 1), source, "is an accuracy outside [0, 1]")
    _reject(frame, ~accuracy & ~(frame.value > 0), source, "is a loss that is not above 0")
    good = frame.value.between(SMALLEST_LOSS, LARGEST_LOSS)
    _reject(frame, ~accuracy & ~good, source, f"is a loss outside {SMALLEST_LOSS:g} to {LARGEST_LOSS:g}")
    guessing = frame.chance.isna() | ((frame.chance >= 0) & (frame.chance < 1))
    _reject(frame, ~guessing, source, "has chance = {chance:g} outside [0, 1)")


def _check_runs(frame: pd.DataFrame, source: str) -> None:
    """A run has one N, one D and one size, no checkpoint beyond its D, and tokens that rise with its steps; a task has
    one accuracy of guessing."""
    runs = frame.ladder.cat.codes.to_numpy().astype(np.int64) * len(frame.run.cat.categories)
    runs = runs + frame.run.cat.codes.to_numpy()
    _, first, inverse = np.unique(runs, return_index=True, return_inverse=True)
    for name, values in (("n", frame.n), ("d", frame.d), ("size", frame["size"].cat.codes)):
        given = values.to_numpy()
        other = pd.Series(given != given[first][inverse], index=frame.index)
        _reject(frame, other, source, f"has another {name} ({{{name}}}) than the run's first row")
    scored = frame[frame.metric.isin(ACCURACIES)]
    tasks = scored.groupby(["ladder", "task", "split"], observed=True).chance
    other = (scored.chance - tasks.transform("first")).abs() > SAME
    _reject(scored, other, source, "has chance = {chance:g}, another than the task's first row")
    beyond = frame.tokens > frame.d * (1 + SAME)
    _reject(frame, beyond, source, "is measured at tokens = {tokens:g}, beyond the run's d = {d:g}")
    order = np.lexsort([frame.tokens.to_numpy(), frame.step.to_numpy(), runs])
    tokens, run = frame.tokens.to_numpy()[order], runs[order]
    falls = pd.Series(False, index=frame.index)
    falls.iloc[order[1:]] = (run[1:] == run[:-1]) & (tokens[1:] * (1 + SAME) < tokens[:-1])
    _reject(frame, falls, source, "is measured at tokens = {tokens:g}, fewer than at an earlier step")


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
    """`what` may quote columns of the row, as in "{tokens:g}"."""
    if bad.any():
        row = frame[bad].iloc[0]
        where = f"{_where(row.name, frame.index)}run {_short(row.run)}, step {row.step}"
        quoted = what.format(**{str(name): value for name, value in row.items()})
        value = f"{_short(row.task)} {row.metric} = {row.value:g}"
        raise UserError(f"{source}: {where}, {value} {quoted} ({count_of(int(bad.sum()), 'such row')})")


def _reject_column(column: pd.Series, bad: Any, source: str, expected: str) -> None:
    bad = np.asarray(bad, dtype=bool)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        given = column.iloc[at]
        shown = "empty" if _empty(given) else shortened(repr(given) if isinstance(given, str) else str(given), 40)
        where = _where(column.index[at], column.index)
        raise UserError(
            f"{source}: {where}{column.name} = {shown} is not {expected} ({count_of(int(bad.sum()), 'such row')})"
        )


def _where(row: Any, index: pd.Index) -> str:
    return f"row {row}, " if index.name == "row" else ""


def _short(name: str) -> str:
    return shortened(name, 40)
