"""Method `default`: a posterior of curves in N and D, blended with the mean of several chains fitted to the ladder.

The curves rest on priors that hold for many model families and so on few rungs; the chains, chosen by back-tests on the
ladder at hand, also on its losses, and so on the ladder being large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ladder.rungs.rung import Target
from predict.fitting.chain import Chain
from predict.fitting.curve_grid import CurveLaw
from predict.fitting.loss_grid import LossLaws, fit_loss_laws
from predict.measured.ladder import Measured
from predict.measured.loss_tasks import LossMetric
from predict.measured.tasks import Task
from predict.methods.base import Actual, Fitted, Method, Prediction, Verdict
from predict.methods.constants import CONSTANTS
from predict.methods.intervals import Calibration
from predict.methods.loss_fits import LossScale
from predict.methods.members import MEMBERS, Member
from predict.methods.paper import TASK_LOSS
from predict.methods.study import Study, TaskStudy, study_ladder, subset_errors
from predict.notes import Note, each_once, note, warning


@dataclass(frozen=True, kw_only=True)
class TaskLoss:
    """A task's loss, of its answers or `of_text`, running text, in their place: that of the rungs, (runs,), and its
    laws, which follow from it."""

    n: np.ndarray
    d: np.ndarray
    finals: np.ndarray
    laws: LossLaws
    of_text: bool

    @classmethod
    def of(cls, n: np.ndarray, d: np.ndarray, finals: np.ndarray, of_text: bool) -> TaskLoss:
        laws = fit_loss_laws(n, d, finals, np.ones((1, len(n))))
        return cls(n=n, d=d, finals=finals, laws=laws, of_text=of_text)

    @property
    def metric(self) -> LossMetric:
        return "lm_loss" if self.of_text else "rc_bpb"

    def __call__(self, n: Any, d: Any) -> Any:
        """The mean of the laws at N, D, numbers or arrays that broadcast."""
        n, d = np.broadcast_arrays(np.asarray(n, dtype=float), np.asarray(d, dtype=float))
        return self.laws(n.ravel(), d.ravel())[0][0].reshape(n.shape)


@dataclass(frozen=True, kw_only=True)
class EnsembleLaw:
    """A task's curves, their share in a prediction, and the members that have the rest, by name; and the laws of its
    loss, which stand beside them: a member that goes by a loss has one law of its own."""

    task: Task
    curve: CurveLaw
    share: float
    members: dict[str, Chain]
    loss: TaskLoss | None
    verdict: Verdict

    def accuracy(self, n: Any, d: Any) -> Any:
        """At N, D, numbers or arrays."""
        return self._blended(self.curve(n, d)[0], [chain.accuracy(n, d) for chain in self.members.values()])

    def _blended(self, curves: Any, chains: Sequence[Any]) -> Any:
        return self.share * curves + (1 - self.share) * np.mean(chains, axis=0)

    def predict(self, target: Target, calibration: Calibration, scale: LossScale) -> Prediction:
        n, d = target.n, target.d
        mean, spread = (float(value) for value in self.curve(n, d))
        values = {name: float(chain.accuracy(n, d)) for name, chain in self.members.items()}
        value = float(self._blended(mean, list(values.values())))
        return Prediction(
            task=self.task.name,
            title=self.task.title,
            accuracy=calibration.accuracy(value, n, d, spread=spread, noise=self.curve.noise, items=self.task.items),
            loss=scale.estimate(self.loss.laws, n, d) if self.loss else None,
            loss_metric=self.loss.metric if self.loss else None,
            verdict=self.verdict,
            members=(("curves", mean), *values.items()),
        )


@dataclass(frozen=True, kw_only=True)
class EnsembleLaws(Fitted):
    """The laws of each task and what their intervals rest on, fitted or from a file."""

    laws: tuple[EnsembleLaw, ...]
    calibration: Calibration
    scale: LossScale

    @property
    def tasks(self) -> list[Task]:
        return [law.task for law in self.laws]

    def predict(self, target: Target) -> list[Prediction]:
        return [law.predict(target, self.calibration, self.scale) for law in self.laws]

    def notes(self, target: Target) -> list[Note]:
        notes, scale = self.calibration.notes(target.n, target.d), self.scale
        if any(law.loss for law in self.laws):
            notes.append(note("loss-calibrated", cells=scale.cells) if scale.cells else warning("loss-untested"))
            notes += scale.notes(target.n, target.d)
        return each_once(notes)


@dataclass(frozen=True, kw_only=True)
class FittedEnsemble(EnsembleLaws):
    """The laws and the back-tests by which their members were chosen and the loss's intervals widened."""

    study: Study

    def notes(self, target: Target) -> list[Note]:
        """Which members took part and why, and what the intervals rest on."""
        return [self._members_note(), *super().notes(target)]

    @property
    def asked(self) -> list[TaskStudy]:
        """The back-tests of the tasks that were asked for, in their order."""
        by_name = {one.task.name: one for one in self.study.tasks}
        return [by_name[law.task.name] for law in self.laws]

    def _members_note(self) -> Note:
        members, splits = self.study.members, self.study.splits
        if not splits:
            return note("members-untested", names=members)
        predictable = [one for one in self.asked if not one.verdict.trendless and len(one.cells)]
        errors = {names: 100 * float(by_task.mean()) for names, by_task in subset_errors(predictable).items()}
        if members not in errors:
            return note("members-apart" if predictable else "members-trendless", names=members)
        alone = {names[0]: error for names, error in errors.items() if len(names) == 1}
        return note("members", names=members, splits=len(splits), error=errors[members], alone=alone)


