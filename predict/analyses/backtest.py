"""`python -m predict backtest`: how well this ladder would have predicted its own top rungs, by every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ladder.errors import UserError
from ladder.rungs.rung import Target
from ladder.words import count_of
from predict.analyses.loss_backtest import loss_backtest_table
from predict.measured.ladder import Measured
from predict.measured.loss_tasks import LossTask
from predict.measured.tasks import Task
from predict.methods.base import Estimate, Method
from predict.methods.ensemble import Ensemble
from predict.methods.losses import fit_losses
from predict.methods.paper import PAPER
from predict.methods.study import Study, TaskStudy
from predict.show import command_line
from predict.show.plots import BLUE, INK, Plot, dot, label, legend, method_looks, widen_left
from predict.show.tables import Row, Table, fixed, share, whole, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LAST_RUNG = "last rung"  # taken for the answer: what a method has to beat


@dataclass(frozen=True, kw_only=True)
class MethodErrors:
    """Errors of one method in points, one array (cells,) per task of the study, in its order.

    `halves` are the half-widths of its 80% and 95% intervals in points, (cells, 2) per task; empty where it has none.
    """

    name: str
    errors: tuple[np.ndarray, ...]
    halves: tuple[np.ndarray, ...] = ()

    def of(self, places: Sequence[int]) -> MethodErrors:
        """On some of the tasks."""
        halves = tuple(self.halves[i] for i in places) if self.halves else ()
        return replace(self, errors=tuple(self.errors[i] for i in places), halves=halves)


def studied(measured: Measured, tasks: Sequence[Task]) -> tuple[Study, list[TaskStudy]]:
    """The back-tests of a ladder on all its tasks, and those on `tasks`.

    Raises:
        UserError: the ladder holds no smaller one with a run beyond it.
    """
    fitted = Ensemble().fit(measured, tasks)
    if not fitted.study.splits:
        raise _no_splits(measured)
    return fitted.study, fitted.asked


def method_errors(measured: Measured, study: Study, tasks: Sequence[TaskStudy]) -> list[MethodErrors]:
    """The default method, its members, the paper's method where losses were measured, and the last fitted rung."""
    methods = [_refitted(Ensemble(), measured, study, tasks)]
    if all(PAPER.can_fit(measured, task.task) for task in tasks):
        methods.append(_refitted(PAPER, measured, study, tasks))
    names = [name for name in tasks[0].fits if all(name in task.fits for task in tasks)]
    methods += [MethodErrors(name=name, errors=tuple(100 * task.errors((name,)) for task in tasks)) for name in names]
    return [*methods, MethodErrors(name=LAST_RUNG, errors=tuple(100 * _last_rung(study, task) for task in tasks))]


def _refitted(method: Method, measured: Measured, study: Study, tasks: Sequence[TaskStudy]) -> MethodErrors:
    """Of a method that is fitted anew to every back-test."""
    answers: dict[tuple[int, int], list[Estimate]] = {}
    for i, split in enumerate(study.splits):
        smaller = replace(measured, rungs=tuple(measured.rungs[run] for run in split.train))
        fitted = method.quick().fit(smaller, [task.task for task in tasks])
        for held_out in split.test:
            run = measured.rungs[held_out]
            answers[i, held_out] = [p.accuracy for p in fitted.predict(Target(name=run.name, n=run.n, d=run.d))]
    by_task = [[answers[i, run][t] for i, run in task.cells.tolist()] for t, task in enumerate(tasks)]
    values = [np.array([one.value for one in estimates]) for estimates in by_task]
    return MethodErrors(
        name=method.name,
        errors=tuple(100 * (value - task.actual) for value, task in zip(values, tasks, strict=True)),
        halves=tuple(_halves(estimates) for estimates in by_task) if by_task[0][0].interval80 else (),
    )


def _halves(estimates: Sequence[Estimate]) -> np.ndarray:
    """(cells, 2) in points, on the longer side where an interval ends at 0 or 1."""
    return 100 * np.array(
        [
            [max(i.high - one.value, one.value - i.low) for i in (one.interval80, one.interval95) if i]
            for one in estimates
        ]
    )


def _last_rung(study: Study, task: TaskStudy) -> np.ndarray:
    compute = task.points.n * task.points.d
    last = [max(split.train, key=lambda run: compute[run]) for split in study.splits]
    return task.points.accuracy[[last[split] for split in task.cells[:, 0]]] - task.actual


def with_trend(
    tasks: Sequence[TaskStudy], methods: Sequence[MethodErrors]
) -> tuple[list[TaskStudy], list[MethodErrors]]:
    """The tasks that follow scale, if any does: means over others say nothing of a method."""
    kept = [i for i, task in enumerate(tasks) if not task.verdict.trendless] or list(range(len(tasks)))
    return [tasks[i] for i in kept], [method.of(kept) for method in methods]


