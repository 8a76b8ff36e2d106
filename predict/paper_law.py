"""The two steps of one task as fitted by a method of the paper."""

from __future__ import annotations

from dataclasses import dataclass

from predict.fitting.forms import ComputeLaw, LogSigmoid, PowerLaw, Sigmoid, SingleStep
from predict.measured.tasks import Task
from predict.methods.base import Estimate, Prediction, Verdict
from predict.notes import Note


@dataclass(frozen=True, kw_only=True)
class TaskLaw:
    """The fitted laws of one task. `step1` is absent where accuracy is fitted in a single step."""

    task: Task
    step1: PowerLaw | ComputeLaw | None
    step2: Sigmoid | LogSigmoid | SingleStep
    verdict: Verdict
    notes: tuple[Note, ...] = ()

    def loss(self, n: float, d: float, flops: float) -> float | None:
        """The predicted feature at N, D; `flops` is what the run takes to train, for a law in FLOPs."""
        if self.step1 is None:
            return None
        return float(self.step1(flops) if isinstance(self.step1, ComputeLaw) else self.step1(n, d))

    def accuracy(self, n: float, d: float, flops: float) -> float:
        if isinstance(self.step2, SingleStep):
            return float(self.step2(n, d))
        return float(self.step2(self.loss(n, d, flops)))

    def predict(self, n: float, d: float, flops: float) -> Prediction:
        """Without intervals: the method has none that hold."""
        loss = self.loss(n, d, flops)
        return Prediction(
            task=self.task.name,
            title=self.task.title,
            accuracy=Estimate(value=self.accuracy(n, d, flops)),
            loss=None if loss is None else Estimate(value=loss),
            verdict=self.verdict,
            notes=self.notes,
        )
