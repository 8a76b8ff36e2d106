"""CSV and Parquet files, in the measurement table's own columns or in others that a mapping explains.

A Parquet file that `predict collect` wrote also holds what was known about the measurements where they were read.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import zlib
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from ladder.errors import UserError, shortened
from ladder.files.bind import bind
from ladder.files.reading import parse_json
from ladder.files.writing import atomic_file
from predict.measured.about import About, Reading
from predict.measured.mapping import Mapping, tidy
from predict.measured.reader import Reader

FIRST_LINE = 2  # of a CSV file below its header
LONGEST_LINE = 1_000_000  # bytes
_ABOUT = b"model_ladder"  # key of the Parquet file's metadata


def read_frame(path: Path) -> pd.DataFrame:
    """A CSV file as pandas reads it, indexed by line numbers. Raises UserError where it is none."""
    _check_file(path)
    packed = path.suffix == ".gz"
    try:
        header, last = _first_and_last(path, packed)
        frame = pd.read_csv(path, low_memory=False, skipinitialspace=True, compression="gzip" if packed else None)
    except (ValueError, OSError, EOFError, zlib.error, csv.Error) as error:  # the parser's errors are ValueErrors
        raise UserError(f"{path} is not a CSV file: {shortened(str(error), 100)}") from None
    _check_header(header, path)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is too many for an index
        raise UserError(f"{path}: its rows have more than the {len(header)} columns of its first line")
    if last and len(last) < len(header):
        raise UserError(f"{path}: the last row has {len(last)} of {len(header)} columns; the file was cut short")
    frame.index = pd.RangeIndex(FIRST_LINE, len(frame) + FIRST_LINE, name="row")
    return frame


def _check_file(path: Path) -> None:
    """Raises UserError for a directory, and for a pipe or a device, which might never end."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is {'a directory' if path.is_dir() else 'no ordinary file'}; expected a file")


def _first_and_last(path: Path, packed: bool) -> tuple[list[str], list[str]]:
    """The fields of the first line, and of the last, which are none in an archive and where something is quoted."""
    with gzip.open(path) if packed else path.open("rb") as file:
        header = next(csv.reader(file.readline(LONGEST_LINE).decode("utf-8-sig").splitlines()), [])
        if packed:
            return header, []
        below = file.tell()
        start = max(below, file.seek(0, os.SEEK_END) - LONGEST_LINE)
        file.seek(start)
        lines = file.read().rstrip().splitlines()
    whole = lines[-1:] if start == below else lines[1:][-1:]
    return header, [] if not whole or b'"' in whole[0] else whole[0].decode("utf-8").split(",")


def _check_header(header: list[str], path: Path) -> None:
    """Raises UserError where another separator is used, or two columns have one name."""
    if len(header) == 1 and (used := next((mark for mark in ";\t|" if mark in header[0]), None)):
        named = {"\t": "tabs"}.get(used, f'"{used}"')
        raise UserError(f"{path}: its columns are separated by {named}; expected commas, and points in numbers")
    if twice := [name for name, count in Counter(header).items() if count > 1 and name.strip()]:
        raise UserError(f'{path} has the column "{shortened(twice[0], 40)}" twice')


def read_csv(path: Path, mapping: Mapping) -> Reading:
    """Raises UserError naming the file, and the row where one is at fault."""
    return tidy(read_frame(path), mapping, str(path))


def read_parquet(path: Path, mapping: Mapping) -> Reading:
    """Raises UserError naming the file."""
    _check_file(path)
    try:
        content = pq.ParquetFile(path).read()
        frame = content.to_pandas(ignore_metadata=True)  # what was an index is a column here
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a Parquet file: {shortened(str(error), 100)}") from None
    kept = (content.schema.metadata or {}).get(_ABOUT)
    about = About() if kept is None else bind(About, parse_json(kept.decode("utf-8", "replace"), str(path)), str(path))
    read = tidy(frame, mapping, str(path))
    return replace(read, about=replace(about, notes=(*about.notes, *read.about.notes)))


def write_parquet(reading: Reading, path: Path) -> None:
    """Stores measurements and what is known about them, to be read by `predict` as any other measurement file."""
    content = pa.Table.from_pandas(reading.table, preserve_index=False)
    kept = (content.schema.metadata or {}) | {_ABOUT: json.dumps(asdict(reading.about)).encode()}
    with atomic_file(path) as temporary:
        pq.write_table(content.replace_schema_metadata(kept), temporary, compression="zstd")


CSV = Reader(kind="a CSV file", matches=lambda path: path.suffix in (".csv", ".gz"), read=read_csv, mapped=True)
PARQUET = Reader(kind="a Parquet file", matches=lambda path: path.suffix == ".parquet", read=read_parquet, mapped=True)
