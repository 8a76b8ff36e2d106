"""How the columns of a table become measurements: a YAML file for `--mapping`.

    columns:            # our column: theirs; the same name needs no line
      run: model_name
      n: num_params
      tokens: tokens_seen
      ladder: corpus    # several data mixes in one file: each is a ladder
    measurements:       # a column per measurement: theirs: what it holds
      arc_easy_acc: {task: arc_easy, metric: rc_acc, split: test, chance: 0.25}
      c4_loss: {task: c4_en, metric: lm_loss}
    metrics:            # long tables, their name of a metric: ours; of several
      acc_norm: rc_acc  # that mean the same the first that a task has, and
      acc: rc_acc       # what is not listed is left out
    units:              # what one of theirs is in ours: parameters and tokens,
      n: 1e9            # and values by our metric
      tokens: 1e9
      rc_acc: 0.01
    tasks:              # what is not measured: the accuracy of guessing, how
      sciq: {chance: 0.25, items: 1000}     # many questions

Required in the end: run, n, and d or tokens; and task, metric, value unless
`measurements` says where they are. The rest has defaults: d is the run's
largest tokens, tokens is d (final checkpoints only), step is the number of
tokens, size is N in words, split is val, items and chance are those of the
task where it is a known one. A measurement whose cell is empty was not made.
Numbers of parameters and tokens may be written as 7B. What a file lacks of the
columns named here is left out with a note, so that one mapping serves several.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ladder.errors import UserError, did_you_mean, shortened, unknown
from ladder.files.bind import Positive, Share, Text, Whole, bind
from ladder.files.reading import read_yaml
from ladder.words import named
from predict.measured.about import About, Reading, Unexplained
from predict.measured.counts import short_number
from predict.measured.table import ACCURACIES, COLUMNS, LOSSES, NAMES, NUMBERS, Metric, check, check_scalars, numbers
from predict.measured.tasks import CHANCE, ITEMS
from predict.notes import Note, warning

REQUIRED = ("run", "n", "task", "metric", "value")
NEAR = 0.8  # likeness of two names from which one is taken for a slip of the other
SMALLEST = {"n": 1e4, "d": 1e5, "tokens": 1e5}  # the largest of a table below that are in millions, or billions
HELP = "see python -m predict collect --help"
Scaled = Literal["n", "d", "tokens", Metric]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What one column of a wide table holds."""

    task: Text
    metric: Metric
    split: Text = "val"
    items: Whole = 0
    chance: Share | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    chance: Share | None = None
    items: Whole = 0


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """`source` is the file that it was read from, for errors."""

    source: str = "--mapping"
    columns: dict[str, str] = field(default_factory=dict)
    measurements: dict[str, Measure] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    units: dict[Scaled, Positive] = field(default_factory=dict)
    tasks: dict[str, TaskFacts] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _File:
    """As people write it: a heading with nothing under it is None."""

    columns: dict[str, str] | None = None
    measurements: dict[str, Measure] | None = None
    metrics: dict[str, Metric] | None = None
    units: dict[Scaled, Positive] | None = None
    tasks: dict[str, TaskFacts] | None = None


def read_mapping(path: Path | None) -> Mapping:
    """Raises UserError where the file is absent or holds anything but the tables above."""
    if path is None:
        return Mapping()
    node = read_yaml(path)
    content = _File() if node is None else bind(_File, node, str(path))
    if not any(vars(content).values()):
        raise UserError(f"{path} explains nothing; expected {', '.join(f'{key}:' for key in vars(content))} ({HELP})")
    for name in content.columns or {}:
        if name not in COLUMNS:
            raise unknown(f"column in {path}", name, COLUMNS)
    _check_meanings(content.columns or {}, content.measurements or {}, path)
    return Mapping(source=str(path), **{name: tables or {} for name, tables in vars(content).items()})


def _check_meanings(columns: dict[str, str], measurements: dict[str, Measure], path: Path) -> None:
    """Raises UserError where a column has two meanings, or two have one."""
    theirs = Counter([*columns.values(), *measurements])
    if twice := [name for name, count in theirs.items() if count > 1]:
        raise UserError(f'{path} gives the column "{shortened(twice[0])}" two meanings')
    held = Counter((one.task, one.split, one.metric) for one in measurements.values())
    if same := [key for key, count in held.items() if count > 1]:
        raise UserError(f"{path}: two of measurements: are {' '.join(map(shortened, same[0]))}")


def tidy(frame: pd.DataFrame, mapping: Mapping, source: str) -> Reading:
    """The measurement table of someone's rows, with notes on what of them is not in it.

    An index named "row" is quoted in errors.

    Raises:
        UserError: a column that is missing, and all that `predict.measured.table.check` refuses.
    """
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    mapping, notes = _present(frame.columns, mapping, source)
    frame = _renamed(frame, mapping, source)
    for name in (name for name in NAMES if name in frame.columns):
        check_scalars(frame[name], source)
    runs = frame["run"] if "run" in frame.columns else None
    if mapping.measurements:
        frame = _long(frame, mapping, source)
    _check_columns(frame, source)
    _check_tasks(frame, mapping)
    frame = frame[frame["value"].notna()]  # an empty cell was not measured
    if mapping.metrics:
        frame, left_out = _our_metrics(frame, mapping)
        notes += left_out
    if frame.empty:
        raise UserError(f"{source} holds no measurements")
    measured = set(frame["run"])
    empty = [] if runs is None else [str(run) for run in runs.dropna().unique() if run not in measured]
    notes += [warning("runs-empty", runs=empty)] if empty else []
    table = check(_completed(frame, mapping, source), source)
    return Reading(table=table, about=About(notes=tuple(notes)))


