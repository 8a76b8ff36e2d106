"""The paper's method and its variants: one class, told apart by their data.

A variant says which feature stands between (N, D) and accuracy, what step 1 is a function of, and by which form
accuracy follows (sections 3 and 6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ladder.config.settings import Smoothing
from ladder.errors import UserError
from ladder.rungs.rung import Target
from predict.fitting.chain import Chain
from predict.fitting.forms import LogSigmoid, PowerLaw, Sigmoid
from predict.fitting.step1 import (
    LOWEST,
    StartsFit,
    fit_compute_law,
    fit_power_law,
    fit_power_law_from_many,
    fit_single_step,
)
from predict.fitting.step2 import fit_log_sigmoid, fit_sigmoid
from predict.measured.ladder import Measured
from predict.measured.loss_tasks import LossMetric
from predict.measured.points import task_points
from predict.measured.runs import Curve, Run, accuracy_curve, n_and_d, paired
from predict.measured.tasks import Task
from predict.methods.base import Actual, Estimate, Fitted, Method, Prediction, Verdict
from predict.methods.gate import judge
from predict.notes import OF_PAPER, Note, warning

BETTER = 0.01  # part of the objective by which another start must win for the coefficients to be in doubt

NEGLIGIBLE = 0.001  # of a loss


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A measured quantity that accuracy is a function of: a task's `metric`, or the loss on a corpus."""

    metric: LossMetric
    corpus: str = ""
    label: str  # of a plot's axis

    def measured(self, run: Run, task: Task) -> bool:
        return self.corpus in run.lm_losses() if self.corpus else run.has(task, self.metric)

    def curve(self, run: Run, task: Task) -> Curve:
        """Raises UserError where the run lacks it, naming what is missing."""
        if not self.measured(run, task):
            what = f"{self.corpus} loss" if self.corpus else self.metric
            raise UserError(
                f"run {run.name} has no {what} for {task.name}, which the method needs; "
                f"leave the task out with --tasks, or choose another method"
            )
        return run.lm_loss([self.corpus]) if self.corpus else run.curve(task, self.metric)


TASK_LOSS = Feature(metric="rc_bpb", label="task loss, bits per byte")
TASK_CE = Feature(metric="rc_task_ce", label="task cross-entropy, nats")
C4_LOSS = Feature(metric="lm_loss", corpus="c4_en", label="loss on C4, nats per token")


def _sigmoid(loss: np.ndarray, accuracy: np.ndarray, task: Task) -> Sigmoid:
    return fit_sigmoid(loss, accuracy, task.chance)


def _log_sigmoid(loss: np.ndarray, accuracy: np.ndarray, task: Task) -> LogSigmoid:
    return fit_log_sigmoid(loss, accuracy)


def flops_6nd(n: Any, d: Any) -> Any:
    return 6.0 * n * d


@dataclass(frozen=True, kw_only=True)
class TaskLaw:
    """One task's steps by way of `feature`, if any, and the training FLOPs of (N, D) on its ladder, for a step 1 in
    FLOPs."""

    task: Task
    chain: Chain
    verdict: Verdict
    feature: Feature | None
    notes: tuple[Note, ...] = ()
    flops: Callable[[Any, Any], Any] = field(default=flops_6nd, compare=False, repr=False)

    def loss(self, n: Any, d: Any) -> Any:
        """The predicted feature at N, D, numbers or arrays; None where accuracy is fitted in a single step."""
        return self.chain.loss(n, d, self.flops(n, d))

    def accuracy(self, n: Any, d: Any) -> Any:
        return self.chain.accuracy(n, d, self.flops(n, d))

    def predict(self, target: Target) -> Prediction:
        """Without intervals: the method has none that hold."""
        loss = self.loss(target.n, target.d)
        return Prediction(
            task=self.task.name,
            title=self.task.title,
            accuracy=Estimate(value=float(self.accuracy(target.n, target.d))),
            loss=None if loss is None else Estimate(value=float(loss)),
            loss_metric=self.feature.metric if self.feature else None,
            verdict=self.verdict,
            notes=self.notes,
        )