def split_table(study: Study, tasks: Sequence[TaskStudy], methods: Sequence[MethodErrors]) -> Table:
    """A row per split: mean |error| by method, and the coverage of the first one's intervals."""
    tasks, methods = with_trend(tasks, methods)
    rows: list[Row] = []
    sums = []
    for i, split in enumerate(study.splits):
        means = [_mean([np.abs(e[t.cells[:, 0] == i]) for e, t in zip(m.errors, tasks, strict=True)]) for m in methods]
        sums.append((*means, *coverage(tasks, methods[0], i)))
        rows.append((split.name, len(split.train), len(split.test), *sums[-1]))
    weights = [len(split.test) for split in study.splits]
    columns = np.array(sums).T
    total = np.average(columns[len(methods) :], axis=1, weights=weights)
    rows.append(("mean", None, None, *columns[: len(methods)].mean(axis=1), *total))
    return Table(
        title=f"Back-tests: mean error in points over {count_of(len(tasks), 'task')}, by what was fitted",
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
            f"in 80%, in 95%: held-out accuracies inside the intervals of method {methods[0].name}, which is fitted to "
            "each smaller ladder alone",
        ),
    )


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


def coverage(tasks: Sequence[TaskStudy], method: MethodErrors, split: int) -> tuple[float, float]:
    """Share of a split's cells inside the 80% and 95% intervals."""
    inside = [
        np.abs(errors)[task.cells[:, 0] == split, None] <= halves[task.cells[:, 0] == split]
        for task, errors, halves in zip(tasks, method.errors, method.halves, strict=True)
    ]
    in80, in95 = np.concatenate(inside).mean(axis=0)
    return float(in80), float(in95)


def _mean(parts: Sequence[np.ndarray]) -> float:
    return float(np.concatenate(parts).mean())


def backtest_plot(study: Study, tasks: Sequence[TaskStudy], methods: Sequence[MethodErrors]) -> Plot:
    """Mean error by split and method; predicted against actual accuracy of every held-out run; what the marks mean."""
    tasks, methods = with_trend(tasks, methods)
    names = [split.name for split in study.splits]
    plot = Plot(3, "Back-tests: smaller ladders predict the larger runs", height=max(3.4, 0.3 * len(names) + 1.4))
    errors, against, key = plot.axes
    looks = method_looks([method.name for method in methods], {LAST_RUNG})
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
    _predicted_against_actual(against, tasks, methods[0])
    handles = [dot(marker, colour, name) for name, (marker, colour) in looks.items()]
    legend(key, [*handles, dot("o", BLUE, "held-out run of a task,\nwith its 80% interval", markeredgecolor="white")])
    return plot


def _predicted_against_actual(axis: Axes, tasks: Sequence[TaskStudy], method: MethodErrors) -> None:
    for task, errors, halves in zip(tasks, method.errors, method.halves, strict=True):
        actual, bars = 100 * task.actual, halves[:, 0]
        axis.errorbar(
            actual, actual + errors, yerr=bars, fmt="o", markersize=2.5, color=BLUE, elinewidth=0.6, alpha=0.5
        )
    low, high = axis.get_xlim()
    axis.plot([low, high], [low, high], color=INK, linewidth=0.8)
    label(
        axis, "Predicted against measured", "every held-out run of every task", "measured accuracy, %", "predicted, %"
    )


def loss_backtests(measured: Measured, losses: Sequence[LossTask]) -> list[Table]:
    """Of losses without an accuracy. Raises UserError where the ladder holds no smaller one with a run beyond it."""
    if not losses:
        return []
    fitted = fit_losses(measured, losses)
    if not fitted.fitted.splits:
        raise _no_splits(measured)
    return [loss_backtest_table(fitted, measured)]


def _no_splits(measured: Measured) -> UserError:
    rungs = count_of(len(measured.rungs), "rung")
    return UserError(f"{measured.source}: no smaller ladder of 5 runs with a dearer one beyond among {rungs}")


def main(argv: list[str]) -> None:
    options = command_line.parser("backtest", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_format(options)
    command_line.add_plot(options)
    given, overrides = command_line.parse(options, argv)
    measured = command_line.data_of(given, overrides)
    asked = measured.asked(given.tasks)
    losses = loss_backtests(measured, asked.losses)
    if not asked.tasks:
        command_line.show(given.form, *losses)
        return
    study, tasks = studied(measured, asked.tasks)
    methods = method_errors(measured, study, tasks)
    command_line.show(given.form, split_table(study, tasks, methods), task_table(study, tasks, methods), *losses)
    if given.plot:
        backtest_plot(study, tasks, methods).save(given.plot)
