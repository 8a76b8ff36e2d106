"""`python -m predict backtest`: how well this ladder would have predicted its own top rungs, by every method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ladder.errors import UserError
from ladder.rung import Target
from predict.measured.ladder import Measured
from predict.measured.tasks import Task
from predict.methods.base import Method
from predict.methods.ensemble import Ensemble
from predict.methods.intervals import quantile
from predict.methods.paper import PAPER
from predict.methods.study import Study, TaskStudy
from predict.show import command_line
from predict.show.plots import BLUE, COLOURS, GREY, INK, MARKERS, Plot, dot, label, legend, widen_left
from predict.show.tables import Row, Table, fixed, share, whole, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class MethodErrors:
    """Errors of one method in points, one array (cells,) per task of the study, in its order."""

    name: str
    errors: tuple[np.ndarray, ...]


def studied(data: Measured, wanted: Sequence[Task]) -> tuple[Study, list[TaskStudy]]:
    """The back-tests of a ladder, and of the tasks in it those that are wanted.

    Raises:
        UserError: the ladder holds no smaller one with a run beyond it.
    """
    fitted = Ensemble().fit(data, wanted)
    if not fitted.study.splits:
        raise UserError(
            f"{data.source}: {len(data.rungs)} rungs hold no smaller ladder of 5 runs with a dearer run beyond"
        )
    return fitted.study, fitted.asked


def method_errors(data: Measured, study: Study, tasks: Sequence[TaskStudy]) -> list[MethodErrors]:
    """The default method, its members, the paper's method where losses were measured, and the last fitted rung."""
    found = [MethodErrors(name="default", errors=tuple(100 * study.errors(task) for task in tasks))]
    if all(PAPER.can_fit(data, task.task) for task in tasks):
        errors = _refitted_errors(PAPER, data, study, tasks)
        found.append(MethodErrors(name=PAPER.name, errors=tuple(100 * values for values in errors)))
    names = [name for name in tasks[0].fits if all(name in task.fits for task in tasks)]
    found += [
        MethodErrors(name=name, errors=tuple(100 * study.errors(task, (name,)) for task in tasks)) for name in names
    ]
    return [*found, MethodErrors(name="last rung", errors=tuple(100 * _last_rung(study, task) for task in tasks))]


def _refitted_errors(method: Method, data: Measured, study: Study, tasks: Sequence[TaskStudy]) -> list[np.ndarray]:
    """Of a method that is fitted anew to every back-test; one array (cells,) per task."""
    errors = [np.zeros(len(task.cells)) for task in tasks]
    for i, split in enumerate(study.splits):
        smaller = replace(data, rungs=tuple(data.rungs[run] for run in split.train))
        fitted = method.quick().fit(smaller, [task.task for task in tasks])
        for held_out in split.test:
            run = data.rungs[held_out]
            predictions = fitted.predict(Target(name=run.name, n=run.n, d=run.d))
            for p, task, cells in zip(predictions, tasks, errors, strict=True):
                cell = (task.cells[:, 0] == i) & (task.cells[:, 1] == held_out)
                cells[cell] = p.accuracy.value - task.actual[cell]
    return errors


def _last_rung(study: Study, task: TaskStudy) -> np.ndarray:
    compute = task.points.n * task.points.d
    last = [max(split.train, key=lambda run: compute[run]) for split in study.splits]
    return task.points.accuracy[[last[split] for split in task.cells[:, 0]]] - task.actual


def split_table(study: Study, tasks: Sequence[TaskStudy], methods: Sequence[MethodErrors]) -> Table:
    """A row per split: mean |error| by method, and coverage with factors calibrated on the other splits."""
    covered = coverage(study, tasks)
    rows: list[Row] = []
    sums = []
    for i, split in enumerate(study.splits):
        means = [_mean([np.abs(e[t.cells[:, 0] == i]) for e, t in zip(m.errors, tasks, strict=True)]) for m in methods]
        cover = () if covered is None else tuple(covered[i])
        sums.append((*means, *cover))
        rows.append((split.name, len(split.train), len(split.test), *_cells(means, cover)))
    weights = [len(split.test) for split in study.splits]
    columns = np.array(sums).T
    total = np.average(columns[len(methods) :], axis=1, weights=weights)
    rows.append(("mean", None, None, *_cells(columns[: len(methods)].mean(axis=1), list(total))))
    return Table(
        title=f"Back-tests: mean error in points over {len(tasks)} tasks, by what was fitted",
        columns=(
            words("fitted on"),
            whole("runs"),
            whole("held out"),
            *(fixed(method.name, 2, "points") for method in methods),
            share("in 80%"),
            share("in 95%"),
        ),
        rows=tuple(rows),
        notes=(
            "in 80%, in 95%: held-out accuracies inside the default method's intervals, scaled on the other splits",
        ),
    )


