"""CSV and Parquet files, in the measurement table's own columns or in others that a mapping explains.

A Parquet file that `predict collect` wrote also holds what was known about the measurements where they were read.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from ladder.bind import bind
from ladder.errors import UserError, shortened
from ladder.reading import parse_json
from ladder.writing import atomic_file
from predict.measured.mapping import Mapping, tidy
from predict.measured.reader import About, Reader, Reading

FIRST_LINE = 2  # of a CSV file below its header
_ABOUT = b"model_ladder"  # key of the Parquet file's metadata


def read_frame(path: Path) -> pd.DataFrame:
    """A CSV file as pandas reads it, indexed by line numbers. Raises UserError where it is none."""
    try:
        frame = pd.read_csv(path, low_memory=False)
    except (ValueError, OSError, EOFError, zlib.error) as error:  # the parser's errors are ValueErrors
        raise UserError(f"{path} is not a CSV file: {shortened(str(error), 100)}") from None
    frame.index = pd.RangeIndex(FIRST_LINE, len(frame) + FIRST_LINE, name="row")
    return frame


def read_csv(path: Path, mapping: Mapping) -> Reading:
    """Raises UserError naming the file, and the row where one is at fault."""
    return tidy(read_frame(path), mapping, str(path))


def read_parquet(path: Path, mapping: Mapping) -> Reading:
    """Raises UserError naming the file."""
    try:
        content = pq.ParquetFile(path).read()
        frame = content.to_pandas()
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
