"""Method `default`: the mean of the members, chosen and calibrated by back-tests on the ladder at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from predict.backtest import Split, decades, splits
from predict.ensemble_law import Calibration, EnsembleLaw, accuracy_sd, loss_sd, spread_of
from predict.intervals import calibrate
from predict.measured.ladder import Measured
from predict.measured.points import TaskPoints, task_points
from predict.measured.tasks import Task
from predict.members import MEMBERS, Fits
from predict.methods.base import Verdict
from predict.methods.gate import judge

ENOUGH_TASKS = 4  # to compare members over tasks
CLEAR_GAIN = 2.0  # standard errors by which a subset of the members must win to displace all of them
LARGE_GAIN = 0.4  # or the share of the error that it must save, where tasks are too few for standard errors


@dataclass(frozen=True, kw_only=True)
class TaskStudy:
    """A task's members fitted to the whole ladder (fit 0) and to each back-test (fit 1, 2, …).

    `cells` are (split, run) pairs, shape (cells, 2); `predicted` has shape (members, cells), `actual` (cells,).
    """

    points: TaskPoints
    fits: dict[str, Fits]
    verdict: Verdict
    cells: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray
    loss_errors: np.ndarray  # relative, of the first member that has a feature; (cells,) or (0,)

    @property
    def task(self) -> Task:
        return self.points.task

    @property
    def refused(self) -> bool:
        return self.verdict.refused

    def chosen(self, members: Sequence[str]) -> np.ndarray:
        """Rows of `predicted` that belong to these members, or all where none of them does."""
        rows = [i for i, name in enumerate(self.fits) if name in members]
        return self.predicted[rows or slice(None)]


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything the default method learns from a ladder."""

    tasks: tuple[TaskStudy, ...]
    splits: tuple[Split, ...]
    split_decades: np.ndarray  # (splits, runs): distance of each run beyond the split's training runs
    members: tuple[str, ...]
    calibration: Calibration
    top: float  # largest N·D of the ladder

    def errors(self, study: TaskStudy, members: Sequence[str] = ()) -> np.ndarray:
        """Predicted minus actual accuracy in each cell."""
        return study.chosen(members or self.members).mean(axis=0) - study.actual

    def deviations(self, study: TaskStudy) -> np.ndarray:
        """The standard deviation of each cell, before its factor."""
        far = self.split_decades[study.cells[:, 0], study.cells[:, 1]]
        return _deviations(study, self.members, far)


def study_ladder(data: Measured, tasks: Sequence[Task]) -> Study:
    """Fits every member to the ladder and to all its back-tests, chooses the members, and calibrates the intervals."""
    runs = list(data.rungs)
    found = splits(runs)
    n, d = np.array([run.n for run in runs]), np.array([run.d for run in runs])
    far = np.array([decades(n, d, [runs[i] for i in split.train]) for split in found]).reshape(len(found), len(runs))
    weights = np.stack([np.ones(len(runs)), *(split.weights(len(runs)) for split in found)])
    studies = [study_task(task_points(runs, task, data.smoothing), weights, found) for task in tasks]
    members = choose_members([study for study in studies if not study.refused])
    return Study(
        tasks=tuple(studies),
        splits=tuple(found),
        split_decades=far,
        members=members,
        calibration=_calibration(studies, members, far),
        top=float((n * d).max()),
    )


def study_task(points: TaskPoints, weights: np.ndarray, found: Sequence[Split]) -> TaskStudy:
    """One task of `study_ladder`; `weights` (fits, runs) has the whole ladder in its first row."""
    fits = {name: fits for name, fit in MEMBERS.items() if (fits := fit(points, weights)) is not None}
    cells = np.array([(i, run) for i, split in enumerate(found) for run in split.test], dtype=int).reshape(-1, 2)
    at = (cells[:, 0] + 1, cells[:, 1])
    predicted = np.stack([fit.accuracy(points.n, points.d)[at] for fit in fits.values()])
    features = [(fits[name], y) for name, y in (("task loss", points.loss), ("LM loss", points.lm)) if y is not None]
    loss_errors = np.zeros(0)
    if features:
        fit, y = features[0]
        loss_errors = fit.feature(points.n, points.d)[at] / y[cells[:, 1]] - 1
    return TaskStudy(
        points=points,
        fits=fits,
        verdict=judge(points),
        cells=cells,
        predicted=predicted,
        actual=points.accuracy[cells[:, 1]],
        loss_errors=loss_errors,
    )


def subset_errors(studies: Sequence[TaskStudy]) -> dict[tuple[str, ...], np.ndarray]:
    """Back-test error of every subset of the members, (tasks,): mean over splits of the mean |error|."""
    names = [name for name in MEMBERS if studies and all(name in study.fits for study in studies)]
    found = {}
    for count in range(1, len(names) + 1):
        for subset in combinations(names, count):
            found[subset] = np.array([_mean_over_splits(study, subset) for study in studies])
    return found


def choose_members(studies: Sequence[TaskStudy]) -> tuple[str, ...]:
    """All members, unless leaving some out wins the back-tests clearly: task by task, or by a large part of the error.

    Averages of forms that fail differently are the safer bet: ladders are too small to tell members apart finely.
    """
    everything = tuple(name for name in MEMBERS if any(name in study.fits for study in studies))
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


def laws_of(study: Study) -> list[EnsembleLaw]:
    """The fits to the whole ladder, for predicting and for storing."""
    return [_law(one, study.members) for one in study.tasks]


def _law(study: TaskStudy, members: Sequence[str]) -> EnsembleLaw:
    kept = [name for name in study.fits if name in members] or list(study.fits)
    last = int(np.argmax(study.points.n * study.points.d))
    return EnsembleLaw(
        task=study.task,
        members={name: study.fits[name].laws(0) for name in kept},
        last_rung=float(study.points.accuracy[last]),
        verdict=study.verdict,
    )


def _calibration(studies: Sequence[TaskStudy], members: Sequence[str], far: np.ndarray) -> Calibration:
    ratios, loss_ratios = [np.zeros(0)], [np.zeros(0)]
    for study in studies:
        if study.refused:
            continue
        distance = far[study.cells[:, 0], study.cells[:, 1]]
        error = study.chosen(members).mean(axis=0) - study.actual
        ratios.append(np.abs(error) / _deviations(study, members, distance))
        if len(study.loss_errors):
            loss_ratios.append(np.abs(study.loss_errors) / loss_sd(distance))
    reached = [far[split, run] for study in studies[:1] for split, run in study.cells]
    return calibrate(np.concatenate(ratios), np.concatenate(loss_ratios), float(max(reached, default=0.0)))


def _deviations(study: TaskStudy, members: Sequence[str], far: np.ndarray) -> np.ndarray:
    chosen = study.chosen(members)
    return accuracy_sd(chosen.mean(axis=0), spread_of(chosen), far, study.task.items)


def _mean_over_splits(study: TaskStudy, members: Sequence[str]) -> float:
    errors = np.abs(study.chosen(members).mean(axis=0) - study.actual)
    return float(np.mean([errors[study.cells[:, 0] == split].mean() for split in np.unique(study.cells[:, 0])]))
