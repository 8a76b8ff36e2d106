"""All fits that the paper's tables and figures need, made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ladder.config.config_files import load_target
from ladder.errors import UserError
from ladder.rungs.rung import Target
from predict.analyses.compute import AXES, Step, compute_errors
from predict.fitting.forms import Sigmoid
from predict.fitting.step2 import fit_sigmoid
from predict.measured.ladder import Measured
from predict.measured.runs import Curve, Run, paired, trailing_mean
from predict.measured.tasks import EIGHT, LEFT_OUT, Task
from predict.methods.base import Prediction, beside_actuals
from predict.methods.paper import VARIANTS, FittedPaper, TaskLaw

# Appendix B.2: the part of each target's own training on which the step to multiple-choice accuracy is fitted.
MC_STEPS = {"7B-4T": ("peteish7", 170_000, 450_000), "13B-5T": ("peteish13", 50_000, 150_000)}
TARGETS = ("7B-4T", "13B-5T")
COMPUTE_FIGURES = {"flops": 6, "size": 7, "multiple": 8}  # by what a smaller ladder has less of


@dataclass(frozen=True)
class PaperStudy:
    """AI2's ladder with its reruns and targets, and the methods' fits and predictions on it."""

    measured: Measured

    def __post_init__(self) -> None:
        for target in self.targets:
            if self.measured.at(target) is None:
                raise UserError(
                    f"{self.measured.source} holds no measurements of {target.name}; the tables need AI2's files"
                )

    @cached_property
    def targets(self) -> list[Target]:
        return [load_target(name) for name in TARGETS]

    @cached_property
    def tasks(self) -> list[Task]:
        return self.measured.tasks(EIGHT)

    @cached_property
    def ten_tasks(self) -> list[Task]:
        return self.tasks + self.measured.tasks(LEFT_OUT)

    @cached_property
    def fitted(self) -> dict[str, FittedPaper]:
        """The paper's method and its variants by name, fitted to the 8 tasks."""
        return {method.name: method.fit(self.measured, self.tasks) for method in VARIANTS}

    @cached_property
    def predictions(self) -> dict[tuple[str, str], list[Prediction]]:
        """(method, target name) -> predictions of the 8 tasks."""
        return {
            (name, target.name): beside_actuals(fitted.method, fitted, self.measured, target)
            for name, fitted in self.fitted.items()
            for target in self.targets
        }

    @cached_property
    def _compute(self) -> dict[str, list[Step]]:
        target = self.targets[0]
        return {axis: compute_errors(self.measured, target, self.tasks, axis, "paper") for axis in AXES}

    def compute(self, axis: str) -> list[Step]:
        """Errors at the 7B target for smaller ladders (section 5.2)."""
        return self._compute[axis]

    def shown(self, method: str) -> list[tuple[Target, list[Prediction]]]:
        return [(target, self.predictions[method, target.name]) for target in self.targets]

    def step2_error(self, law: TaskLaw, prediction: Prediction) -> float:
        """Signed relative error of accuracy from the actual loss, in percent."""
        if prediction.actual is None or prediction.actual_loss is None:
            raise UserError(f"{prediction.task} was not measured at the target")
        return 100 * (float(law.chain.step2(prediction.actual_loss)) / prediction.actual - 1)  # type: ignore[call-arg]


@dataclass(frozen=True, kw_only=True)
class MultipleChoice:
    """Accuracy in the multiple-choice format from task loss (appendix B.2), for one target and task."""

    target: Target
    task: Task
    law: Sigmoid
    loss: np.ndarray
    accuracy: np.ndarray
    actual_loss: float
    actual: float
    chained: float

    @property
    def step2_error(self) -> float:
        return 100 * (float(self.law(self.actual_loss)) / self.actual - 1)


def multiple_choice(study: PaperStudy, tasks: Sequence[Task]) -> list[MultipleChoice]:
    """The fits of appendix B.2: a sigmoid per target, on checkpoints from the middle of its own training."""
    fits = []
    window = study.measured.smoothing.window
    for target in study.targets:
        name, first, last = MC_STEPS[target.name]
        run = next((run for run in study.measured.runs if run.name == name), None)
        final = study.measured.at(target)
        if run is None or final is None:
            raise UserError(f"{study.measured.source} holds no run {name}, which the multiple-choice fit needs")
        laws = {law.task.name: law for law in study.fitted["paper"].laws}
        for task in tasks:
            loss, accuracy = _between(run, task, first, last)
            x, y = paired(run, loss, accuracy, replace(study.measured.smoothing, skip_fraction=0.0))
            low, high = task.chance - 1.0, task.chance - 0.999
            bounds = ((low, 0.0, 0.0, 0.999), (high, np.inf, np.inf, 1.0))
            law = fit_sigmoid(x, y, task.chance, bounds=bounds)
            actual = trailing_mean(final.curve(task, "mc_acc").values, window)[-1]
            predicted = laws[task.name].loss(target.n, target.d)
            fits.append(
                MultipleChoice(
                    target=target,
                    task=task,
                    law=law,
                    loss=x,
                    accuracy=y,
                    actual_loss=final.curve(task, "rc_bpb").final(window),
                    actual=float(actual),
                    chained=float(law(predicted)),
                )
            )
    return fits


def _between(run: Run, task: Task, first: int, last: int) -> tuple[Curve, Curve]:
    loss, accuracy = run.curve(task, "rc_bpb"), run.curve(task, "mc_acc")
    loss, accuracy = (curve.where((curve.steps >= first) & (curve.steps <= last)) for curve in (loss, accuracy))
    return loss, accuracy
