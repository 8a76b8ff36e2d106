"""Measurements of the same runs from two sources, as one table: pass rates beside the losses of gold answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from ladder.errors import unknown
from predict.measured.about import Reading
from predict.measured.same import same
from predict.measured.table import COLUMNS, check

OF_RUNS = ("ladder", "size", "n", "d")


def joined(first: Reading, also: Reading, source: str) -> Reading:
    """`first` and what `also` has measured of its runs.

    Ladders, sizes, N and D are those of `first`, steps and tokens too where it has the checkpoint; a task's split is
    that of `first` where it has the task in one split only, since sources differ in what they call a split.

    Raises:
        UserError: a run that `first` does not have, or two values for one measurement; it names `source`.
    """
    table = also.table.astype({name: object for name in ("ladder", "run", "size", "task", "split", "metric")})
    runs = first.table.drop_duplicates(["ladder", "run"])
    key = ["ladder", "run"] if runs.run.duplicated().any() else ["run"]  # of several ladders with runs of one name
    own = runs.astype(object).set_index(key)
    theirs = pd.MultiIndex.from_frame(table[key]) if len(key) > 1 else pd.Index(table.run)
    if (strange := ~theirs.isin(own.index)).any():
        raise unknown(f"run in {source}", _named(theirs[strange][0]), [_named(one) for one in own.index])
    for name in OF_RUNS:
        if name not in key:
            table[name] = own[name].reindex(theirs).to_numpy()
    table = _at_own_checkpoints(table.astype({"n": float, "d": float}), first.table)
    splits = first.table.groupby("task", observed=True).split.unique()
    only = {str(task): str(names[0]) for task, names in splits.items() if len(names) == 1}
    table["split"] = table.task.map(only).fillna(table.split)
    both = pd.concat([first.table.astype(table.dtypes.to_dict()), table], ignore_index=True)
    about = replace(first.about, notes=(*first.about.notes, *also.about.notes))
    return Reading(table=check(both, source), about=about)


def _named(key: object) -> str:
    return " ".join(map(str, key[::-1])) if isinstance(key, tuple) else str(key)


def _at_own_checkpoints(table: pd.DataFrame, first: pd.DataFrame) -> pd.DataFrame:
    """With step and tokens of the checkpoint of `first` that has the step, or else the tokens (to 1%)."""
    where = ["ladder", "run", "step", "tokens"]
    own = {key: rows[["step", "tokens"]].to_numpy() for key, rows in first.groupby(["ladder", "run"], observed=True)}
    places = table[where].drop_duplicates()
    found = [_checkpoint(own[key[:2]], *key[2:]) for key in places.itertuples(index=False, name=None)]
    moved = places.assign(own_step=[step for step, _ in found], own_tokens=[tokens for _, tokens in found])
    table = table.merge(moved, on=where, how="left").drop(columns=["step", "tokens"])
    return table.rename(columns={"own_step": "step", "own_tokens": "tokens"})[COLUMNS]


def _checkpoint(own: np.ndarray, step: int, tokens: float) -> tuple[int, float]:
    """The one of `own`, (checkpoints, 2), or what is given where it has none there."""
    there = own[own[:, 0] == step]
    if not len(there):
        there = own[[same(value, tokens) for value in own[:, 1].tolist()]]
    if not len(there):
        return step, tokens
    nearest = there[np.abs(there[:, 1] - tokens).argmin()]
    return int(nearest[0]), float(nearest[1])
