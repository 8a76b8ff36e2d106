"""How wide the intervals of the default method are, and what that rests on.

The standard deviation of a prediction is put together from what is known: the noise of a finite test, the noise of a
run, the spread of the members (the error of their forms), and the distance to what was measured. Errors on the ladder's
own back-tests set its scale (split conformal prediction with normalised residuals).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ladder.bind import NotNegative, Positive, Whole
from predict.methods.base import Estimate, Interval
from predict.methods.noise import LOSS_NOISE, RUN_NOISE, item_variance
from predict.notes import Note, note, warning

ENOUGH_CELLS = 20
DRIFT = 0.01  # accuracy per decade of N·D beyond the runs: what members that agree may still miss together
LOSS_DRIFT = 0.01  # relative, per decade
# The factors of the paper's 16 runs (`laws/olmo2.json`), for ladders too small to be back-tested: at 80% and at 95%.
BORROWED = (0.98, 1.71)
BORROWED_LOSS = (3.5, 6.6)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Half-width = factor · standard deviation, at 80% and 95%, for accuracy and for loss.

    `top` is the largest N·D of the ladder, `decades` how far back-tests reached beyond theirs, `cells` the number of
    their predictions: 0 where there were too few, so that the factors are borrowed.
    """

    accuracy80: NotNegative
    accuracy95: NotNegative
    loss80: NotNegative
    loss95: NotNegative
    decades: NotNegative
    cells: Whole
    top: Positive

    def beyond(self, n: float, d: float) -> float:
        """Decades of N·D from the ladder to (n, d), at least 0."""
        return float(np.maximum(np.log10(n * d / self.top), 0.0))

    def accuracy(self, members: np.ndarray, n: float, d: float, items: int) -> Estimate:
        """The mean of the members' accuracies (members,) at (n, d)."""
        value, far = float(members.mean()), np.array(self.beyond(n, d))
        sd = float(accuracy_sd(members.mean(), spread_of(members[:, None])[0], far, items))
        half80, half95 = self.accuracy80 * sd, self.accuracy95 * sd
        return Estimate(
            value=value,
            interval80=Interval(low=max(value - half80, 0.0), high=min(value + half80, 1.0)),
            interval95=Interval(low=max(value - half95, 0.0), high=min(value + half95, 1.0)),
        )

    def loss(self, value: float, n: float, d: float) -> Estimate:
        sd = float(loss_sd(np.array(self.beyond(n, d))))
        half80, half95 = self.loss80 * sd, self.loss95 * sd
        return Estimate(
            value=value,
            interval80=Interval(low=value * max(1 - half80, 0.0), high=value * (1 + half80)),
            interval95=Interval(low=value * max(1 - half95, 0.0), high=value * (1 + half95)),
        )

    def notes(self, n: float, d: float) -> list[Note]:
        """What the intervals at (n, d) rest on, with a warning where that is little."""
        far = max(math.log10(n * d / self.top), 0.0)
        inside = [warning("target-inside")] if n * d <= self.top else []
        if not self.cells:
            return [warning("intervals-borrowed"), *inside]
        notes = [*inside, note("intervals-calibrated", cells=self.cells)]
        if far > self.decades:
            notes.append(warning("beyond-back-tests", decades=far, reached=self.decades))
        return notes


def calibrate(ratios: np.ndarray, loss_ratios: np.ndarray, decades: float, top: float) -> Calibration:
    """The factors from the normalised errors of all back-test cells; borrowed ones where there are too few."""
    accuracy80, accuracy95 = _factors(ratios, BORROWED)
    loss80, loss95 = _factors(loss_ratios, BORROWED_LOSS)
    return Calibration(
        accuracy80=accuracy80,
        accuracy95=accuracy95,
        loss80=loss80,
        loss95=loss95,
        decades=decades,
        cells=len(ratios) if len(ratios) >= ENOUGH_CELLS else 0,
        top=top,
    )


def _factors(ratios: np.ndarray, borrowed: tuple[float, float]) -> tuple[float, float]:
    return (quantile(ratios, 0.8), quantile(ratios, 0.95)) if len(ratios) >= ENOUGH_CELLS else borrowed


def quantile(ratios: np.ndarray, level: float) -> float:
    """The conformal quantile of |error| / sd: the ceil((k + 1) · level)-th smallest of k."""
    ordered = np.sort(ratios)
    return float(ordered[min(int(np.ceil((len(ordered) + 1) * level)), len(ordered)) - 1])


def accuracy_sd(accuracy: np.ndarray, spread: np.ndarray, decades: np.ndarray, items: int) -> np.ndarray:
    """All arguments broadcast; `spread` is the standard deviation over the members."""
    return np.sqrt(item_variance(accuracy, items) + RUN_NOISE**2 + spread**2 + (DRIFT * decades) ** 2)


def loss_sd(decades: np.ndarray) -> np.ndarray:
    """Relative standard deviation of a predicted loss."""
    return np.sqrt(LOSS_NOISE**2 + (LOSS_DRIFT * decades) ** 2)


def spread_of(values: np.ndarray) -> np.ndarray:
    """Standard deviation over members (members, cells) -> (cells,); 0 for a single member."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
