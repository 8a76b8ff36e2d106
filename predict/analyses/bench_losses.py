"""The bench of losses: how well step 1 predicts those of a finished ladder's larger runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from predict.analyses.testbeds import CLASSES, Part, rung_class
from predict.measured.runs import Run
from predict.methods.base import Estimate
from predict.methods.loss_fits import fit_finals
from predict.show.tables import Row, Table, fixed, share, whole, words


@dataclass(frozen=True, kw_only=True)
class LossCell:
    """What is said of one loss of one held-out run; `last` is the loss of the dearest rung, `line` that of a line
    through ln loss and ln compute."""

    family: str
    rungs: int
    actual: float
    step1: Estimate
    last: float
    line: float


def loss_cells(part: Part) -> list[LossCell]:
    """Of each loss that every rung has, with an accuracy beside it or not, the runs beyond that have it too."""
    finals_of = _finals_of(part)
    finals = [finals_of(run) for run in part.rungs]
    names = [name for name in finals[0] if all(name in one for one in finals)]
    fitted = fit_finals(part.rungs, [np.array([one[name] for one in finals]) for name in names])
    compute = np.log([run.compute for run in part.rungs])
    cells = []
    for run in part.targets:
        actual = finals_of(run)
        for name, fit in zip(names, fitted.fits, strict=True):
            if name in actual:
                slope, start = np.polyfit(compute, np.log(fit.finals), 1) if np.ptp(compute) > 0 else (0.0, 0.0)
                cells.append(
                    LossCell(
                        family=part.bed.family,
                        rungs=len(part.rungs),
                        actual=actual[name],
                        step1=fitted.scale.estimate(fit.laws, run.n, run.d),
                        last=float(fit.finals[int(compute.argmax())]),
                        line=float(np.exp(start + slope * np.log(run.compute))),
                    )
                )
    return cells


def _finals_of(part: Part) -> Callable[[Run], dict[str, float]]:
    """The losses at the end of a run, by name: of tasks in bits per byte, and what has no accuracy."""
    measured, count = part.measured, part.bed.measured.smoothing.final_checkpoints
    tasks, alone = measured.every_task(), measured.losses()

    def finals(run: Run) -> dict[str, float]:
        of_tasks = {task.name: run.curve(task, "rc_bpb").final(count) for task in tasks if run.has(task, "rc_bpb")}
        return of_tasks | {one.name: one.final(run, count) for one in alone if one.measured(run)}

    return finals


def loss_class_table(cells: Sequence[LossCell]) -> Table:
    """A row per class of rungs; every family weighs the same in a class."""
    rows: list[Row] = []
    for rungs in CLASSES:
        if here := [cell for cell in cells if rung_class(cell.rungs) == rungs]:
            families = dict.fromkeys(cell.family for cell in here)
            means = np.mean(
                [np.mean([_values(cell) for cell in here if cell.family == name], axis=0) for name in families], axis=0
            )
            rows.append((f"{rungs} rungs", len(here), *map(float, means)))
    return Table(
        title="Losses by number of rungs (percent of the loss)",
        columns=(
            words("fitted"),
            whole("cells"),
            fixed("step 1", 2, "percent"),
            fixed("bias", 2, "percent", signed=True),
            fixed("last rung", 2, "percent"),
            fixed("line in logs", 2, "percent"),
            share("in 80%"),
            share("in 95%"),
            fixed("half-width 80%", 1, "percent"),
        ),
        rows=tuple(rows),
        notes=("cells: losses of held-out runs; error: mean absolute, bias: mean signed, means over families",),
    )


def _values(cell: LossCell) -> list[float]:
    low, high = cell.step1.interval80, cell.step1.interval95
    if low is None or high is None:
        raise ValueError("step 1 of losses has intervals")
    errors = [100 * (value / cell.actual - 1) for value in (cell.step1.value, cell.last, cell.line)]
    return [
        abs(errors[0]),
        errors[0],
        abs(errors[1]),
        abs(errors[2]),
        float(cell.actual in low),
        float(cell.actual in high),
        50 * low.width / cell.step1.value,
    ]