@dataclass(frozen=True, kw_only=True)
class PaperLaws(Fitted):
    """The laws of each task, fitted or from a file."""

    laws: tuple[TaskLaw, ...]

    @property
    def tasks(self) -> list[Task]:
        return [law.task for law in self.laws]

    def predict(self, target: Target) -> list[Prediction]:
        return [law.predict(target) for law in self.laws]


@dataclass(frozen=True, kw_only=True)
class FittedPaper(PaperLaws):
    """The laws and the measurements they were fitted to."""

    method: Paper
    measured: Measured

    @property
    def label(self) -> str:
        """What the feature is, for the axis of a plot."""
        return self.method.feature.label if self.method.feature else ""

    def finals(self, task: Task) -> np.ndarray:
        """The points of step 1."""
        return self.method.finals(self.measured, task)

    def pairs(self, task: Task) -> list[tuple[np.ndarray, np.ndarray]]:
        """The points of step 2, run by run."""
        return self.method.pairs(self.measured, task)

    def first(self, count: int) -> FittedPaper:
        """Only the first `count` tasks."""
        return replace(self, laws=self.laws[:count])


@dataclass(frozen=True, kw_only=True)
class Paper(Method):
    """A variant of the paper's method.

    `feature` is None where accuracy is fitted in a single step; step 1 is a law in N and D, or in training FLOPs;
    `own_smoothing` is the variant's own, in place of what the ladder's configuration says.
    """

    name: str
    summary: str
    feature: Feature | None = TASK_LOSS
    step1: Literal["size and data", "flops"] = "size and data"
    step2: Callable[[np.ndarray, np.ndarray, Task], Sigmoid | LogSigmoid] = _sigmoid
    own_smoothing: Smoothing | None = None
    many_starts: bool = True  # of step 1, noted where they disagree with the published one
    minimum_rungs: int = 1

    def quick(self) -> Paper:
        """From the published start alone."""
        return replace(self, many_starts=False)

    def can_fit(self, measured: Measured, task: Task) -> bool:
        return self.feature is None or all(self.feature.measured(run, task) for run in measured.rungs)

    def smoothing(self, measured: Measured) -> Smoothing:
        return self.own_smoothing or measured.smoothing

    def fit(self, measured: Measured, tasks: Sequence[Task]) -> FittedPaper:
        laws = tuple(self._fit_task(measured, task) for task in tasks)
        return FittedPaper(method=self, measured=measured, laws=laws)

    def actual(self, measured: Measured, target: Target, task: Task) -> Actual:
        """Means over the last checkpoints: of accuracy as many as step 2 smooths over, of the feature as step 1."""
        smoothing, run, loss = self.smoothing(measured), measured.at(target), None
        if run is not None and self.feature is not None and self.feature.measured(run, task):
            loss = run.final(self.feature.curve(run, task), smoothing.final_checkpoints)
        return Actual(
            accuracy=measured.actual(target, task, smoothing.window),
            loss=loss,
            loss_metric=self.feature.metric if self.feature else None,
        )

    def finals(self, measured: Measured, task: Task) -> np.ndarray:
        """The mean of each rung's last checkpoints of the feature, shape (runs,)."""
        count = self.smoothing(measured).final_checkpoints
        return np.array([self._feature().curve(run, task).final(count) for run in measured.rungs])

    def pairs(self, measured: Measured, task: Task) -> list[tuple[np.ndarray, np.ndarray]]:
        """(feature, accuracy) over each rung's checkpoints, smoothed."""
        feature, smoothing = self._feature(), self.smoothing(measured)
        return [paired(run, feature.curve(run, task), accuracy_curve(run, task), smoothing) for run in measured.rungs]

    def _feature(self) -> Feature:
        if self.feature is None:
            raise ValueError(f"method {self.name} has no feature")
        return self.feature

    def _fit_task(self, measured: Measured, task: Task) -> TaskLaw:
        chain, notes = self._single_step(measured, task) if self.feature is None else self._two_steps(measured, task)
        points = task_points(measured.rungs, task, measured.smoothing)
        return TaskLaw(
            task=task,
            chain=chain,
            verdict=judge(points),
            feature=self.feature,
            notes=notes,
            flops=measured.flops,
        )

    def _single_step(self, measured: Measured, task: Task) -> tuple[Chain, tuple[Note, ...]]:
        n, d = n_and_d(measured.rungs)
        count = self.smoothing(measured).final_checkpoints
        accuracy = np.array([accuracy_curve(run, task).final(count) for run in measured.rungs])
        if (accuracy == 0).any():
            run = measured.rungs[int(accuracy.argmin())].name
            raise UserError(
                f"run {run} has an accuracy of 0 on {task.name}, whose logarithm method {self.name} takes; "
                "leave the task out with --tasks, or choose another method"
            )
        return Chain(step1=None, step2=fit_single_step(n, d, accuracy, task.chance, other_starts=self.many_starts)), ()

    def _two_steps(self, measured: Measured, task: Task) -> tuple[Chain, tuple[Note, ...]]:
        losses, pairs = self.finals(measured, task), self.pairs(measured, task)
        x, y = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
        step2 = self.step2(x, y, task)
        n, d = n_and_d(measured.rungs)
        if self.step1 == "flops":
            flops = np.array([measured.flops(run.n, run.d) for run in measured.rungs])
            return Chain(step1=fit_compute_law(flops, losses), step2=step2), ()
        if not self.many_starts:
            return Chain(step1=fit_power_law(n, d, losses)[0], step2=step2), ()
        starts = fit_power_law_from_many(n, d, losses)
        notes = (*_bound_notes(starts.law), *_start_notes(starts, 10 * n.max(), 10 * d.max()))
        return Chain(step1=starts.law, step2=step2), notes


