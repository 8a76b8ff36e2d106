"""A ladder, a target and a method in; predictions out. The Python API behind the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ladder.errors import unknown
from ladder.rung import Target
from predict import paper
from predict.ensemble import Study, TaskStudy, laws_of, study_ladder, subset_errors
from predict.ensemble_law import interval_notes
from predict.measured.ladder import Measured
from predict.measured.tasks import LEFT_OUT, Task
from predict.methods.base import Prediction
from predict.notes import Note, note
from predict.paper_law import TaskLaw

DEFAULT = "default"
METHODS = {DEFAULT: "mean of three ways to accuracy, with intervals, calibrated by back-tests"} | paper.METHODS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Predictions, and notes on what they rest on."""

    predictions: list[Prediction]
    notes: list[Note]


def predict_target(
    data: Measured, target: Target, method: str = DEFAULT, tasks: Sequence[str] = ()
) -> list[Prediction]:
    """Predictions of `method` for a target, beside its measured values where the ladder holds them.

    The target's own measurements never enter the fit.

    Raises:
        UserError: an unknown method or task, a feature that was not measured, too few rungs.
    """
    return predict_with_notes(data, target, method, tasks).predictions


def predict_with_notes(data: Measured, target: Target, method: str, tasks: Sequence[str] = ()) -> Outcome:
    """As `predict_target`, with notes."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    fitted = data.below(target)
    wanted = fitted.tasks(tasks)
    share = sum(run.compute for run in fitted.rungs) / target.flops_6nd
    notes = [note("fitted-on", runs=len(fitted.rungs), source=fitted.source, share=share)]
    if method == DEFAULT:
        study = study_ladder(fitted, calibration_tasks(fitted, wanted))
        laws = {law.task.name: law for law in laws_of(study)}
        found = [laws[task.name].predict(target.n, target.d, study.calibration, study.top) for task in wanted]
        notes += study_notes(study, target, [task.name for task in wanted])
    else:
        flops = fitted.flops(target.n, target.d)
        laws_of_method = fit_laws(fitted, method, wanted)
        found = [law.predict(target.n, target.d, flops) for law in laws_of_method]
    measured = [with_actual(data, target, p, task, method) for p, task in zip(found, wanted, strict=True)]
    return Outcome(predictions=measured, notes=[*notes, *fitted.warnings()])


def beside_paper(data: Measured, target: Target, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions with what the paper's method says, for tasks whose loss was measured."""
    fitted = data.below(target)
    tasks = [task for task in fitted.tasks([p.task for p in predictions]) if fitted.everywhere(task, "rc_bpb")]
    laws = {law.task.name: law for law in fit_laws(fitted, "paper", tasks)}
    flops = fitted.flops(target.n, target.d)
    return [
        replace(p, paper_accuracy=laws[p.task].accuracy(target.n, target.d, flops)) if p.task in laws else p
        for p in predictions
    ]


def calibration_tasks(data: Measured, wanted: Sequence[Task]) -> list[Task]:
    """Every task of the ladder, so that intervals do not depend on which tasks are asked for."""
    names = {task for task, _ in data.measured}
    everything = data.tasks() + data.tasks([name for name in LEFT_OUT if name in names])
    tasks = {task.name: task for task in everything}
    return list((tasks | {task.name: task for task in wanted}).values())


def study_notes(study: Study, target: Target, wanted: Sequence[str]) -> list[Note]:
    """Which members took part and why, and what the intervals rest on."""
    return [_members_note(study, wanted), *interval_notes(study.calibration, study.top, target.n, target.d)]


def _members_note(study: Study, wanted: Sequence[str]) -> Note:
    if not study.splits:
        return note("members-untested", names=study.members)
    errors = {
        subset: 100 * float(values.mean()) for subset, values in subset_errors(_predictable(study, wanted)).items()
    }
    if study.members not in errors:
        return note("members-apart", names=study.members)
    alone = {subset[0]: error for subset, error in errors.items() if len(subset) == 1}
    return note("members", names=study.members, splits=len(study.splits), error=errors[study.members], alone=alone)


def _predictable(study: Study, wanted: Sequence[str]) -> list[TaskStudy]:
    return [one for one in study.tasks if one.task.name in wanted and not one.refused and len(one.cells)]


def fit_laws(data: Measured, method: str, tasks: list[Task]) -> list[TaskLaw]:
    """The laws of a method of the paper."""
    runs = list(data.rungs)
    flops = [data.flops(run.n, run.d) for run in runs]
    return paper.fit(runs, flops, tasks, method, data.smoothing)


def with_actual(data: Measured, target: Target, prediction: Prediction, task: Task, method: str) -> Prediction:
    """The prediction beside what was measured on the target, if it was."""
    count = paper.smoothing_of(method, data.smoothing).window
    return replace(
        prediction,
        actual=data.actual(target, task, count),
        actual_loss=actual_loss(data, target, task, method),
    )


def actual_loss(data: Measured, target: Target, task: Task, method: str) -> float | None:
    """The method's feature as measured on the target: the mean of its last checkpoints."""
    run = data.at(target)
    metrics = {"paper-c4": "lm_loss", "paper-taskce": "rc_task_ce", "paper-single": ""}
    metric = metrics.get(method, "rc_bpb")
    if method == DEFAULT and not data.everywhere(task, metric):
        return None  # the predicted loss is a language-modelling loss then
    measured = run is not None and (paper.C4 in run.lm_losses() if metric == "lm_loss" else run.has(task, metric))
    if run is None or not measured:
        return None
    return paper.feature(run, task, method).final(paper.smoothing_of(method, data.smoothing).final_checkpoints)
