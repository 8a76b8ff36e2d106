"""A ladder below one target: each method is fitted once, whoever asks, and predicts. The Python API of `predict`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from ladder.errors import UserError, unknown
from ladder.rungs.rung import Target
from predict.measured.ladder import FEW_RUNGS, Measured
from predict.measured.tasks import Task
from predict.methods import DEFAULT, METHODS
from predict.methods.base import Fitted, FittedNothing, Method, Prediction, beside_actuals
from predict.methods.ensemble import FittedEnsemble
from predict.methods.losses import FittedLosses, LossPrediction, fit_losses, losses_beside_actuals
from predict.methods.paper import PAPER, FittedPaper, beside_paper
from predict.notes import Note, each_once, note, warning


def predict_target(
    measured: Measured, target: Target, method: str = DEFAULT, tasks: Sequence[str] = ()
) -> list[Prediction]:
    """Predictions of `method` for a target, beside its measured values where the ladder holds them.

    The target's own measurements never enter the fit.

    Raises:
        UserError: an unknown method or task, a feature that was not measured, too few rungs.
    """
    return Fits(measured, target, tasks).predict(method)


def method_named(name: str) -> Method:
    """Raises UserError for a name that is not in METHODS."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


class Fits:
    """What every method makes of a ladder, for one target and some of its tasks (all by default).

    `below` is what may be fitted: without the target itself. Raises UserError where that is too little, or a task is
    unknown.
    """

    def __init__(self, measured: Measured, target: Target, tasks: Sequence[str] = ()) -> None:
        self.measured, self.target = measured, target
        self.below = measured.below(target).narrowed(tasks)
        self._names = tuple(tasks)
        asked = self.below.asked(tasks)
        self.tasks, self.losses = asked.tasks, asked.losses
        self._fitted: dict[tuple[str, tuple[str, ...]], Fitted] = {}

    def needs_tasks(self, what: str) -> None:
        """Raises UserError where there are losses alone, of which `what` cannot be made."""
        if not self.tasks:
            raise UserError(
                f"{self.below.source}: {what} is of tasks with an accuracy, and what was asked for has none"
            )

    @cached_property
    def share(self) -> float:
        """The ladder's compute over the target's."""
        return sum(run.compute for run in self.below.rungs) / self.target.flops_6nd

    def fitted(self, method: str) -> Fitted:
        """The method fitted to all the tasks; where it can be fitted to some of them only, to those."""
        chosen = method_named(method)
        if not self.tasks:
            return FittedNothing()
        return self._fit(chosen, [task for task in self.tasks if chosen.can_fit(self.below, task)] or self.tasks)

    @cached_property
    def ensemble(self) -> FittedEnsemble:
        """Method `default` fitted to all the tasks, of which there has to be one (`needs_tasks`)."""
        fitted = self.fitted(DEFAULT)
        assert isinstance(fitted, FittedEnsemble)
        return fitted

    @cached_property
    def paper(self) -> FittedPaper:
        """Method `paper` fitted to those of the tasks that it can be fitted to, which may be none."""
        fitted = self._fit(PAPER, [task for task in self.tasks if PAPER.can_fit(self.below, task)])
        assert isinstance(fitted, FittedPaper)
        return fitted

    def _unfit(self, method: str) -> list[Note]:
        """Which tasks are left out, as the method lacks what it needs."""
        fitted = {task.name for task in self.fitted(method).tasks}
        left_out = [task.name for task in self.tasks if task.name not in fitted]
        return [warning("tasks-without-feature", tasks=left_out, method=method)] if left_out else []

    def predict(self, method: str) -> list[Prediction]:
        """A prediction for each task, beside what was measured on the target."""
        return beside_actuals(method_named(method), self.fitted(method), self.measured, self.target)

    def predict_beside_paper(self, method: str) -> list[Prediction]:
        """As `predict`, with what the paper's own method says where it can be fitted: not to fewer rungs than the
        coefficients of its step 1."""
        predictions = self.predict(method)
        if method == PAPER.name or len(self.below.rungs) < FEW_RUNGS:
            return predictions
        return beside_paper(predictions, self.paper.predict(self.target))

    @cached_property
    def fitted_losses(self) -> FittedLosses:
        """Step 1 of the losses that have no accuracy."""
        return fit_losses(self.below, self.losses)

    def predict_losses(self) -> list[LossPrediction]:
        """A prediction for each loss that has no accuracy, beside what was measured on the target."""
        return losses_beside_actuals(self.fitted_losses.predict(self.target), self.measured, self.target)

    def notes(self, method: str) -> list[Note]:
        """What the predictions of a method rest on, and what limits any fit on this ladder."""
        origin = note("fitted-on", runs=len(self.below.rungs), source=self.below.source, share=self.share)
        limits = [*self.below.warnings(self._names), *self._unfit(method)]
        grounds = [*self.fitted(method).notes(self.target), *self.fitted_losses.notes(self.target)]
        return each_once([origin, *grounds, *limits])

    def _fit(self, method: Method, tasks: Sequence[Task]) -> Fitted:
        key = (method.name, tuple(task.name for task in tasks))
        if key not in self._fitted:
            self._fitted[key] = method.fit(self.below, tasks)
        return self._fitted[key]
