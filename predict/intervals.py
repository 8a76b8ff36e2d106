"""Prediction intervals whose width is calibrated on a ladder's own back-tests.

Split conformal prediction with normalised residuals: `ensemble_law` says which predictions are how uncertain relative
to each other, the errors on the back-tests set the scale.
"""

from __future__ import annotations

import numpy as np

from predict.ensemble_law import Calibration

ENOUGH_CELLS = 20


# What the factors are on the paper's 16 runs (`laws/olmo2.json`): for ladders too small to be back-tested.
FALLBACK = Calibration(accuracy80=0.98, accuracy95=1.71, loss80=3.5, loss95=6.6, decades=0.0, cells=0)


def quantile(ratios: np.ndarray, level: float) -> float:
    """The conformal quantile of |error| / sd: the ceil((k + 1) · level)-th smallest of k."""
    ordered = np.sort(ratios)
    return float(ordered[min(int(np.ceil((len(ordered) + 1) * level)), len(ordered)) - 1])


def calibrate(ratios: np.ndarray, loss_ratios: np.ndarray, decades: float) -> Calibration:
    """The factors from the normalised errors of all back-test cells; the fallback's where there are too few."""
    enough, enough_loss = len(ratios) >= ENOUGH_CELLS, len(loss_ratios) >= ENOUGH_CELLS
    return Calibration(
        accuracy80=quantile(ratios, 0.8) if enough else FALLBACK.accuracy80,
        accuracy95=quantile(ratios, 0.95) if enough else FALLBACK.accuracy95,
        loss80=quantile(loss_ratios, 0.8) if enough_loss else FALLBACK.loss80,
        loss95=quantile(loss_ratios, 0.95) if enough_loss else FALLBACK.loss95,
        decades=decades,
        cells=len(ratios) if enough else 0,
    )
