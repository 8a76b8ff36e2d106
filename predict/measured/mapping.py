"""How the columns of someone else's table become measurements: a small YAML file given with `--mapping`.

    columns:              # our column: theirs; those of the same name need no line
      run: model_name
      n: num_params
      tokens: tokens_seen
      ladder: corpus      # several data mixes in one file: each is a ladder of its own
    measurements:         # for tables with a column per measurement: their column: what it holds
      arc_easy_acc: {task: arc_easy, metric: rc_acc, split: test, chance: 0.25, items: 2376}
      c4_loss: {task: c4_en, metric: lm_loss}
    tasks:                # what the measurements do not say of a task: the accuracy of guessing, how many questions
      sciq: {chance: 0.25, items: 1000}

Required in the end: run, n, and d or tokens; and task, metric, value unless `measurements` says where they are. The
rest has defaults: d is the run's largest tokens, tokens is d (final checkpoints only), step counts a run's rows by
tokens, size is N in words, split is val, items and chance are those of the task where it is a known one. A
measurement whose cell is empty was not made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ladder.bind import Share, Whole, bind
from ladder.errors import UserError, unknown
from ladder.reading import read_yaml
from predict.measured.table import ACCURACIES, COLUMNS, NUMBERS, Metric, check, numbers
from predict.measured.tasks import CHANCE, ITEMS


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What one column of a wide table holds."""

    task: str
    metric: Metric
    split: str = "val"
    items: Whole = 0
    chance: Share | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    chance: Share | None = None
    items: Whole = 0


@dataclass(frozen=True, kw_only=True)
class Mapping:
    columns: dict[str, str] = field(default_factory=dict)
    measurements: dict[str, Measure] = field(default_factory=dict)
    tasks: dict[str, TaskFacts] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _File:
    """As people write it: a heading with nothing under it is None."""

    columns: dict[str, str] | None = None
    measurements: dict[str, Measure] | None = None
    tasks: dict[str, TaskFacts] | None = None


def read_mapping(path: Path | None) -> Mapping:
    """Raises UserError where the file is absent or holds anything but the tables above."""
    if path is None:
        return Mapping()
    content = bind(_File, read_yaml(path) or {}, str(path))
    for name in content.columns or {}:
        if name not in COLUMNS:
            raise unknown(f"column in {path}", name, COLUMNS)
    return Mapping(columns=content.columns or {}, measurements=content.measurements or {}, tasks=content.tasks or {})


def tidy(frame: pd.DataFrame, mapping: Mapping, source: str) -> pd.DataFrame:
    """The measurement table of someone's rows; an index named "row" is quoted in errors.

    Raises:
        UserError: a column that is missing, and all that `predict.measured.table.check` refuses.
    """
    frame = _renamed(frame, mapping, source)
    if mapping.measurements:
        frame = _long(frame, mapping, source)
    for name in ("run", "n", "task", "metric", "value"):
        if name not in frame.columns:
            raise UserError(
                f"{source}: missing column {name}; name it in --mapping (see pydoc predict.measured.mapping)"
            )
    frame = frame[frame["value"].notna()]  # an empty cell was not measured
    if frame.empty:
        raise UserError(f"{source} holds no measurements")
    return check(_completed(frame, mapping, source), source)


def _renamed(frame: pd.DataFrame, mapping: Mapping, source: str) -> pd.DataFrame:
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    for ours, theirs in mapping.columns.items():
        if theirs not in frame.columns:
            raise unknown(f"column of {source} (for {ours})", theirs, frame.columns)
    if len(set(mapping.columns.values())) < len(mapping.columns):
        raise UserError(f"--mapping gives one column of {source} two meanings")
    frame = frame.drop(columns=[ours for ours, theirs in mapping.columns.items() if ours != theirs], errors="ignore")
    frame = frame.rename(columns={theirs: ours for ours, theirs in mapping.columns.items()})
    if twice := [name for name in COLUMNS if list(frame.columns).count(name) > 1]:
        raise UserError(f"{source} has the column {twice[0]} twice")
    return frame


def _long(frame: pd.DataFrame, mapping: Mapping, source: str) -> pd.DataFrame:
    """A row per filled cell of the columns that hold measurements; an empty cell was not measured."""
    keep = [name for name in COLUMNS if name in frame.columns]
    parts = []
    for column, measure in mapping.measurements.items():
        if column not in frame.columns:
            raise unknown(f"column of {source}", column, frame.columns)
        filled = frame[frame[column].notna()]
        part = filled[keep].assign(task=measure.task, split=measure.split, metric=measure.metric)
        part = part.assign(items=measure.items, value=numbers(filled[column], column, source))
        parts.append(part if measure.chance is None else part.assign(chance=measure.chance))
    return pd.concat(parts)


def _completed(frame: pd.DataFrame, mapping: Mapping, source: str) -> pd.DataFrame:
    """Fills the columns that may be left out."""
    if "d" not in frame.columns and "tokens" not in frame.columns:
        raise UserError(f"{source}: missing column d (training tokens of the run) or tokens (at the row)")
    frame = frame.copy()
    for name, value in {"ladder": "", "split": "val"}.items():
        frame[name] = frame[name].astype(object).fillna(value) if name in frame.columns else value
    for name in NUMBERS:
        if name in frame.columns:
            frame[name] = numbers(frame[name], name, source)
    group = [frame[name].map(str) for name in ("ladder", "run")]
    if "d" not in frame.columns:
        frame["d"] = frame["tokens"].groupby(group).transform("max")
    if "tokens" not in frame.columns:
        frame["tokens"] = _by_step(frame, group) if "step" in frame.columns else frame["d"]
    if "step" not in frame.columns:
        frame["step"] = frame["tokens"].groupby(group).rank(method="dense").fillna(0)
    if "size" not in frame.columns:
        frame["size"] = frame["n"].map(size_name)
    return _facts(frame, mapping)


def _facts(frame: pd.DataFrame, mapping: Mapping) -> pd.DataFrame:
    """Chance and number of documents, where the table does not say: of the mapping's tasks, then of known ones."""
    absent = pd.Series(np.nan, index=frame.index)
    chance = frame["chance"] if "chance" in frame.columns else absent
    items = frame["items"] if "items" in frame.columns else absent
    given = {name: facts.chance for name, facts in mapping.tasks.items() if facts.chance is not None}
    counted = {name: facts.items for name, facts in mapping.tasks.items() if facts.items}
    task = frame["task"].map(str)
    known_chance = task.map(CHANCE | given).astype(float).where(frame["metric"].isin(ACCURACIES))
    known_items = task.map(ITEMS | counted).astype(float).where(frame["metric"] != "lm_loss")
    return frame.assign(
        chance=chance.fillna(known_chance), items=items.where(~(items.isna() | (items == 0)), known_items).fillna(0)
    )


def _by_step(frame: pd.DataFrame, group: list[pd.Series]) -> pd.Series:
    """Tokens in proportion to steps, the last step having seen D."""
    return frame["d"] * frame["step"] / frame["step"].groupby(group).transform("max")


def size_name(n: float) -> str:
    """1279395840 -> "1.28B"."""
    if not n > 0:
        return "?"
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if n >= unit:
            return f"{n / unit:.3g}{letter}"
    return f"{n:.3g}"