def _bound_notes(law: PowerLaw) -> list[Note]:
    """Coefficients that the fit pushed against their bounds: the ladder does not determine them."""
    at = [name for name, bound in LOWEST.items() if getattr(law, name) <= bound + 1e-6]
    return [warning("at-bound", coefficients=at)] if at else []


def _start_notes(starts: StartsFit, n: float, d: float) -> list[Note]:
    """Whether another start reaches a better optimum, and how far from it the law is at (n, d), if that matters."""
    shift = float(starts.best(n, d) / starts.law(n, d) - 1)
    if starts.lowest > (1 - BETTER) * starts.objective or abs(shift) < NEGLIGIBLE:
        return []
    return [warning("starts-disagree", lower=1 - starts.lowest / starts.objective, shift=shift)]


def beside_paper(predictions: Sequence[Prediction], papers: Sequence[Prediction]) -> list[Prediction]:
    """The predictions with what the paper's method says of their tasks, and what is in doubt about that."""
    by_task = {p.task: p for p in papers}
    joined = []
    for p in predictions:
        other = by_task.get(p.task)
        doubts = tuple(replace(one, code=OF_PAPER.get(one.code, one.code)) for one in other.notes) if other else ()
        value = other.accuracy.value if other else None
        joined.append(replace(p, paper_accuracy=value, notes=(*p.notes, *doubts)))
    return joined


PAPER = Paper(name="paper", summary="N, D to task loss to accuracy (section 3)")
VARIANTS = (
    PAPER,
    Paper(name="paper-flops", summary="training FLOPs to task loss to accuracy (section 6.1)", step1="flops"),
    Paper(
        name="paper-taskce",
        summary="N, D to task cross-entropy over all choices to accuracy (section 6.2, appendix C.2)",
        feature=TASK_CE,
        step2=_log_sigmoid,
        # Task cross-entropy is linear in accuracy only late in training: its last half, unsmoothed (appendix C.2).
        own_smoothing=Smoothing(final_checkpoints=1, window=1, skip_fraction=0.5),
    ),
    Paper(name="paper-c4", summary="N, D to C4 loss to accuracy (section 6.3)", feature=C4_LOSS),
    Paper(name="paper-single", summary="N, D to accuracy in a single step (section 6.4)", feature=None),
)
