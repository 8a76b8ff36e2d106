"""Whatever lies at a path becomes the measurement table, by the reader of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.errors import UserError
from ladder.rung import parse_run_name

if TYPE_CHECKING:
    import pandas as pd


def read_measurements(path: Path, rungs: Sequence[str] | None = None, mapping: Path | None = None) -> pd.DataFrame:
    """The table of whatever `path` is: a directory of our runs, AI2's CSV folder, results of lm-evaluation-harness,
    offline W&B runs, a Parquet or CSV file, or a W&B project (`wandb:ENTITY/PROJECT`).

    Of AI2's folder, `rungs` limits the ladder runs that are read (targets always are). `mapping` explains the columns
    of a file and the keys of W&B runs.

    Raises:
        UserError: nothing is there, or nothing that is known.
    """
    from predict.measured import lm_eval, tables, wandb_runs
    from predict.measured.ai2 import is_ai2_folder, read_ai2
    from predict.measured.mapping import read_mapping

    columns = read_mapping(mapping)
    if str(path).startswith(wandb_runs.PREFIX):
        return wandb_runs.read_project(str(path), columns)
    if not path.exists():
        raise UserError(f"{path} does not exist")
    if path.suffix == ".parquet":
        return tables.read_parquet(path, columns)
    if path.suffix in (".csv", ".gz"):
        return tables.read_csv(path, columns)
    if not path.is_dir():
        raise UserError(f"{path} is neither a directory, a .parquet nor a .csv file")
    if is_ai2_folder(path):
        return read_ai2(path, lambda run: rungs is None or run in rungs or parse_run_name(run) is None)
    if is_run_folder(path):
        from ladder.measurements import read_runs

        return read_runs(path)
    if lm_eval.is_lm_eval_folder(path):
        return lm_eval.read_lm_eval(path)
    if wandb_runs.offline_files(path):
        return wandb_runs.read_offline(path, columns)
    raise UserError(f"no measurements in {path}; run: python -m evaluate {path}")


def is_run_folder(path: Path) -> bool:
    """Whether runs of this project lie in `path`, or it is one."""
    from ladder.rundir import find_runs

    return bool(find_runs(path))
