"""The paper's method and its variants: which feature stands between (N, D) and accuracy, and how each is fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ladder.errors import UserError
from predict.fitting.forms import PowerLaw
from predict.fitting.step1 import fit_compute_law, fit_power_law, fit_power_law_from_many, fit_single_step
from predict.fitting.step2 import fit_log_sigmoid, fit_sigmoid
from predict.measured.points import task_points
from predict.measured.runs import Curve, Run, Smoothing, accuracy_curve, paired
from predict.measured.tasks import Task
from predict.methods.gate import judge
from predict.notes import Note, warning
from predict.paper_law import TaskLaw

C4 = "c4_en"

METHODS = {
    "paper": "N, D to task loss to accuracy (section 3)",
    "paper-flops": "training FLOPs to task loss to accuracy (section 6.1)",
    "paper-taskce": "N, D to task cross-entropy over all choices to accuracy (section 6.2, appendix C.2)",
    "paper-c4": "N, D to C4 loss to accuracy (section 6.3)",
    "paper-single": "N, D to accuracy in a single step (section 6.4)",
}


def smoothing_of(method: str, smoothing: Smoothing) -> Smoothing:
    """Task cross-entropy is linear in accuracy only late in training: its last half, unsmoothed (appendix C.2)."""
    if method == "paper-taskce":
        return replace(smoothing, final_checkpoints=1, window=1, skip_fraction=0.5)
    return smoothing


def feature(run: Run, task: Task, method: str) -> Curve:
    """The curve of the method's feature. Raises UserError where the run lacks it, naming what is missing."""
    try:
        if method == "paper-c4":
            return run.lm_loss([C4])
        return run.curve(task, "rc_task_ce" if method == "paper-taskce" else "rc_bpb")
    except KeyError:
        metric = {"paper-c4": f"{C4} loss", "paper-taskce": "rc_task_ce"}.get(method, "rc_bpb (task loss)")
        raise UserError(
            f"run {run.name} has no {metric} for {task.name}, which method {method} needs; "
            f"leave the task out with --tasks, or choose another method"
        ) from None


def step1_points(runs: list[Run], task: Task, method: str, smoothing: Smoothing) -> np.ndarray:
    """The mean of each run's last checkpoints of the feature, shape (runs,)."""
    count = smoothing_of(method, smoothing).final_checkpoints
    return np.array([feature(run, task, method).final(count) for run in runs])


def step2_points(runs: list[Run], task: Task, method: str, smoothing: Smoothing) -> list[tuple[np.ndarray, np.ndarray]]:
    """(feature, accuracy) over each run's checkpoints, smoothed."""
    smoothing = smoothing_of(method, smoothing)
    return [paired(feature(run, task, method), accuracy_curve(run, task), smoothing) for run in runs]


def fit(
    runs: list[Run],
    flops: list[float],
    tasks: list[Task],
    method: str,
    smoothing: Smoothing,
    *,
    many_starts: bool = True,
) -> list[TaskLaw]:
    """The laws of each task; `flops` are the training FLOPs of each run.

    With `many_starts` step 1 is fitted from other starts too, and flagged where they disagree.
    """
    return [fit_task(runs, flops, task, method, smoothing, many_starts=many_starts) for task in tasks]


def fit_task(
    runs: list[Run], flops: list[float], task: Task, method: str, smoothing: Smoothing, *, many_starts: bool = True
) -> TaskLaw:
    n, d = np.array([run.n for run in runs]), np.array([run.d for run in runs])
    verdict = judge(task_points(runs, task, smoothing))
    if method == "paper-single":
        final = np.array([accuracy_curve(run, task).final(smoothing.final_checkpoints) for run in runs])
        return TaskLaw(task=task, step1=None, step2=fit_single_step(n, d, final, task.chance), verdict=verdict)
    losses = step1_points(runs, task, method, smoothing)
    pairs = step2_points(runs, task, method, smoothing)
    x, y = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
    step2 = fit_log_sigmoid(x, y) if method == "paper-taskce" else fit_sigmoid(x, y, task.chance)
    if method == "paper-flops":
        return TaskLaw(task=task, step1=fit_compute_law(np.array(flops), losses), step2=step2, verdict=verdict)
    if not many_starts:
        return TaskLaw(task=task, step1=fit_power_law(n, d, losses)[0], step2=step2, verdict=verdict)
    law, objective, best, lowest = fit_power_law_from_many(n, d, losses)
    notes = (*_bound_notes(law), *_start_notes(law, objective, best, lowest, 10 * n.max(), 10 * d.max()))
    return TaskLaw(task=task, step1=law, step2=step2, verdict=verdict, notes=notes)


def _bound_notes(law: PowerLaw) -> list[Note]:
    """Coefficients that the fit pushed against their bounds: the ladder does not determine them."""
    lowest = {"A": 1.0, "alpha": 0.0, "B": 1.0, "beta": 0.0, "E": 0.0}
    at = [name for name, bound in lowest.items() if getattr(law, name) <= bound + 1e-6]
    return [warning("at-bound", coefficients=at)] if at else []


def _start_notes(law: PowerLaw, objective: float, best: PowerLaw, lowest: float, n: float, d: float) -> list[Note]:
    """Whether another start reaches a better optimum, and how far from it the law is at (n, d)."""
    if lowest > 0.99 * objective:
        return []
    shift = float(best(n, d) / law(n, d) - 1)
    return [warning("starts-disagree", lower=1 - lowest / objective, shift=shift)]