def _check_columns(frame: pd.DataFrame, source: str) -> None:
    """Raises UserError for the first that is needed and not there."""
    missing = [name for name in REQUIRED if name not in frame.columns]
    if not missing:
        return
    wide = {"task", "metric", "value"} <= set(missing)  # a column per measurement, perhaps
    lacking = [name for name in missing if not wide or name in ("run", "n")]
    what = ["the right one under columns:"] if lacking else []
    what += ["those that hold measurements under measurements:"] if wide else []
    raise Unexplained(
        f"{source}: missing {named('column', missing)}; {shortened(did_you_mean(missing[0], frame.columns), 100)}; "
        f"name {' and '.join(what)} of a --mapping file ({HELP})"
    )


def _check_tasks(frame: pd.DataFrame, mapping: Mapping) -> None:
    """Raises UserError where the mapping has facts of a task that looks like a slip of the pen."""
    measured = set(frame["task"].map(str))
    for name in mapping.tasks:
        if name not in measured and _near(name, measured - set(mapping.tasks)):
            raise unknown(f"task in {mapping.source}", name, sorted(measured))


def _present(names: Collection[str], mapping: Mapping, source: str) -> tuple[Mapping, list[Note]]:
    """The mapping without the columns that the table lacks, and a note on them.

    Raises UserError for one that nothing goes without, and for what looks like a slip of the pen.
    """
    unused = set(names) - set(mapping.columns.values()) - set(mapping.measurements)
    columns = {ours: theirs for ours, theirs in mapping.columns.items() if theirs in names}
    measurements = {theirs: one for theirs, one in mapping.measurements.items() if theirs in names}
    for ours, theirs in mapping.columns.items():
        if ours not in columns and (ours in REQUIRED or _near(theirs, unused)):
            raise unknown(f"column of {source} (for {ours} in {mapping.source})", theirs, names)
    absent = [theirs for theirs in mapping.measurements if theirs not in measurements]
    for theirs in absent:
        if not measurements or _near(theirs, unused):
            raise unknown(f"column of {source} (measured in {mapping.source})", theirs, names)
    absent = [theirs for ours, theirs in mapping.columns.items() if ours not in columns] + absent
    notes = [warning("columns-absent", columns=absent, source=source)] if absent else []
    return replace(mapping, columns=columns, measurements=measurements), notes


def _near(word: str, known: Collection[str]) -> bool:
    return bool(difflib.get_close_matches(word[:200], list(known), n=1, cutoff=NEAR))


def _our_metrics(frame: pd.DataFrame, mapping: Mapping) -> tuple[pd.DataFrame, list[Note]]:
    """The rows under our names of metrics: of several that mean the same, the first that a task has."""
    our_names = {name: name for name in (*ACCURACIES, *LOSSES)} | mapping.metrics
    theirs, task = frame["metric"].map(str), frame["task"].map(str)
    ours = theirs.map(our_names)
    places = {name: place for place, name in enumerate(our_names)}
    place = theirs.map(places)
    first = place.groupby([task, ours]).transform("min")
    unread = sorted(set(theirs[ours.isna()]))
    notes = [warning("metrics-unread", metrics=unread)] if unread else []
    return frame.assign(metric=ours)[ours.notna() & (place == first)], notes


def _renamed(frame: pd.DataFrame, mapping: Mapping, source: str) -> pd.DataFrame:
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
    frame = _scaled(frame, mapping, source)
    group = [frame[name].map(str) for name in ("ladder", "run")]
    if "d" not in frame.columns:
        frame["d"] = frame["tokens"].groupby(group).transform("max")
    if "tokens" not in frame.columns:
        frame["tokens"] = _by_step(frame, group) if "step" in frame.columns else frame["d"]
    if "step" not in frame.columns:
        frame["step"] = frame["tokens"].round().fillna(0)
    if "size" not in frame.columns:
        frame["size"] = frame["n"].map(short_number)
    return _facts(frame, mapping)


def _scaled(frame: pd.DataFrame, mapping: Mapping, source: str) -> pd.DataFrame:
    """In our units. Raises UserError where parameters or tokens can hardly be in units of one."""
    for name, smallest in SMALLEST.items():
        if name in frame.columns and name in mapping.units:
            frame[name] = frame[name] * mapping.units[name]
        elif name in frame.columns and 0 < frame[name].max() < smallest:
            raise Unexplained(
                f"{source}: {name} is at most {frame[name].max():g}; if that is in millions or billions, say so in "
                f"--mapping: units: {{{name}: 1e6}} or 1e9 (1 where it is in neither)"
            )
    factor = frame["metric"].map(mapping.units).astype(float).fillna(1.0)
    return frame.assign(value=frame["value"] * factor)


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
    """Tokens in proportion to steps, the last step having seen D, whatever its number."""
    last = frame["step"].groupby(group).transform("max")
    return frame["d"] * (frame["step"] / last).where(last != 0, 1.0)
