"""One task's way to the end of a run: the loss that carries it there, over the rungs and over the run in question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from predict.fitting.forms import SingleStep
from predict.measured.progress import Trace, trace
from predict.measured.runs import Run, accuracy_curve
from predict.measured.tasks import Task
from predict.methods.course import Course
from predict.methods.loss_fits import LossFit
from predict.methods.members import MemberName
from predict.methods.study import TaskStudy


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run's checkpoints of one task: its accuracy, and the loss of the member that carries it to the end."""

    accuracy: Trace
    loss: Trace
    n: float
    d: float

    @classmethod
    def of(cls, run: Run, d: float, task: Task, loss: Trace) -> Seen:
        return cls(accuracy=trace(accuracy_curve(run, task), d), loss=loss, n=run.n, d=d)


@dataclass(frozen=True, kw_only=True)
class TaskWay:
    """One task's way to its end: the course of a loss, its laws (None of -ln Q), and the member whose loss that is.

    `rungs` are the ladder's, `own` is the run that is followed.
    """

    study: TaskStudy
    member: MemberName
    loss: LossFit | None
    course: Course
    rungs: tuple[Seen, ...]
    own: Seen

    @cached_property
    def own_ends(self) -> np.ndarray:
        """The final loss that each of the run's checkpoints leads to."""
        own = self.own
        return self.course.drops.end(own.loss.values, own.loss.shares, own.n, own.d)

    def step2(self, fit: int = 0) -> Callable[[Any], Any]:
        """Accuracy from that loss."""
        form = self.study.fits[self.member].chain(fit).step2
        if isinstance(form, SingleStep):
            raise TypeError(f"member {self.member} has no step 2")
        return form

    def law(self, n: float, d: float, fit: int = 0) -> float:
        """The loss at the end, by the laws of that fit."""
        if self.loss:
            return float(self.loss.laws(n, d)[0][fit, 0])
        return float(self.study.fits[self.member].feature(np.array([n]), np.array([d]))[fit, 0])

    def ahead(self, shares: np.ndarray, n: float, d: float) -> np.ndarray:
        """The accuracy still to be gained at each share, by the law and the ladder's shape alone; NaN too early on."""
        end = self.law(n, d)
        step2 = self.step2()
        return np.asarray(step2(end)) - np.asarray(step2(self.course.drops.before(end, shares, n, d)))
