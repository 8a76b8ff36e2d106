"""The curves of a ladder, and every member fitted to it and to all its back-tests: which of them to average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from predict.fitting.curve_grid import CurveLaw, fit_curves
from predict.measured.ladder import Measured
from predict.measured.points import TaskPoints, task_points
from predict.measured.tasks import Task
from predict.methods.base import Verdict
from predict.methods.constants import CONSTANTS
from predict.methods.gate import judge
from predict.methods.intervals import Calibration, Reach
from predict.methods.loss_fits import LossFit, LossFits, fit_finals
from predict.methods.members import Member, MemberFits
from predict.methods.splits import Split, fit_weights, held_out, splits

ENOUGH_TASKS = 4  # to compare members over tasks
CLEAR_GAIN = 2.0  # standard errors by which a subset of the members must win to displace all of them
LARGE_GAIN = 0.4  # or the share of the error that it must save, where tasks are too few for standard errors


@dataclass(frozen=True, kw_only=True)
class TaskStudy:
    """A task's curves, and its members fitted to the whole ladder (fit 0) and to each back-test (fit 1, 2, …).

    `cells` are (split, run) pairs, shape (cells, 2); `predicted` has shape (members, cells), `actual` (cells,). `loss`
    is that of the task or else of running text, None where neither was measured.
    """

    points: TaskPoints
    curve: CurveLaw
    fits: dict[str, MemberFits]
    verdict: Verdict
    cells: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray
    loss: LossFit | None

    @property
    def task(self) -> Task:
        return self.points.task

    def chosen(self, members: Sequence[str]) -> np.ndarray:
        """Rows of `predicted` that belong to these members, or all where none of them does."""
        rows = [i for i, name in enumerate(self.fits) if name in members]
        return self.predicted[rows or slice(None)]

    def errors(self, members: Sequence[str]) -> np.ndarray:
        """Predicted minus actual accuracy in each cell, of the mean of these members."""
        return self.chosen(members).mean(axis=0) - self.actual


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a ladder's back-tests say: the members to average, and how wide the intervals of its losses are."""

    tasks: tuple[TaskStudy, ...]
    splits: tuple[Split, ...]
    members: tuple[str, ...]
    losses: LossFits
    calibration: Calibration


def study_ladder(measured: Measured, tasks: Sequence[Task], members: Sequence[Member]) -> Study:
    """Fits the curves to the ladder, and every member to it and to all its back-tests; chooses the members."""
    runs, back_tests = list(measured.rungs), splits(measured.rungs)
    weights = fit_weights(back_tests, len(runs))
    points = [task_points(runs, task, measured.smoothing) for task in tasks]
    series, places = _losses(points)
    losses = fit_finals(runs, series)
    studies = [
        study_task(one, curve, weights, back_tests, members, None if place is None else losses.fits[place])
        for one, curve, place in zip(points, _curves(points), places, strict=True)
    ]
    trends = [study for study in studies if not study.verdict.trendless] or studies
    return Study(
        tasks=tuple(studies),
        splits=tuple(back_tests),
        members=choose_members(trends, [member.name for member in members]),
        losses=losses,
        calibration=Calibration(reach=Reach.of(points[0].n, points[0].d)),
    )


def _losses(points: Sequence[TaskPoints]) -> tuple[list[np.ndarray], list[int | None]]:
    """The losses to be fitted, each (runs,), and the place among them of each task's: its own, or that of running
    text, which is one for all tasks."""
    series = [one.loss for one in points if one.loss is not None]
    text = next((one.lm for one in points if one.loss is None and one.lm is not None), None)
    own = iter(range(len(series)))
    places = [next(own) if one.loss is not None else None if text is None else len(series) for one in points]
    return series + ([] if text is None else [text]), places


def _curves(points: Sequence[TaskPoints]) -> list[CurveLaw]:
    return fit_curves(
        points[0].n,
        points[0].d,
        np.array([one.accuracy for one in points]),
        np.array([one.task.chance for one in points]),
        np.array([one.task.items for one in points]),
        CONSTANTS.prior,
    )


def study_task(
    points: TaskPoints,
    curve: CurveLaw,
    weights: np.ndarray,
    back_tests: Sequence[Split],
    members: Sequence[Member],
    loss: LossFit | None,
) -> TaskStudy:
    """One task of `study_ladder`; `weights` (fits, runs) has the whole ladder in its first row."""
    fits = {member.name: fit for member in members if (fit := member.fit(points, weights)) is not None}
    cells = held_out(back_tests)
    at = (cells[:, 0] + 1, cells[:, 1])
    predicted = np.stack([fit.accuracy(points.n, points.d)[at] for fit in fits.values()])
    return TaskStudy(
        points=points,
        curve=curve,
        fits=fits,
        verdict=judge(points),
        cells=cells,
        predicted=predicted,
        actual=points.accuracy[cells[:, 1]],
        loss=loss,
    )


def subset_errors(studies: Sequence[TaskStudy]) -> dict[tuple[str, ...], np.ndarray]:
    """Back-test error of every subset of the members, (tasks,): mean over splits of the mean |error|."""
    names = [name for name in studies[0].fits if all(name in study.fits for study in studies)] if studies else []
    return {
        subset: np.array([_mean_over_splits(study, subset) for study in studies])
        for count in range(1, len(names) + 1)
        for subset in combinations(names, count)
    }


def choose_members(studies: Sequence[TaskStudy], names: Sequence[str]) -> tuple[str, ...]:
    """All members, unless leaving some out wins the back-tests clearly: task by task, or by a large part of the error.

    Averages of forms that fail differently are the safer bet: ladders are too small to tell members apart finely.
    """
    everything = tuple(name for name in names if any(name in study.fits for study in studies))
    errors = subset_errors(studies) if studies and all(len(study.cells) for study in studies) else {}
    if everything not in errors:
        return everything
    best, saved = everything, 0.0
    for subset, values in errors.items():
        gains = errors[everything] - values
        if gains.mean() > saved and (_clear(gains) or gains.mean() > LARGE_GAIN * errors[everything].mean()):
            best, saved = subset, float(gains.mean())
    return best


def _clear(gains: np.ndarray) -> bool:
    """Whether the mean gain over tasks is more than chance."""
    return len(gains) >= ENOUGH_TASKS and gains.mean() > CLEAR_GAIN * gains.std(ddof=1) / np.sqrt(len(gains))


def _mean_over_splits(study: TaskStudy, members: Sequence[str]) -> float:
    errors = np.abs(study.errors(members))
    return float(np.mean([errors[study.cells[:, 0] == split].mean() for split in np.unique(study.cells[:, 0])]))