@dataclass(frozen=True, kw_only=True)
class Ensemble(Method):
    """`on_all_tasks`: members are chosen on every task of the ladder, not only on those asked for."""

    name: str = "default"
    summary: str = "curves that hold for many families, and three chains chosen by back-tests, with intervals"
    members: tuple[Member, ...] = MEMBERS
    on_all_tasks: bool = True
    minimum_rungs: int = 3

    def quick(self) -> Ensemble:
        """Members chosen on the tasks asked for alone."""
        return replace(self, on_all_tasks=False)

    def can_fit(self, measured: Measured, task: Task) -> bool:
        return measured.everywhere(task, "rc_acc")

    def fit(self, measured: Measured, tasks: Sequence[Task]) -> FittedEnsemble:
        studied = all_tasks(measured, tasks) if self.on_all_tasks else list(tasks)
        study = study_ladder(measured, studied, self.members)
        by_name = {one.task.name: one for one in study.tasks}
        laws = tuple(_law(by_name[task.name], study.members) for task in tasks)
        return FittedEnsemble(laws=laws, calibration=study.calibration, scale=study.losses.scale, study=study)

    def actual(self, measured: Measured, target: Target, task: Task) -> Actual:
        """The loss is the task's own, which is predicted where all rungs have it."""
        smoothing, run, loss = measured.smoothing, measured.at(target), None
        if run is not None and TASK_LOSS.measured(run, task):
            loss = run.final(TASK_LOSS.curve(run, task), smoothing.final_checkpoints)
        accuracy = measured.actual(target, task, smoothing.window)
        return Actual(accuracy=accuracy, loss=loss, loss_metric=TASK_LOSS.metric)


def all_tasks(measured: Measured, tasks: Sequence[Task] = ()) -> list[Task]:
    """Every task of the ladder, with `tasks` as they are given."""
    by_name = {task.name: task for task in measured.every_task()} | {task.name: task for task in tasks}
    return list(by_name.values())


def tasks_or_all(measured: Measured, names: Sequence[str]) -> list[Task]:
    """The tasks called `names`, or all that can be predicted. Raises UserError where there is none."""
    return (not names and all_tasks(measured)) or measured.tasks(names)


def _law(study: TaskStudy, members: Sequence[str]) -> EnsembleLaw:
    kept = [name for name in study.fits if name in members] or list(study.fits)
    shares = CONSTANTS.shares if study.points.loss is None else CONSTANTS.shares_with_losses
    return EnsembleLaw(
        task=study.task,
        curve=study.curve,
        share=float(shares.of(len(study.points.n), study.verdict.correlation)),
        members={name: study.fits[name].chain(0) for name in kept},
        loss=_task_loss(study),
        verdict=study.verdict,
    )


def _task_loss(study: TaskStudy) -> TaskLoss | None:
    points, loss = study.points, study.loss
    if loss is None:
        return None
    return TaskLoss(n=points.n, d=points.d, finals=loss.finals, laws=loss.laws, of_text=points.loss is None)
