"""The nouns that every method shares: what it says of one task of a target, how sure it is, and on what grounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ladder.rungs.rung import Target
from predict.notes import Note

if TYPE_CHECKING:
    from ladder.config.settings import Smoothing
    from predict.measured.ladder import Measured
    from predict.measured.loss_tasks import LossMetric
    from predict.measured.tasks import Task

Standing = Literal["follows", "loose", "none"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a task's final accuracy follows scale over the rungs, and what that was judged by.

    `correlation` is Spearman's rank correlation of accuracy with scale over `runs` rungs. With "none" it shows no
    trend: a prediction says little more than how far the accuracy may wander.
    """

    standing: Standing
    correlation: float
    runs: int

    @property
    def trendless(self) -> bool:
        return self.standing == "none"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Both ends belong to it: `value in interval`."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A predicted quantity. The intervals hold it with 80% and 95% confidence; None where the method gives none."""

    value: float
    interval80: Interval | None = None
    interval95: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a method says about one task of a target, beside what was measured there, if it was.

    Accuracies lie in [0, 1]; `loss` and `actual_loss` are of `loss_metric` (rc_bpb in bits per byte, the others in
    nats), all None where the method has no loss. `members` holds what each part of an average says, `paper_accuracy`
    the paper's method for comparison.
    """

    task: str
    title: str
    accuracy: Estimate
    loss: Estimate | None
    loss_metric: LossMetric | None
    verdict: Verdict
    notes: tuple[Note, ...] = ()
    members: tuple[tuple[str, float], ...] = ()
    actual: float | None = None
    actual_loss: float | None = None
    paper_accuracy: float | None = None

    @property
    def of_text(self) -> bool:
        """Whether the loss is of running text, not of the task."""
        return self.loss_metric == "lm_loss"

    @property
    def error_points(self) -> float | None:
        """Predicted minus actual accuracy, in percentage points."""
        return None if self.actual is None else 100 * (self.accuracy.value - self.actual)

    @property
    def loss_error_percent(self) -> float | None:
        """Predicted minus actual loss, in percent of the actual."""
        if self.actual_loss is None or self.loss is None:
            return None
        return 100 * (self.loss.value / self.actual_loss - 1)


def errors_of(predictions: Sequence[Prediction]) -> list[float]:
    """Errors in points, signed, of the tasks that show a trend and have an actual value."""
    return [p.error_points for p in predictions if p.error_points is not None and not p.verdict.trendless]


def mean_error(predictions: Sequence[Prediction]) -> float | None:
    """The mean of the absolute `errors_of`; None where there is none."""
    errors = errors_of(predictions)
    return sum(map(abs, errors)) / len(errors) if errors else None


@dataclass(frozen=True, kw_only=True)
class Held:
    """How many of `count` actual values lie in their 80% and 95% intervals."""

    in80: int
    in95: int
    count: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[Estimate, float | None]]) -> Held | None:
        """Of estimates, each with its actual value; None where no interval has one."""
        inside = [
            (actual in estimate.interval80, actual in estimate.interval95)
            for estimate, actual in pairs
            if actual is not None and estimate.interval80 and estimate.interval95
        ]
        if not inside:
            return None
        return cls(in80=sum(in80 for in80, _ in inside), in95=sum(in95 for _, in95 in inside), count=len(inside))


def intervals_held(predictions: Iterable[Prediction]) -> Held | None:
    """Of accuracies."""
    return Held.of((p.accuracy, p.actual) for p in predictions)


@dataclass(frozen=True, kw_only=True)
class Actual:
    """What was measured on a target, in the terms of a method: accuracy, and a loss by `loss_metric`."""

    accuracy: float | None
    loss: float | None
    loss_metric: LossMetric | None


class Fitted(ABC):
    """A method's laws of some tasks: fitted to a ladder, or read from a file."""

    @property
    @abstractmethod
    def tasks(self) -> list[Task]: ...

    @abstractmethod
    def predict(self, target: Target) -> list[Prediction]:
        """One for each task, in their order, without what was measured on the target."""

    def notes(self, target: Target) -> list[Note]:
        """What the predictions of a target rest on."""
        return []


class FittedNothing(Fitted):
    """Of a ladder whose tasks have losses alone."""

    @property
    def tasks(self) -> list[Task]:
        return []

    def predict(self, target: Target) -> list[Prediction]:
        return []


class Method(ABC):
    """A way from the measurements of small models to the accuracies of a large one.

    A new one is a subclass in a file of its own and an entry in `predict.methods.METHODS`.
    """

    name: str
    summary: str  # for the help of the command line
    minimum_rungs: int

    @abstractmethod
    def fit(self, measured: Measured, tasks: Sequence[Task]) -> Fitted:
        """Raises UserError where a rung lacks what the method needs of a task."""

    @abstractmethod
    def can_fit(self, measured: Measured, task: Task) -> bool:
        """Whether every rung has what the method needs of the task."""

    @abstractmethod
    def actual(self, measured: Measured, target: Target, task: Task) -> Actual:
        """What was measured on the target, summarised as the method summarises its rungs."""

    def smoothing(self, measured: Measured) -> Smoothing:
        """How the method averages checkpoints: as the ladder's configuration says."""
        return measured.smoothing

    def quick(self) -> Method:
        """A cheaper form of the method, without second opinions, for fits that are repeated many times."""
        return self


def beside_actuals(method: Method, fitted: Fitted, measured: Measured, target: Target) -> list[Prediction]:
    """The predictions of a method, beside what was measured on the target; a loss beside one of the same metric."""
    predictions = []
    for prediction, task in zip(fitted.predict(target), fitted.tasks, strict=True):
        actual = method.actual(measured, target, task)
        loss = actual.loss if actual.loss_metric == prediction.loss_metric else None
        predictions.append(replace(prediction, actual=actual.accuracy, actual_loss=loss))
    return predictions
