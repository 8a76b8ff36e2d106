"""AI2's published ladder measurements: wide CSV files named `190M-1xC.csv` or `peteish13_eval_full.csv`.

Three quirks are settled here. `1B` is the paper's 1.3B. The files of one target are overlapping pieces of one run, and
so become one run. A file without `_step` counts its steps from its tokens.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ladder.config.config_files import file_of
from ladder.config.settings import LadderFile
from ladder.errors import UserError
from ladder.files.reading import read
from predict.measured.about import About, Reading
from predict.measured.flat_files import read_frame
from predict.measured.mapping import Mapping
from predict.measured.reader import Reader
from predict.measured.table import COLUMNS, Metric, check
from predict.measured.tasks import CHANCE, ITEMS

LADDER = "olmo2"  # the ladder of configs/ladder that they are of
SIZES = {"1B": "1.3B"}  # their spelling: ours
ORIGIN = "AI2's published measurements, github.com/allenai/OLMo-ladder at 67a3f440, Apache-2.0"

_LADDER_FILE = re.compile(r"(?P<size>\d+[MB])-(?P<rest>[\d.]+xC(?:-rerun)?)")
_TARGET_FILE = re.compile(r"(?P<run>peteish(?P<size>\d+)(?:_medlr)?)_eval_(?P<piece>[\w-]+)")
_LM_LOSS = re.compile(r"eval/(?P<task>[\w-]+)-validation/CrossEntropyLoss")
_TASK = re.compile(
    r"eval/downstream(?:_bpb|_soft|_soft_log)?/(?P<task>\w+)_(?P<split>val|test)_(?P<form>rc|mc)_5shot_"
    r"(?P<kind>bpb|len_norm|acc|soft_log|soft)"
)
_METRICS: dict[tuple[str, str], Metric] = {
    ("rc", "bpb"): "rc_bpb",
    ("rc", "len_norm"): "rc_acc",
    ("rc", "acc"): "rc_acc",  # BoolQ's primary accuracy
    ("rc", "soft"): "rc_prob_correct",
    ("rc", "soft_log"): "rc_task_ce",
    ("mc", "acc"): "mc_acc",
    ("mc", "len_norm"): "mc_acc",
}


class Column(NamedTuple):
    """What a column of AI2's evaluator holds: `sign` times the metric."""

    task: str
    split: str
    metric: Metric
    sign: float = 1.0


@functools.cache
def parameters() -> dict[str, int]:
    """N by size, from the ladder's shapes: the files do not hold it."""
    file = read(LadderFile, file_of("ladder", LADDER))
    return {size: shape.n for size, shape in file.shapes().items()}


def run_of(path: Path) -> tuple[str, str] | None:
    """(run, size) of a file by its name, in our spelling; None where it is no such file."""
    if match := _LADDER_FILE.fullmatch(path.stem):
        size = SIZES.get(match["size"], match["size"])
        return (f"{size}-{match['rest']}", size) if size in parameters() else None
    if match := _TARGET_FILE.fullmatch(path.stem):
        size = f"{match['size']}B"
        anneal = "_anneal" if match["piece"] == "anneal" else ""
        return (match["run"] + anneal, size) if size in parameters() else None
    return None


def is_ai2_folder(directory: Path) -> bool:
    return any(run_of(path) for path in directory.glob("*.csv"))


def read_ai2(directory: Path, mapping: Mapping | None = None) -> Reading:
    """The files in `directory`.

    Raises:
        UserError: a file that is no CSV, or that lacks a column.
    """
    frames = []
    for path in sorted(directory.glob("*.csv")):
        named = run_of(path)
        if named:
            frames.append(_read_file(path, *named))
    if not frames:
        raise UserError(f"no measurements in {directory} (files like 190M-1xC.csv were looked for)")
    about = About(ladder={"name": LADDER}, sizes=SIZES, origin=ORIGIN)
    return Reading(table=_align(frames, str(directory)), about=about)


