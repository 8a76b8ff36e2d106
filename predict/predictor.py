"""A ladder, a target and a method in; predictions out. The Python API behind the command line.

>>> from predict.predictor import predict_target
>>> predict_target.__name__
'predict_target'
"""

from __future__ import annotations

from collections.abc import Sequence

from ladder.errors import unknown
from ladder.rung import Target
from predict import paper
from predict.ladders import LadderData
from predict.prediction import Prediction
from predict.tasks import Task

METHODS = dict(paper.METHODS)


def predict_target(
    data: LadderData, target: Target, method: str = "paper", tasks: Sequence[str] = ()
) -> list[Prediction]:
    """Predictions of `method` for a target, beside its measured values where the ladder holds them.

    The target's own measurements never enter the fit.

    Raises:
        UserError: an unknown method or task, a feature that was not measured, too few rungs.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    data = data.below(target)
    return [_with_actual(data, target, law, method) for law in fit_laws(data, method, data.tasks(tasks))]


def fit_laws(data: LadderData, method: str, tasks: list[Task]) -> list[paper.TaskLaw]:
    runs = list(data.rungs)
    flops = [data.flops(run.n, run.d) for run in runs]
    return paper.fit(runs, flops, tasks, method, data.smoothing)


def _with_actual(data: LadderData, target: Target, law: paper.TaskLaw, method: str) -> Prediction:
    flops = data.flops(target.n, target.d)
    return Prediction(
        task=law.task.name,
        title=law.task.title,
        loss=law.loss(target.n, target.d, flops),
        accuracy=law.accuracy(target.n, target.d, flops),
        actual=data.actual(target, law.task, paper.smoothing_of(method, data.smoothing).window),
        actual_loss=actual_loss(data, target, law.task, method),
        flags=law.flags,
    )


def actual_loss(data: LadderData, target: Target, task: Task, method: str) -> float | None:
    """The method's feature as measured on the target: the mean of its last checkpoints."""
    run = data.at(target)
    metrics = {"paper-c4": "lm_loss", "paper-taskce": "rc_task_ce", "paper-single": ""}
    metric = metrics.get(method, "rc_bpb")
    measured = run is not None and (paper.C4 in run.lm_losses() if metric == "lm_loss" else run.has(task, metric))
    if run is None or not measured:
        return None
    return paper.feature(run, task, method).final(paper.smoothing_of(method, data.smoothing).final_checkpoints)
