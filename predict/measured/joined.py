"""Measurements of the same runs from two sources, as one table: pass rates beside the losses of gold answers."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from ladder.errors import unknown
from predict.measured.about import Reading
from predict.measured.table import check

OF_RUNS = ("ladder", "size", "n", "d")


def joined(first: Reading, also: Reading, source: str) -> Reading:
    """`first` and what `also` has measured of its runs.

    Sizes, N and D are those of `first`, tokens too where it has the step; a task's split is that of `first` where it
    has the task in one split only, since sources differ in what they call a split.

    Raises:
        UserError: a run that `first` does not have, or two values for one measurement; it names `source`.
    """
    table = also.table.astype({name: object for name in ("ladder", "run", "size", "task", "split", "metric")})
    own = first.table.drop_duplicates("run").set_index("run")
    if strange := [str(run) for run in dict.fromkeys(table.run) if run not in own.index]:
        raise unknown(f"run in {source}", strange[0], [str(run) for run in own.index])
    for name in OF_RUNS:
        table[name] = table.run.map(own[name].astype(object))
    steps = first.table.drop_duplicates(["run", "step"]).set_index(["run", "step"]).tokens
    tokens = pd.Series(steps.reindex(pd.MultiIndex.from_frame(table[["run", "step"]])).to_numpy(), index=table.index)
    table["tokens"] = tokens.fillna(table.tokens)
    splits = first.table.groupby("task", observed=True).split.unique()
    only = {str(task): str(names[0]) for task, names in splits.items() if len(names) == 1}
    table["split"] = table.task.map(only).fillna(table.split)
    both = pd.concat([first.table.astype(table.dtypes.to_dict()), table], ignore_index=True)
    about = replace(first.about, notes=(*first.about.notes, *also.about.notes))
    return Reading(table=check(both, source), about=about)
