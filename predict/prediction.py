"""What a method says about one task of a target, beside what was measured there, if it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Accuracies in [0, 1]; `loss` in the unit of the method's feature (bits per byte for the task loss).

    `low80` … `high95` bound the accuracy with 80% and 95% confidence; None where the method gives no interval.
    `members` holds what each part of an average says, `paper_accuracy` the paper's method for comparison.
    """

    task: str
    title: str
    loss: float | None
    accuracy: float
    low80: float | None = None
    high80: float | None = None
    low95: float | None = None
    high95: float | None = None
    loss_low80: float | None = None
    loss_high80: float | None = None
    loss_low95: float | None = None
    loss_high95: float | None = None
    actual: float | None = None
    actual_loss: float | None = None
    flags: tuple[str, ...] = ()
    members: tuple[tuple[str, float], ...] = ()
    paper_accuracy: float | None = None

    @property
    def error_points(self) -> float | None:
        """Predicted minus actual accuracy, in percentage points."""
        return None if self.actual is None else 100 * (self.accuracy - self.actual)

    @property
    def loss_error_percent(self) -> float | None:
        """Predicted minus actual loss, in percent of the actual."""
        return None if self.actual_loss is None or self.loss is None else 100 * (self.loss / self.actual_loss - 1)

    @property
    def refused(self) -> bool:
        """The ladder cannot predict this task: `accuracy` is the last rung's."""
        return any(flag.startswith("not predictable") and flag.endswith("is shown") for flag in self.flags)

    def flagged(self, *flags: str) -> Prediction:
        return replace(self, flags=(*self.flags, *flags))

    def to_json(self) -> dict[str, Any]:
        names = ("task", "loss", "accuracy", "low80", "high80", "low95", "high95", "actual", "error_points")
        extra = ("loss_low80", "loss_high80", "loss_low95", "loss_high95", "actual_loss", "paper_accuracy")
        value = {name: getattr(self, name) for name in (*names, *extra)}
        return value | {"flags": list(self.flags), "members": dict(self.members)}


def mean_error(predictions: list[Prediction]) -> float | None:
    """Mean absolute error in points over the tasks with an actual value that were not refused."""
    errors = [abs(p.error_points) for p in predictions if p.error_points is not None and not p.refused]
    return sum(errors) / len(errors) if errors else None


def inside_intervals(predictions: list[Prediction]) -> tuple[int, int, int] | None:
    """How many actual accuracies lie in their 80% and 95% intervals, and of how many; None where there are none."""
    inside80, inside95, count = 0, 0, 0
    for p in predictions:
        if p.actual is not None and p.low80 is not None and p.high80 is not None:
            count += 1
            inside80 += p.low80 <= p.actual <= p.high80
            inside95 += (p.low95 or 0.0) <= p.actual <= (1.0 if p.high95 is None else p.high95)
    return (inside80, inside95, count) if count else None
