"""CSV and Parquet files, in the measurement table's own columns or in others that a mapping explains."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ladder.errors import UserError
from predict.measured.mapping import Mapping, tidy

FIRST_LINE = 2  # of a CSV file below its header


def read_csv(path: Path, mapping: Mapping) -> pd.DataFrame:
    """Raises UserError naming the file, and the row where one is at fault."""
    try:
        frame = pd.read_csv(path, low_memory=False)
    except (ValueError, OSError) as error:  # the parser's errors are ValueErrors
        raise UserError(f"{path} is not a CSV file: {error}") from None
    frame.index = pd.RangeIndex(FIRST_LINE, len(frame) + FIRST_LINE, name="row")
    return tidy(frame, mapping, str(path))


def read_parquet(path: Path, mapping: Mapping) -> pd.DataFrame:
    """Raises UserError naming the file."""
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a Parquet file: {error}") from None
    return tidy(frame, mapping, str(path))
