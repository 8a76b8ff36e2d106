"""Weights & Biases: a project by its API (`wandb:entity/project`), or the folders that offline runs leave.

Measurements are found by the mapping, or by the names that AI2's evaluator logs (`eval/downstream/…`). N, D and size
come from the run's configuration (`n`, `d`, `size`), or from where the mapping's `columns` say: a logged value, or
`config.KEY`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ladder.errors import UserError, shortened
from ladder.files.reading import parse_json
from predict.measured.about import Reading
from predict.measured.ai2 import parse_column
from predict.measured.mapping import Mapping, Measure, tidy
from predict.measured.reader import Reader

PREFIX = "wandb:"
_HEADER, _BLOCK, _RECORD = 7, 32768, 7  # bytes: file header, block, record header of a .wandb file
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """`history` has one dictionary per logged step, with `_step`; `config` is flat, nested keys joined by dots."""

    name: str
    config: dict[str, Any]
    history: list[dict[str, Any]]


def offline_files(directory: Path) -> list[Path]:
    return sorted(directory.rglob("run-*.wandb"))


def read_project(address: str, mapping: Mapping, api: Any = None) -> Reading:
    """All runs of `wandb:entity/project`. Raises UserError where W&B cannot be asked or has no such project."""
    project = address.removeprefix(PREFIX)
    if project.count("/") != 1:
        raise UserError(f"{address}: expected wandb:ENTITY/PROJECT")
    import wandb

    try:
        runs = [
            LoggedRun(name=run.name, config=flat(dict(run.config)), history=list(run.scan_history()))
            for run in (api or wandb.Api()).runs(project)
        ]
    except (wandb.Error, ValueError, OSError) as error:
        raise UserError(
            f"{address}: {shortened(str(error), 120)}; check the name, the network and wandb login"
        ) from None
    return reading_of(runs, mapping, address)


def read_offline(directory: Path, mapping: Mapping) -> Reading:
    """The offline runs anywhere below `directory`; of one that was resumed, all parts together."""
    parts: dict[str, LoggedRun] = {}
    for path in offline_files(directory):
        run = read_file(path)
        before = parts.get(run.name)
        parts[run.name] = replace(run, history=before.history + run.history) if before else run
    return reading_of(list(parts.values()), mapping, str(directory))


def reading_of(runs: list[LoggedRun], mapping: Mapping, source: str) -> Reading:
    """Raises UserError where no run logged a measurement."""
    keys = {key for run in runs for row in run.history for key in row}
    measures = mapping.measurements or recognised(keys)
    if not measures:
        raise UserError(f"{source}: no run logged a measurement that is known; say which keys are some with --mapping")
    rows = [row for run in runs for row in _rows(run, mapping, set(measures))]
    if not rows:
        raise UserError(f"{source}: none of {', '.join(sorted(measures)[:5])} was logged")
    columns = {"run", "size", "n", "d", "step", "tokens", "ladder"} & set().union(*rows)
    named = replace(mapping, columns={name: name for name in columns}, measurements=measures)
    return tidy(pd.DataFrame(rows), named, source)


def recognised(keys: Iterable[str]) -> dict[str, Measure]:
    """Which of the logged keys AI2's evaluator writes, and what they hold."""
    columns = {key: parse_column(key) for key in sorted(keys)}
    return {
        key: Measure(task=column.task, split=column.split, metric=column.metric)
        for key, column in columns.items()
        if column and column.sign > 0  # minus a loss: not as it is
    }


def _rows(run: LoggedRun, mapping: Mapping, measures: set[str]) -> Iterator[dict[str, Any]]:
    """A row per step at which something was measured."""
    where = {"n": "config.n", "d": "config.d", "size": "config.size", "step": "_step"} | mapping.columns
    for logged in run.history:
        if not any(logged.get(key) is not None for key in measures):
            continue
        row: dict[str, Any] = {"run": run.name} | {key: logged.get(key) for key in measures}
        for ours, theirs in where.items():
            inside = theirs.startswith("config.")
            value = run.config.get(theirs.removeprefix("config.")) if inside else logged.get(theirs)
            if value is not None:
                row[ours] = value
        yield row


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for key, value in config.items():
        joined |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return joined


def read_file(path: Path) -> LoggedRun:
    """One offline run: a LevelDB log of protocol buffers (the format that `wandb sync` reads).

    A run that was killed ends in a torn record, which is left out. Raises UserError where it is no such file.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto import wandb_internal_pb2

    name, where = path.stem, str(path)
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    for content in records(path):
        record = wandb_internal_pb2.Record()
        try:
            record.ParseFromString(content)
        except DecodeError:
            raise UserError(f"{path} is damaged, or was written by another W&B release") from None
        kind = record.WhichOneof("record_type")
        if kind == "run":
            name = record.run.display_name or record.run.run_id or name
            config |= {item.key: parse_json(item.value_json, where) for item in record.run.config.update}
        elif kind == "config":
            config |= {item.key: parse_json(item.value_json, where) for item in record.config.update}
        elif kind == "history":
            items = record.history.item
            row = {item.key or ".".join(item.nested_key): _logged(item.value_json) for item in items}
            history.append({"_step": record.history.step.num} | row)
    return LoggedRun(name=name, config=flat(config), history=history)


def records(path: Path) -> Iterator[bytes]:
    """The records of a LevelDB log: pieces of at most a block, each with checksum, length and kind before it."""
    content = path.read_bytes()
    if content[:4] != b":W&B":
        raise UserError(f"{path} is not a file of W&B")
    at, whole = _HEADER, b""
    while at + _RECORD <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _RECORD:
            at += left  # a block's end too short for a record is padding
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + _RECORD])
        piece = content[at + _RECORD : at + _RECORD + length]
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or len(piece) < length:
            return
        whole = piece if kind in (_FULL, _FIRST) else whole + piece
        if kind in (_FULL, _LAST):
            yield whole
        at += _RECORD + length


def _logged(text: str) -> Any:
    """A logged value; one that JSON has no word for, such as NaN, was not measured."""
    try:
        return parse_json(text, "")
    except UserError:
        return None


PROJECT = Reader(
    kind="a W&B project",
    matches=lambda path: str(path).startswith(PREFIX),
    read=lambda path, mapping: read_project(str(path), mapping),
    mapped=True,
)
OFFLINE = Reader(
    kind="offline runs of W&B",
    matches=lambda path: path.is_dir() and bool(offline_files(path)),
    read=read_offline,
    mapped=True,
)
