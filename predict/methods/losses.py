"""Losses alone: what step 1 says of tasks that have no accuracy, how sure that is, and on what grounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ladder.rungs.rung import Target
from predict.fitting.loss_grid import LossLaws, fit_loss_laws
from predict.measured.ladder import Measured
from predict.measured.losses import LossTask
from predict.methods.base import Estimate, Interval
from predict.methods.intervals import ENOUGH_CELLS, quantile
from predict.methods.splits import Split, decades, splits
from predict.notes import Note, note, warning

DRIFT = 0.02  # relative, per decade of N·D beyond the ladder: how far laws that fit a ladder go wrong beyond it
NORMAL = {0.8: 1.2816, 0.95: 1.9600}  # half an interval, in standard deviations


@dataclass(frozen=True, kw_only=True)
class LossPrediction:
    """What is said about one loss of a target, in the task's unit, beside what was measured there, if it was."""

    task: LossTask
    loss: Estimate
    actual: float | None = None

    @property
    def error_percent(self) -> float | None:
        """Predicted minus actual, in percent of the actual."""
        return None if self.actual is None else 100 * (self.loss.value / self.actual - 1)


@dataclass(frozen=True, kw_only=True)
class LossStudy:
    """One loss: its laws of the whole ladder (fit 0) and of each back-test, which predicts the `cells` (split, run).

    `errors` are relative, `sds` what was expected of them, (cells,).
    """

    task: LossTask
    finals: np.ndarray
    laws: LossLaws
    cells: np.ndarray
    errors: np.ndarray
    sds: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FittedLosses:
    """`top` is the largest N·D of the ladder, `runs` how many it has."""

    studies: tuple[LossStudy, ...]
    splits: tuple[Split, ...]
    top: float
    runs: int

    @cached_property
    def cells(self) -> int:
        """The back-tests' predictions by which intervals were widened; 0 where they are too few."""
        count = sum(len(study.errors) for study in self.studies)
        return count if count >= ENOUGH_CELLS else 0

    def factor(self, level: float) -> float:
        """Half-width in standard deviations. The noise is known from the ladder's runs alone, so that it is that of a
        Student t; and more, where the ladder's own back-tests were further off."""
        usual = student(level, self.runs)
        if not self.cells:
            return usual
        ratios = np.concatenate([np.abs(study.errors) / study.sds for study in self.studies])
        return max(usual, quantile(ratios, level))

    def predict(self, target: Target) -> list[LossPrediction]:
        """One for each loss, without what was measured on the target."""
        beyond = max(math.log10(target.n * target.d / self.top), 0.0)
        return [LossPrediction(task=study.task, loss=self._estimate(study, target, beyond)) for study in self.studies]

    def _estimate(self, study: LossStudy, target: Target, beyond: float) -> Estimate:
        value, spread = (float(part[0, 0]) for part in study.laws(target.n, target.d))
        sd = float(relative_sd(np.array(spread), study.laws.noise[0], np.array(beyond)))
        inner, outer = (self.factor(level) * sd for level in (0.8, 0.95))
        return Estimate(value=value, interval80=_around(value, inner), interval95=_around(value, outer))

    def notes(self, target: Target) -> list[Note]:
        """What the intervals rest on."""
        if not self.studies:
            return []
        found = [note("losses-calibrated", cells=self.cells) if self.cells else warning("losses-untested")]
        return [warning("target-inside")] * (target.n * target.d <= self.top) + found


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


def fit_losses(measured: Measured, tasks: Sequence[LossTask]) -> FittedLosses:
    """Fits each loss to the ladder, and to every smaller ladder inside it; every rung must have them."""
    runs, back_tests = list(measured.rungs), splits(measured.rungs) if tasks else []
    used = np.stack([np.ones(len(runs)), *(split.weights(len(runs)) for split in back_tests)])
    cells = np.array([(i, run) for i, split in enumerate(back_tests) for run in split.test], dtype=int).reshape(-1, 2)
    n, d = np.array([run.n for run in runs]), np.array([run.d for run in runs])
    far = np.array([decades(n, d, [runs[i] for i in split.train]) for split in back_tests]).reshape(-1, len(runs))
    count = measured.smoothing.final_checkpoints
    return FittedLosses(
        studies=tuple(_study(task, task.finals(runs, count), n, d, used, cells, far) for task in tasks),
        splits=tuple(back_tests),
        top=float((n * d).max()),
        runs=len(runs),
    )


def _study(
    task: LossTask,
    finals: np.ndarray,
    n: np.ndarray,
    d: np.ndarray,
    used: np.ndarray,
    cells: np.ndarray,
    far: np.ndarray,
) -> LossStudy:
    laws = fit_loss_laws(n, d, finals, used)
    mean, spread = laws(n, d)
    at = (cells[:, 0] + 1, cells[:, 1])
    return LossStudy(
        task=task,
        finals=finals,
        laws=laws,
        cells=cells,
        errors=mean[at] / finals[cells[:, 1]] - 1,
        sds=relative_sd(spread[at], laws.noise[at[0]], far[cells[:, 0], cells[:, 1]]),
    )


def losses_beside_actuals(found: Sequence[LossPrediction], measured: Measured, target: Target) -> list[LossPrediction]:
    """The predictions, beside what was measured on the target."""
    run, count = measured.at(target), measured.smoothing.final_checkpoints
    if run is None:
        return list(found)
    return [replace(p, actual=p.task.final(run, count)) if p.task.measured(run) else p for p in found]
