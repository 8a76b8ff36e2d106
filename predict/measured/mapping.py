"""How the columns of someone else's table become measurements: a small YAML file given with `--mapping`.

    columns:              # our column: theirs; those of the same name need no line
      run: model_name
      n: num_params
      tokens: tokens_seen
      ladder: corpus      # several data mixes in one file: each is a ladder of its own
    measurements:         # for tables with a column per measurement: their column: what it holds
      arc_easy_acc: {task: arc_easy, metric: rc_acc, split: test, chance: 0.25, items: 2376}
      c4_loss: {task: c4_en, metric: lm_loss}

Required in the end: run, n, and d or tokens; and task, metric, value unless `measurements` says where they are. The
rest has defaults: d is the run's largest tokens, tokens is d (final checkpoints only), step counts a run's rows by
tokens, size is N in words, split is val, items and chance are those of the task where it is a known one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ladder.errors import UserError, unknown
from ladder.measurements import ACCURACIES, COLUMNS, LOSSES, NAMES, check
from predict.measured.tasks import CHANCE, ITEMS


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What one column of a wide table holds."""

    task: str
    metric: str
    split: str = "val"
    items: int = 0
    chance: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in (*ACCURACIES, *LOSSES):
            raise unknown("metric", str(self.metric), [*ACCURACIES, *LOSSES])


@dataclass(frozen=True, kw_only=True)
class Mapping:
    columns: dict[str, str] = field(default_factory=dict)
    measurements: dict[str, Measure] = field(default_factory=dict)


def read_mapping(path: Path | None) -> Mapping:
    """Raises UserError where the file is absent or holds anything but the two tables above."""
    if path is None:
        return Mapping()
    import yaml
    from omegaconf import OmegaConf

    if not path.exists():
        raise UserError(f"{path} does not exist")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or set(content) - {"columns", "measurements"}:
        raise UserError(f"{path}: expected the keys columns and measurements only")
    columns, measures = content.get("columns") or {}, content.get("measurements") or {}
    for name in columns:
        if name not in COLUMNS:
            raise unknown(f"column in {path}", str(name), COLUMNS)
    try:
        found = {str(column): Measure(**value) for column, value in measures.items()}
    except TypeError as error:
        raise UserError(f"{path}, measurements: {error}; known: task, metric, split, items, chance") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Mapping(columns={str(ours): str(theirs) for ours, theirs in columns.items()}, measurements=found)


def tidy(frame: pd.DataFrame, mapping: Mapping, source: str) -> pd.DataFrame:
    """The measurement table of someone's rows; an index named "row" is quoted in errors.

    Raises:
        UserError: a column that is missing, and all that `ladder.measurements.check` refuses.
    """
    frame = _renamed(frame, mapping, source)
    if mapping.measurements:
        frame = _long(frame, mapping, source)
    for name in ("run", "n", "task", "metric", "value"):
        if name not in frame.columns:
            raise UserError(
                f"{source}: missing column {name}; name it in --mapping (see pydoc predict.measured.mapping)"
            )
    return check(_completed(frame, source), source)


def _renamed(frame: pd.DataFrame, mapping: Mapping, source: str) -> pd.DataFrame:
    for ours, theirs in mapping.columns.items():
        if theirs not in frame.columns:
            raise unknown(f"column of {source} (for {ours})", theirs, map(str, frame.columns))
    frame = frame.drop(columns=[ours for ours, theirs in mapping.columns.items() if ours != theirs], errors="ignore")
    return frame.rename(columns={theirs: ours for ours, theirs in mapping.columns.items()})


def _long(frame: pd.DataFrame, mapping: Mapping, source: str) -> pd.DataFrame:
    """A row per filled cell of the columns that hold measurements; an empty cell was not measured."""
    keep = [name for name in COLUMNS if name in frame.columns]
    parts = []
    for column, measure in mapping.measurements.items():
        if column not in frame.columns:
            raise unknown(f"column of {source}", column, map(str, frame.columns))
        filled = frame[frame[column].notna()]
        part = filled[keep].assign(task=measure.task, split=measure.split, metric=measure.metric)
        part = part.assign(items=measure.items, value=filled[column])
        parts.append(part if measure.chance is None else part.assign(chance=measure.chance))
    return pd.concat(parts)


def _completed(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Fills the columns that may be left out."""
    if "d" not in frame.columns and "tokens" not in frame.columns:
        raise UserError(f"{source}: missing column d (training tokens of the run) or tokens (at the row)")
    frame = frame.copy()
    for name, value in {"ladder": "", "split": "val"}.items():
        frame[name] = frame[name].astype(object).fillna(value) if name in frame.columns else value
    for name in ("n", "d", "tokens", "value", "items", "chance"):
        if name in frame.columns:
            frame[name] = _numbers(frame[name], name, source)
    group = [frame["ladder"], frame["run"]]
    if "d" not in frame.columns:
        frame["d"] = frame["tokens"].groupby(group).transform("max")
    if "tokens" not in frame.columns:
        frame["tokens"] = _by_step(frame, group) if "step" in frame.columns else frame["d"]
    if "step" not in frame.columns:
        frame["step"] = frame["tokens"].groupby(group).rank(method="dense").fillna(0).astype("int64")
    if "size" not in frame.columns:
        frame["size"] = frame["n"].map(size_name)
    for name in NAMES:
        frame[name] = frame[name].astype(str)
    return _facts(frame)


def _facts(frame: pd.DataFrame) -> pd.DataFrame:
    """Chance and number of documents of known tasks, where the table does not say."""
    absent = pd.Series(np.nan, index=frame.index)
    chance = frame["chance"] if "chance" in frame.columns else absent
    items = frame["items"] if "items" in frame.columns else absent
    accuracy = frame["metric"].isin(ACCURACIES)
    known_chance = frame["task"].map(CHANCE).astype(float).where(accuracy)
    known_items = frame["task"].map(ITEMS).astype(float).where(frame["metric"] != "lm_loss")
    items = items.where(items > 0, known_items).fillna(0)
    return frame.assign(chance=chance.fillna(known_chance), items=items.round().astype("int64"))


def _by_step(frame: pd.DataFrame, group: list[pd.Series]) -> pd.Series:
    """Tokens in proportion to steps, the last step having seen D."""
    return frame["d"] * frame["step"] / frame["step"].groupby(group).transform("max")


def _numbers(column: pd.Series, name: str, source: str) -> pd.Series:
    """As floats: N · D of real targets exceeds int64."""
    values = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = values.isna() & column.notna()
    if wrong.any():
        where = f"row {wrong.idxmax()}, " if column.index.name == "row" else ""
        raise UserError(f"{source}: {where}{name} = {column[wrong].iloc[0]!r} is not a number")
    return values


def size_name(n: float) -> str:
    """1279395840 -> "1.28B"."""
    if not n > 0:
        return "?"
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if n >= unit:
            return f"{n / unit:.3g}{letter}"
    return f"{n:.3g}"
