"""The language-modelling loss of a target: by the law that method `default` fits on its way, with an interval."""

from __future__ import annotations

import numpy as np

from ladder.rungs.rung import Target
from predict.measured.ladder import Measured
from predict.measured.points import common_lm_losses
from predict.methods.base import Estimate
from predict.methods.ensemble import FittedEnsemble
from predict.methods.intervals import Calibration, Reach, calibrate, loss_sd
from predict.methods.splits import decades
from predict.methods.study import TaskStudy

LM_LOSS = "LM loss"  # the member that has it


def lm_forecast(measured: Measured, fitted: FittedEnsemble, target: Target) -> tuple[tuple[str, ...], Estimate] | None:
    """The texts whose mean loss is predicted, and that; None where the rungs have no loss on a text in common.

    `measured` is what was fitted.
    """
    one = next((study for study in fitted.study.tasks if LM_LOSS in study.fits), None)
    if one is None:
        return None
    n, d = target.n, target.d
    value = float(one.fits[LM_LOSS].feature(np.array([n]), np.array([d]))[0, 0])
    return tuple(common_lm_losses(measured.rungs)), lm_calibration(measured, fitted, one).loss(value, n, d)


def lm_calibration(measured: Measured, fitted: FittedEnsemble, one: TaskStudy) -> Calibration:
    """As the calibration of task losses, from the back-test errors of this loss; it is the same for every task."""
    runs, splits = measured.rungs, fitted.study.splits
    n, d = one.points.n, one.points.d
    reach = Reach.of(n, d)
    if not splits or one.points.lm is None:
        return calibrate(np.zeros(0), 0.0, reach)
    split, run = np.array([(i, run) for i, split in enumerate(splits) for run in split.test]).T
    errors = one.fits[LM_LOSS].feature(n, d)[split + 1, run] / one.points.lm[run] - 1
    far = np.array([decades(n, d, [runs[i] for i in one.train]) for one in splits])[split, run]
    return calibrate(np.abs(errors) / loss_sd(far), float(far.max()), reach)
