"""Readers that turn other people's files into the measurement table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.errors import UserError
from ladder.rung import parse_run_name

if TYPE_CHECKING:
    import pandas as pd


def read_measurements(path: Path, rungs: Sequence[str] | None = None) -> pd.DataFrame:
    """The table of a directory of our runs, AI2's CSV folder, or a Parquet or CSV file in the table's own columns.

    Of AI2's folder, `rungs` limits the ladder runs that are read (targets always are).
    """
    from ladder.measurements import read_parquet, read_runs
    from predict.readers.ai2 import is_ai2_folder, read_ai2
    from predict.readers.generic import read_csv

    if not path.exists():
        raise UserError(f"{path} does not exist")
    if path.is_dir():
        if is_ai2_folder(path):
            return read_ai2(path, lambda run: rungs is None or run in rungs or parse_run_name(run) is None)
        return read_runs(path)
    if path.suffix == ".parquet":
        return read_parquet(path)
    if path.suffix in (".csv", ".gz"):
        return read_csv(path)
    raise UserError(f"{path} is neither a directory, a .parquet nor a .csv file")
