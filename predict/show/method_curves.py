"""What each method's fit looks like as curves, and its formulas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ladder.rungs.rung import Target
from predict.fitting.forms import Decay, PowerLaw
from predict.measured.ladder import Measured
from predict.measured.loss_tasks import LossMetric
from predict.measured.points import Cloud, TaskPoints, common_lm_losses
from predict.measured.runs import accuracy_curve
from predict.methods.base import Fitted
from predict.methods.ensemble import EnsembleLaw, FittedEnsemble, TaskLoss
from predict.methods.members import LOSS_METRICS
from predict.methods.paper import TASK_LOSS, FittedPaper, TaskLaw
from predict.methods.study import TaskStudy
from predict.show.curves import DrawnChain, OfSize, TaskCurves
from predict.show.tables import Row, Table, code, flags, words
from predict.show.verdicts import note_texts

LM_LOSS = "LM loss, nats per token"


def curves_of(fitted: Fitted, measured: Measured) -> list[TaskCurves]:
    """One a task; `measured` may hold the targets' measurements. None for a method that says nothing of its curves."""
    if isinstance(fitted, FittedEnsemble):
        return _ensemble_curves(fitted, measured)
    return _paper_curves(fitted, measured) if isinstance(fitted, FittedPaper) else []


def _paper_curves(fitted: FittedPaper, measured: Measured) -> list[TaskCurves]:
    """The steps of a method of the paper are the whole of it."""
    count, rungs = fitted.measured.smoothing.window, fitted.measured.rungs
    return [
        TaskCurves(
            title=law.task.title,
            accuracy=_over_arrays(law.accuracy),
            finals=np.array([accuracy_curve(run, law.task).final(count) for run in rungs]),
            chains=() if law.chain.step1 is None else (_paper_chain(fitted, law, measured),),
        )
        for law in fitted.laws
    ]


def _paper_chain(fitted: FittedPaper, law: TaskLaw, measured: Measured) -> DrawnChain:
    return DrawnChain(
        name="",
        feature=fitted.label,
        title=law.task.title,
        step1=_over_arrays(law.loss),
        step2=law.chain.step2,  # type: ignore[arg-type]
        finals=fitted.finals(law.task),
        clouds=fitted.pairs(law.task),
        actual=lambda target: fitted.method.actual(measured, target, law.task).loss,
        shared=bool(fitted.method.feature and fitted.method.feature.corpus),
    )


def _over_arrays(law: Callable[[Any, Any], Any]) -> OfSize:
    """The FLOPs of a ladder's shapes are known one (N, D) at a time."""
    return np.vectorize(law, otypes=[float])


def _ensemble_curves(fitted: FittedEnsemble, measured: Measured) -> list[TaskCurves]:
    """The blend of curves and members, and the steps of those members that have a loss."""
    return [
        TaskCurves(
            title=law.task.title,
            accuracy=law.accuracy,
            finals=study.points.accuracy,
            chains=tuple(_member_chains(study, law, measured)),
        )
        for law, study in zip(fitted.laws, fitted.asked, strict=True)
    ]


def _member_chains(study: TaskStudy, law: EnsembleLaw, measured: Measured) -> list[DrawnChain]:
    points = study.points
    features = {"rc_bpb": (points.loss, points.loss_cloud), "lm_loss": (points.lm, points.lm_cloud)}
    chains = []
    for name, chain in law.members.items():
        metric = LOSS_METRICS.get(name)
        finals, cloud = features[metric] if metric else (None, None)
        if metric is None or finals is None or cloud is None:
            continue
        drawn = DrawnChain(
            name=name,
            feature=LM_LOSS if metric == "lm_loss" else TASK_LOSS.label,
            title=law.task.title,
            step1=_predicted_loss(law, points, finals, metric),
            step2=chain.step2,  # type: ignore[arg-type]
            finals=finals,
            clouds=_by_run(cloud, len(finals)),
            actual=partial(_member_actual, law, metric, measured),
            shared=metric == "lm_loss",
        )
        chains.append(drawn)
    return chains


def _predicted_loss(law: EnsembleLaw, points: TaskPoints, finals: np.ndarray, metric: LossMetric) -> TaskLoss:
    """The laws by which that loss is predicted wherever it is: the task's, or those of running text beside them."""
    if law.loss and law.loss.metric == metric:
        return law.loss
    return TaskLoss.of(points.n, points.d, finals, of_text=metric == "lm_loss")


def _by_run(cloud: Cloud, runs: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(cloud.x[cloud.run == i], cloud.accuracy[cloud.run == i]) for i in range(runs)]


def _member_actual(law: EnsembleLaw, metric: LossMetric, measured: Measured, target: Target) -> float | None:
    """A member's feature as measured on the target, the mean of its last checkpoints."""
    run, count = measured.at(target), measured.smoothing.final_checkpoints
    if run is None:
        return None
    if metric != "lm_loss":
        return TASK_LOSS.curve(run, law.task).final(count) if TASK_LOSS.measured(run, law.task) else None
    names = common_lm_losses(measured.rungs)
    return run.lm_loss(names).final(count) if {*names} <= {*run.lm_losses()} else None


def formulas(fitted: Fitted) -> Table:
    """A row per task, or per task and member of an average."""
    rows: list[Row] = []
    if isinstance(fitted, FittedPaper):
        for law in fitted.laws:
            first = law.chain.step1.formula() if law.chain.step1 else None
            rows.append((law.task.title, None, first, law.chain.step2.formula(), note_texts(law.notes)))
    if isinstance(fitted, FittedEnsemble):
        for one in fitted.laws:
            if one.loss:
                rows.append((one.task.title, "loss", one.loss.laws.formula(), None, ()))
            rows.append((one.task.title, "curves", None, one.curve.formula(), ()))
            for name, chain in one.members.items():
                first = _step1_formula(chain.step1, chain.step2)
                rows.append((one.task.title, name, first, chain.step2.formula(), ()))
    columns = (words("task"), words("member"), code("step 1"), code("step 2"), flags())
    return Table(title="", columns=columns, rows=tuple(rows)).without_empty_columns()


def _step1_formula(step1: Any, step2: Any) -> str | None:
    if isinstance(step2, Decay) and isinstance(step1, PowerLaw):
        return step1.formula("z")
    return step1.formula() if step1 else None