def _read_file(path: Path, run: str, size: str) -> pd.DataFrame:
    wide = read_frame(path)
    if wide.empty:
        raise UserError(f"{path} holds no rows")
    batch = _column(wide, "batch_size_in_tokens", path)
    if not (batch > 0).all():
        raise UserError(f"{path}: the column batch_size_in_tokens must hold numbers above 0")
    if "throughput/total_tokens" in wide.columns:
        tokens = _column(wide, "throughput/total_tokens", path)
        steps = _column(wide, "_step", path) if "_step" in wide.columns else tokens // batch
    else:
        steps = _column(wide, "_step", path)
        tokens = steps * batch
    columns = {name: column for name in wide.columns if (column := parse_column(name))}
    if not {"rc_bpb", "rc_acc"} <= {column.metric for column in columns.values()}:
        raise UserError(f"{path} has no column of task loss and accuracy (eval/downstream_bpb/…_rc_5shot_bpb, …)")
    trained = (steps > 0) & np.isfinite(tokens)  # a step-0 row measures the initialisation
    if not trained.any():
        raise UserError(f"{path} has no row after step 0")
    values = _columns(wide, list(columns), path)[trained].T
    signs = np.array([column.sign for column in columns.values()])
    return _long(run, size, steps[trained], tokens[trained], list(columns.values()), values * signs[:, None])


def _column(wide: pd.DataFrame, name: str, path: Path) -> np.ndarray:
    if name not in wide.columns:
        raise UserError(f"{path} lacks the column {name}")
    return _columns(wide, [name], path)[:, 0]


def _columns(wide: pd.DataFrame, names: list[str], path: Path) -> np.ndarray:
    """(rows, names) as floats."""
    columns = [wide[name] for name in names]
    for name, column in zip(names, columns, strict=True):
        if column.dtype.kind not in "if":
            raise UserError(f"{path}: the column {name} must hold numbers only")
    return np.stack([column.to_numpy(dtype=float) for column in columns], axis=1)


@functools.cache
def parse_column(name: str) -> Column | None:
    """What a column that AI2's evaluator writes holds, by its name; None for any other."""
    if match := _LM_LOSS.fullmatch(name):
        return Column(match["task"].replace("-", "_"), "val", "lm_loss")
    match = _TASK.fullmatch(name)
    if match is None or match["task"] not in ITEMS:
        return None
    sign = -1.0 if match["kind"] == "soft_log" else 1.0  # the mean log probability of the answer
    return Column(match["task"], match["split"], _METRICS[match["form"], match["kind"]], sign)


def _long(
    run: str,
    size: str,
    steps: np.ndarray,
    tokens: np.ndarray,
    columns: list[Column],
    values: np.ndarray,
) -> pd.DataFrame:
    """One row per cell of `values` (columns, steps)."""
    repeats, tiles = len(steps), len(columns)
    tasks, splits, metrics, _ = zip(*columns, strict=True)
    items = np.array([0 if one.metric == "lm_loss" else ITEMS[one.task] for one in columns])
    chance = np.array([np.nan if one.metric == "lm_loss" else CHANCE[one.task] for one in columns])
    one = pd.Categorical.from_codes(np.zeros(repeats * tiles, dtype=np.int8), categories=pd.Index([run]))
    return pd.DataFrame(
        {
            "ladder": one.rename_categories({run: ""}),
            "run": one,
            "size": one.rename_categories({run: size}),
            "n": float(parameters()[size]),
            "d": float(tokens.max()),
            "step": np.tile(steps, tiles),
            "tokens": np.tile(tokens, tiles),
            "task": _repeated(tasks, repeats),
            "split": _repeated(splits, repeats),
            "metric": _repeated(metrics, repeats),
            "value": values.ravel(),
            "items": np.repeat(items, repeats),
            "chance": np.repeat(chance, repeats),
        }
    )


def _repeated(names: tuple[str, ...], repeats: int) -> pd.Categorical[Any]:
    categories = sorted(set(names))
    codes = np.array([categories.index(name) for name in names], dtype=np.int16)
    return pd.Categorical.from_codes(np.repeat(codes, repeats), categories=pd.Index(categories))


def _align(frames: list[pd.DataFrame], source: str) -> pd.DataFrame:
    """One table; names stay categories (pandas would fall back to strings where the categories differ)."""
    joined = {
        name: pd.api.types.union_categoricals([frame[name] for frame in frames], sort_categories=True)
        for name in ("ladder", "run", "size", "task", "split", "metric")
    }
    numbers = {
        name: np.concatenate([frame[name].to_numpy() for frame in frames]) for name in COLUMNS if name not in joined
    }
    table = pd.DataFrame({name: joined[name] if name in joined else numbers[name] for name in COLUMNS})
    table["d"] = table.groupby("run", observed=True)["d"].transform("max")  # pieces of one run end at its last token
    return check(table.dropna(subset=["value"]), source)  # an empty cell was not measured


READER = Reader(kind="AI2's measurements", matches=lambda path: path.is_dir() and is_ai2_folder(path), read=read_ai2)
