"""Which of the measured runs are the rungs of a ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ladder.config.settings import Smoothing, TargetSettings
from ladder.errors import unknown
from ladder.rungs.rung import Ladder, parse_run_name
from predict.measured.ladder import MINIMUM_RUNGS, Measured
from predict.measured.runs import Run, measured_tasks, runs_of
from predict.measured.same import levels, same
from predict.notes import Note, warning

if TYPE_CHECKING:
    import pandas as pd


def measured_ladder(
    table: pd.DataFrame,
    source: str,
    *,
    name: str,
    smoothing: Smoothing,
    ladder: Ladder | None,
    target: TargetSettings | None = None,
    sizes: Sequence[str] = (),
    multiples: Sequence[float] = (),
    origin: str = "",
    notes: Sequence[Note] = (),
    at_least: int = MINIMUM_RUNGS,
) -> Measured:
    """The table's runs, with the rungs chosen: all but reruns, or with a `ladder` its own.

    `sizes` and `multiples` narrow these, or name what else to take.

    Raises:
        UserError: a size or multiple that was not measured, or too few rungs.
    """
    runs = runs_of(table)
    _check_measured(runs, source, sizes, multiples)
    rungs = _rungs(runs, ladder, sizes, multiples)
    absent = _absent(rungs, ladder) if not sizes and not multiples else []
    return Measured(
        name=name,
        source=source,
        rungs=tuple(rungs),
        runs=tuple(runs),
        measured=measured_tasks(table),
        smoothing=smoothing,
        ladder=ladder,
        target=target,
        origin=origin or source,
        notes=(*notes, *absent),
    ).checked(at_least)


def _rungs(runs: Sequence[Run], ladder: Ladder | None, sizes: Sequence[str], multiples: Sequence[float]) -> list[Run]:
    sizes = sizes or (list(ladder.sizes) if ladder else [])
    multiples = multiples or (list(ladder.multiples) if ladder else [])
    return [
        run
        for run in runs
        if (not sizes or run.size in sizes)
        and (not multiples or any(same(run.multiple, multiple) for multiple in multiples))
        and not run.tag
        and (ladder is None or parse_run_name(run.name))  # a target of a rung's size has a name of its own
    ]


def _absent(rungs: Sequence[Run], ladder: Ladder | None) -> list[Note]:
    """Rungs of the ladder that were not measured."""
    present = {run.name for run in rungs}
    absent = [rung.name for rung in ladder.rungs if rung.name not in present] if ladder else []
    return [warning("not-measured", rungs=absent)] if absent else []


def _check_measured(runs: Sequence[Run], source: str, sizes: Sequence[str], multiples: Sequence[float]) -> None:
    for size in sizes:
        if size not in {run.size for run in runs}:
            raise unknown(f"size of {source}", size, dict.fromkeys(run.size for run in runs))
    multiples_there = levels(run.multiple for run in runs)
    for multiple in multiples:
        if not any(multiple > 0 and same(multiple, other) for other in multiples_there):
            raise unknown(f"multiple of {source}", f"{multiple:g}", [f"{other:.3g}" for other in multiples_there])


def our_sizes(sizes: Sequence[str], spellings: Mapping[str, str], table: pd.DataFrame) -> list[str]:
    """The sizes as the table spells them."""
    there = set(table["size"].cat.categories)
    return [size if size in there else spellings.get(size, size) for size in sizes]
