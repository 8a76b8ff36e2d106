"""A CSV file in the measurement table's own columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ladder.errors import UserError
from ladder.measurements import NAMES, check


def read_csv(path: Path) -> pd.DataFrame:
    """Raises UserError naming the file, and the row where one is at fault."""
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(NAMES, str))
    except ValueError as error:  # the parser's errors are ValueErrors
        raise UserError(f"{path} is not a CSV file: {error}") from None
    names = [name for name in NAMES if name in frame.columns]
    frame[names] = frame[names].fillna("")
    frame.index = pd.RangeIndex(2, len(frame) + 2, name="row")
    return check(frame, str(path))
