"""From (N, D) to accuracy by way of a feature such as the task loss: the two steps of one fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from predict.fitting.forms import AccuracyForm, ComputeLaw, Decay, FeatureForm, SingleStep


@dataclass(frozen=True, kw_only=True)
class Chain:
    """`step1` gives the feature, `step2` accuracy in [0, 1] from it. Without `step1`, `step2` is a `SingleStep`.

    N, D and the training FLOPs (used by a `ComputeLaw` alone) are numbers or arrays that broadcast.
    """

    step1: FeatureForm | None
    step2: AccuracyForm

    def __post_init__(self) -> None:
        if (self.step1 is None) is not isinstance(self.step2, SingleStep):
            raise ValueError("step 1 is left out where step 2 is a SingleStep, and only there")

    def feature(self, n: Any, d: Any, flops: Any = None) -> Any:
        """What `step2` takes; None in a single step."""
        if self.step1 is None:
            return None
        return self.step1(flops) if isinstance(self.step1, ComputeLaw) else self.step1(n, d)

    def loss(self, n: Any, d: Any, flops: Any = None) -> Any:
        """The feature where it is a loss, else None."""
        return None if isinstance(self.step2, Decay) else self.feature(n, d, flops)

    def accuracy(self, n: Any, d: Any, flops: Any = None) -> Any:
        if isinstance(self.step2, SingleStep):
            return self.step2(n, d)
        return self.step2(self.feature(n, d, flops))
