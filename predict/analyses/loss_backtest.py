"""Back-tests of losses that have no accuracy: smaller ladders inside this one predict its larger runs."""

from __future__ import annotations

import numpy as np

from predict.measured.ladder import Measured
from predict.methods.loss_fits import LossFit, LossFits, student
from predict.methods.losses import FittedLosses
from predict.show.tables import Row, Table, fixed, share, whole, words


def loss_backtest_table(fitted: FittedLosses, measured: Measured) -> Table:
    """A row per loss: mean |error| and bias of step 1, the error of the last fitted rung, and coverage.

    Coverage is that of intervals that these back-tests have not widened.
    """
    fits = fitted.fitted.fits
    values = [_values(fit, fitted.fitted, measured) for fit in fits]
    rows: list[Row] = [
        (task.title, len(fit.errors), *row) for task, fit, row in zip(fitted.tasks, fits, values, strict=True)
    ]
    if len(rows) > 1:
        rows.append(("mean", None, *np.mean(values, axis=0).tolist()))
    return Table(
        title="Back-tests of losses without an accuracy (percent of the loss)",
        columns=(
            words("task"),
            whole("held out"),
            fixed("step 1", 2, "percent"),
            fixed("bias", 2, "percent", signed=True),
            fixed("last rung", 2, "percent"),
            share("in 80%"),
            share("in 95%"),
        ),
        rows=tuple(rows),
        notes=("in 80%, in 95%: held-out losses inside the intervals as they are without these back-tests",),
    )


def _values(fit: LossFit, fitted: LossFits, measured: Measured) -> tuple[float, ...]:
    """Of the columns above, after the first two."""
    compute = np.array([run.compute for run in measured.rungs])
    last = [max(split.train, key=lambda run: compute[run]) for split in fitted.splits]
    actual = fit.finals[fit.cells[:, 1]]
    stale = fit.finals[[last[split] for split in fit.cells[:, 0]]] / actual - 1
    counts = [len(fitted.splits[split].train) for split in fit.cells[:, 0]]
    inside = [np.mean(fit.ratios <= np.array([student(level, count) for count in counts])) for level in (0.8, 0.95)]
    means = (np.abs(fit.errors).mean(), fit.errors.mean(), np.abs(stale).mean())
    return (*(100 * float(mean) for mean in means), *map(float, inside))