def _cells(means: Iterable[float], cover: Sequence[float]) -> Row:
    return (*means, *(cover if len(cover) else (None, None)))


def task_table(study: Study, tasks: Sequence[TaskStudy], methods: Sequence[MethodErrors]) -> Table:
    """A row per task: mean |error| by method over all cells, the bias of the default, the rank correlation."""
    rows: list[Row] = [
        (
            task.task.title,
            *(float(np.abs(method.errors[i]).mean()) for method in methods),
            float(methods[0].errors[i].mean()),
            task.verdict.correlation,
        )
        for i, task in enumerate(tasks)
    ]
    return Table(
        title="Back-tests by task (points)",
        columns=(
            words("task"),
            *(fixed(method.name, 2, "points") for method in methods),
            fixed("bias", 2, "points", signed=True),
            fixed("follows scale", 2),
        ),
        rows=tuple(rows),
        notes=("bias: mean signed error of the default method; follows scale: rank correlation of accuracy with it",),
    )


def coverage(study: Study, tasks: Sequence[TaskStudy]) -> np.ndarray | None:
    """(splits, 2): share of cells inside the 80% and 95% intervals whose factors come from the other splits."""
    if len(study.splits) < 2:
        return None
    splits = np.concatenate([task.cells[:, 0] for task in tasks])
    ratios = np.concatenate([np.abs(study.errors(task)) / study.deviations(task) for task in tasks])
    found = []
    for i in range(len(study.splits)):
        inside, others = ratios[splits == i], ratios[splits != i]
        found.append([(inside <= quantile(others, level)).mean() for level in (0.8, 0.95)])
    return np.array(found)


def _mean(parts: Sequence[np.ndarray]) -> float:
    return float(np.concatenate(parts).mean())


def backtest_plot(study: Study, tasks: Sequence[TaskStudy], methods: Sequence[MethodErrors]) -> Plot:
    """Mean error by split and method; predicted against actual accuracy of every held-out run; what the marks mean."""
    names = [split.name for split in study.splits]
    plot = Plot(3, "Back-tests: smaller ladders predict the larger runs", height=max(3.4, 0.3 * len(names) + 1.4))
    errors, against, key = plot.axes
    looks = {
        method.name: (("X", GREY) if method.name == "last rung" else (MARKERS[i], COLOURS[i % len(COLOURS)]))
        for i, method in enumerate(methods)
    }
    for method in reversed(methods):  # the first is the method that predicts: on top
        means = [
            np.concatenate([np.abs(e[t.cells[:, 0] == i]) for e, t in zip(method.errors, tasks, strict=True)]).mean()
            for i in range(len(names))
        ]
        marker, colour = looks[method.name]
        size = 8 if method is methods[0] else 5
        errors.plot(means, range(len(names)), marker, color=colour, markersize=size, mew=0, alpha=0.9)
    errors.set_yticks(range(len(names)), names)
    errors.set_ylim(len(names) - 0.5, -0.5)
    errors.set_xlim(left=0)
    moved = widen_left(errors)
    label(errors, "Error by what was fitted", "mean over tasks and held-out runs", "mean error, points", "", moved)
    _predicted_against_actual(against, study, tasks)
    handles = [dot(marker, colour, name) for name, (marker, colour) in looks.items()]
    legend(key, [*handles, dot("o", BLUE, "held-out run of a task,\nwith its 80% interval", markeredgecolor="white")])
    return plot


def _predicted_against_actual(axis: Axes, study: Study, tasks: Sequence[TaskStudy]) -> None:
    factor = study.calibration.accuracy80
    for task in tasks:
        actual, predicted = 100 * task.actual, 100 * (task.actual + study.errors(task))
        bars = 100 * factor * study.deviations(task)
        axis.errorbar(actual, predicted, yerr=bars, fmt="o", markersize=2.5, color=BLUE, elinewidth=0.6, alpha=0.5)
    low, high = axis.get_xlim()
    axis.plot([low, high], [low, high], color=INK, linewidth=0.8)
    label(
        axis, "Predicted against measured", "every held-out run of every task", "measured accuracy, %", "predicted, %"
    )


def main(argv: list[str]) -> None:
    options = command_line.parser("backtest", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_format(options)
    command_line.add_plot(options)
    known, overrides = command_line.parse(options, argv)
    data = command_line.data_of(known, overrides)
    study, tasks = studied(data, data.tasks(known.tasks))
    methods = method_errors(data, study, tasks)
    command_line.show(known.form, split_table(study, tasks, methods), task_table(study, tasks, methods))
    if known.plot:
        backtest_plot(study, tasks, methods).save(known.plot)
