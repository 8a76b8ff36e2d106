"""The nouns that every method shares: what it says of one task of a target, how sure it is, and on what grounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from predict.notes import Note

Standing = Literal["follows", "loose", "refused"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a task's final accuracy follows scale over the rungs, and what that was judged by.

    `correlation` is Spearman's rank correlation of accuracy with scale over `runs` rungs.
    """

    standing: Standing
    correlation: float
    runs: int

    @property
    def refused(self) -> bool:
        return self.standing == "refused"


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

    Accuracies lie in [0, 1]; `loss` is in the unit of the method's feature (bits per byte for the task loss) and None
    where the method has none. `stands_in` says that `accuracy` is no prediction but the last rung's measured value.
    `members` holds what each part of an average says, `paper_accuracy` the paper's method for comparison.
    """

    task: str
    title: str
    accuracy: Estimate
    loss: Estimate | None
    verdict: Verdict
    stands_in: bool = False
    notes: tuple[Note, ...] = ()
    members: tuple[tuple[str, float], ...] = ()
    actual: float | None = None
    actual_loss: float | None = None
    paper_accuracy: float | None = None

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


def mean_error(predictions: Sequence[Prediction]) -> float | None:
    """Mean absolute error in points over the tasks that were predicted and have an actual value."""
    errors = [abs(p.error_points) for p in predictions if p.error_points is not None and not p.stands_in]
    return sum(errors) / len(errors) if errors else None


def inside_intervals(predictions: Sequence[Prediction]) -> tuple[int, int, int] | None:
    """How many actual accuracies lie in their 80% and 95% intervals, and of how many; None where there are none."""
    cells = [
        (p.actual in p.accuracy.interval80, p.actual in p.accuracy.interval95)
        for p in predictions
        if p.actual is not None and p.accuracy.interval80 and p.accuracy.interval95
    ]
    return (sum(cell[0] for cell in cells), sum(cell[1] for cell in cells), len(cells)) if cells else None
