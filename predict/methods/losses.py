"""Losses alone: what step 1 says of tasks that have no accuracy, how sure that is, and on what grounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ladder.rungs.rung import Target
from predict.measured.ladder import Measured
from predict.measured.loss_tasks import LossTask
from predict.methods.base import Estimate
from predict.methods.loss_fits import LossFits, fit_finals
from predict.notes import Note, note, warning


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
class FittedLosses:
    """The tasks, and a fit for each, in their order."""

    tasks: tuple[LossTask, ...]
    fitted: LossFits

    def predict(self, target: Target) -> list[LossPrediction]:
        """One for each loss, without what was measured on the target."""
        scale, fits = self.fitted.scale, self.fitted.fits
        return [
            LossPrediction(task=task, loss=scale.estimate(fit.laws, target.n, target.d))
            for task, fit in zip(self.tasks, fits, strict=True)
        ]

    def notes(self, target: Target) -> list[Note]:
        """What the intervals rest on."""
        if not self.tasks:
            return []
        scale = self.fitted.scale
        ground = note("losses-calibrated", cells=scale.cells) if scale.cells else warning("losses-untested")
        return [*scale.notes(target.n, target.d), ground]


def fit_losses(measured: Measured, tasks: Sequence[LossTask]) -> FittedLosses:
    """Fits each loss to the ladder, and to every smaller ladder inside it; every rung must have them."""
    runs, count = measured.rungs, measured.smoothing.final_checkpoints
    return FittedLosses(tasks=tuple(tasks), fitted=fit_finals(runs, [task.finals(runs, count) for task in tasks]))


def losses_beside_actuals(losses: Sequence[LossPrediction], measured: Measured, target: Target) -> list[LossPrediction]:
    """The predictions, beside what was measured on the target."""
    run, count = measured.at(target), measured.smoothing.final_checkpoints
    if run is None:
        return list(losses)
    return [replace(p, actual=p.task.final(run, count)) if p.task.measured(run) else p for p in losses]
