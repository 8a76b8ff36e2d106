"""Step 1 of any losses of a ladder: their laws, how far these were off in the ladder's back-tests, and their intervals.

An interval adds up the spread of the laws that fit, the noise of a run, and what grows with distance; it is as many
standard deviations wide as a Student t of so many runs asks for, or more where the back-tests were further off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ladder.files.bind import Count, NotNegative, Positive, Whole
from predict.fitting.loss_grid import LossLaws, fit_loss_laws
from predict.measured.runs import Run, n_and_d
from predict.methods.base import Estimate, Interval
from predict.methods.splits import Split, decades_beyond, fit_weights, held_out, splits
from predict.methods.student import NORMAL
from predict.notes import Note, warning

DRIFT = 0.02  # relative, per decade of N·D beyond the ladder: how far laws that fit a ladder go wrong beyond it
ENOUGH_CELLS = 20


@dataclass(frozen=True, kw_only=True)
class LossScale:
    """How wide the intervals of a ladder's losses are.

    `top` is its largest N·D, `runs` how many it has. A half-width is `factor80` or `factor95` standard deviations;
    `cells` back-test predictions had a say in that, 0 where there were too few; they reached so many `decades`.
    """

    top: Positive
    runs: Count
    factor80: Positive
    factor95: Positive
    cells: Whole
    decades: NotNegative

    @classmethod
    def of(cls, ratios: np.ndarray, top: float, runs: int, decades: float) -> LossScale:
        """`ratios` are |error| / standard deviation of the back-tests, (cells,)."""
        enough = len(ratios) >= ENOUGH_CELLS
        factor80, factor95 = (
            max(student(level, runs), quantile(ratios, level) if enough else 0.0) for level in (0.8, 0.95)
        )
        cells = len(ratios) if enough else 0
        return cls(top=top, runs=runs, factor80=factor80, factor95=factor95, cells=cells, decades=decades)

    def beyond(self, n: float, d: float) -> float:
        """Decades of N·D from the ladder to (n, d), at least 0."""
        return max(math.log10(n * d / self.top), 0.0)

    def estimate(self, laws: LossLaws, n: float, d: float) -> Estimate:
        """The loss at (n, d) by the first fit of the laws."""
        value, spread = (float(part[0, 0]) for part in laws(n, d))
        sd = float(relative_sd(np.array(spread), laws.noise[0], np.array(self.beyond(n, d))))
        inner, outer = _around(value, self.factor80 * sd), _around(value, self.factor95 * sd)
        return Estimate(value=value, interval80=inner, interval95=outer)

    def notes(self, n: float, d: float) -> list[Note]:
        """What limits the intervals at (n, d)."""
        if n * d <= self.top:
            return [warning("target-inside")]
        if self.cells and self.beyond(n, d) > self.decades:
            return [warning("beyond-back-tests", decades=self.beyond(n, d), reached=self.decades)]
        return []


@dataclass(frozen=True, kw_only=True)
class LossFit:
    """One loss: the rungs' final values, (runs,), and its laws of the whole ladder (fit 0) and of each back-test.

    The back-tests predict the `cells` (split, run), (cells, 2); `errors` are relative, `sds` what was expected of
    them, (cells,).
    """

    finals: np.ndarray
    laws: LossLaws
    cells: np.ndarray
    errors: np.ndarray
    sds: np.ndarray

    def at(self, n: float, d: float, fit: int, beyond: float) -> tuple[float, float]:
        """What a fit says of the loss at (n, d), and how far off it may be (relative, one standard deviation), so many
        decades of N·D beyond what was fitted."""
        value, spread = self.laws(n, d)
        return float(value[fit, 0]), float(relative_sd(spread[fit, 0], self.laws.noise[fit], np.array(beyond)))

    @property
    def ratios(self) -> np.ndarray:
        """|error| in standard deviations, (cells,)."""
        return np.abs(self.errors) / self.sds


@dataclass(frozen=True, kw_only=True)
class LossFits:
    """Several losses of one ladder, whose back-tests set one scale."""

    fits: tuple[LossFit, ...]
    splits: tuple[Split, ...]
    scale: LossScale


def fit_finals(runs: Sequence[Run], finals: Sequence[np.ndarray]) -> LossFits:
    """Fits losses, each (runs,), to a ladder, and to every smaller ladder inside it."""
    (n, d), back_tests = n_and_d(runs), splits(runs) if finals else []
    used, cells = fit_weights(back_tests, len(runs)), held_out(back_tests)
    beyond = decades_beyond(back_tests, runs)[cells[:, 0], cells[:, 1]]
    fits = tuple(_fit(one, fit_loss_laws(n, d, one, used), n, d, cells, beyond) for one in finals)
    ratios = np.concatenate([np.zeros(0), *(fit.ratios for fit in fits)])
    scale = LossScale.of(ratios, float((n * d).max()), len(runs), float(max(beyond, default=0.0)))
    return LossFits(fits=fits, splits=tuple(back_tests), scale=scale)


def _fit(
    finals: np.ndarray, laws: LossLaws, n: np.ndarray, d: np.ndarray, cells: np.ndarray, beyond: np.ndarray
) -> LossFit:
    mean, spread = laws(n, d)
    at = (cells[:, 0] + 1, cells[:, 1])
    return LossFit(
        finals=finals,
        laws=laws,
        cells=cells,
        errors=mean[at] / finals[cells[:, 1]] - 1,
        sds=relative_sd(spread[at], laws.noise[at[0]], beyond),
    )


def _around(value: float, half: float) -> Interval:
    """In logarithms: a loss is above 0."""
    return Interval(low=value * math.exp(-half), high=value * math.exp(half))


def relative_sd(spread: np.ndarray, noise: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """Of a measured loss about its prediction: the laws' own spread, a run's noise, and what grows with distance."""
    return np.sqrt(spread**2 + noise**2 + (DRIFT * beyond) ** 2)


def student(level: float, freedom: int) -> float:
    """Half an interval of a Student t, in standard deviations (Cornish and Fisher's expansion; to 4% from 3 on)."""
    z = NORMAL[level]
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def quantile(ratios: np.ndarray, level: float) -> float:
    """The conformal quantile of |error| / sd: the ceil((k + 1) · level)-th smallest of k."""
    ordered = np.sort(ratios)
    return float(ordered[min(int(np.ceil((len(ordered) + 1) * level)), len(ordered)) - 1])
