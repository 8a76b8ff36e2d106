"""How wide the intervals of the default method are, and what that rests on.

Accuracy: a ladder's own back-tests say next to nothing about how far off its later predictions will be (a correlation
of .07 between ladders), so widths are learned from other model families. Loss: families that publish losses are too
few, so the errors on the ladder's own back-tests set the scale (split conformal prediction with normalised residuals).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ladder.bind import NotNegative, Positive, Whole
from predict.methods.base import Estimate, Interval
from predict.methods.noise import LOSS_NOISE, item_variance
from predict.notes import Note, note, warning

ENOUGH_CELLS = 20
LOSS_DRIFT = 0.01  # relative, per decade
BORROWED_LOSS = (3.5, 6.6)  # factors of the paper's 16 runs, for ladders too small to be back-tested: 80% and 95%


@dataclass(frozen=True, kw_only=True)
class Widths:
    """The constants of accuracy's intervals: half-width = factor · sd, where

        sd² = p (1 - p) / items + spread s² + noise g² + drift (.01 · decades)² + rest (.01)²

    with s the standard deviation of the curves at the target, g that of a run's accuracy, and decades of N·D beyond the
    ladder. They are typical of Student t distributions fitted to the errors of smaller ladders inside the ladders of
    `families` model families, leaving one out in turn, every class of rungs and every family weighing the same; with
    factors `unseen` times as large. `scripts/choose_constants.py` fits them again and scores the left-out families.
    """

    spread: float = 0.45
    noise: float = 2.5
    drift: float = 1.8
    rest: float = 0.45
    factor80: float = 1.04
    factor95: float = 1.95
    unseen: float = 1.08
    families: int = 6
    smallest_n: float = 7e7  # parameters of the smallest model of these families
    unlike: float = 1.5  # times as wide for a ladder of smaller models only; a precaution, not learned

    def sd(self, p: float, s: float, g: float, decades: float, items: int) -> float:
        """Before the factor; `p` is the predicted accuracy."""
        learned = self.spread * s**2 + self.noise * g**2 + self.drift * (0.01 * decades) ** 2 + self.rest * 0.01**2
        return math.sqrt(float(item_variance(np.array(p), items)) + learned)


WIDTHS = Widths()


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the intervals of a ladder rest on: how far it reaches, and what its back-tests say of loss.

    `top` is the largest N·D of the ladder, `largest_n` its largest N. A loss's half-width is `loss80` or `loss95`
    standard deviations; `decades` is how far back-tests reached beyond theirs, `cells` the number of their predictions
    of a loss: 0 where there were too few, so that the factors are borrowed.
    """

    top: Positive
    largest_n: Positive
    loss80: NotNegative
    loss95: NotNegative
    decades: NotNegative
    cells: Whole

    def beyond(self, n: float, d: float) -> float:
        """Decades of N·D from the ladder to (n, d), at least 0."""
        return max(math.log10(n * d / self.top), 0.0)

    @property
    def unlike(self) -> bool:
        """Whether the ladder's models are smaller than all those that accuracy's widths were learned from."""
        return self.largest_n < WIDTHS.smallest_n

    def accuracy(self, value: float, spread: float, noise: float, n: float, d: float, items: int) -> Estimate:
        """A prediction for (n, d) with its intervals; `spread` and `noise` are s and g of `Widths`."""
        sd = WIDTHS.sd(value, spread, noise, self.beyond(n, d), items)
        sd *= WIDTHS.unseen * (WIDTHS.unlike if self.unlike else 1.0)
        half80, half95 = WIDTHS.factor80 * sd, WIDTHS.factor95 * sd
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

    def notes(self, n: float, d: float, losses: bool) -> list[Note]:
        """What the intervals at (n, d) rest on, with a warning where that is little; `losses` adds those of loss."""
        notes = [warning("target-inside")] if n * d <= self.top else []
        notes.append(note("intervals-learned", families=WIDTHS.families))
        if self.unlike:
            notes.append(
                warning("ladder-unlike", largest=self.largest_n, smallest=WIDTHS.smallest_n, factor=WIDTHS.unlike)
            )
        if losses:
            notes.append(note("loss-calibrated", cells=self.cells) if self.cells else warning("loss-borrowed"))
        if self.cells and self.beyond(n, d) > self.decades:
            notes.append(warning("beyond-back-tests", decades=self.beyond(n, d), reached=self.decades))
        return notes


def calibrate(loss_ratios: np.ndarray, decades: float, top: float, largest_n: float) -> Calibration:
    """The factors from the normalised errors of all back-test cells; borrowed ones where there are too few."""
    enough = len(loss_ratios) >= ENOUGH_CELLS
    loss80, loss95 = (quantile(loss_ratios, 0.8), quantile(loss_ratios, 0.95)) if enough else BORROWED_LOSS
    return Calibration(
        top=top,
        largest_n=largest_n,
        loss80=loss80,
        loss95=loss95,
        decades=decades,
        cells=len(loss_ratios) if enough else 0,
    )


def quantile(ratios: np.ndarray, level: float) -> float:
    """The conformal quantile of |error| / sd: the ceil((k + 1) · level)-th smallest of k."""
    ordered = np.sort(ratios)
    return float(ordered[min(int(np.ceil((len(ordered) + 1) * level)), len(ordered)) - 1])


def loss_sd(decades: np.ndarray) -> np.ndarray:
    """Relative standard deviation of a predicted loss."""
    return np.sqrt(LOSS_NOISE**2 + (LOSS_DRIFT * decades) ** 2)
