"""Recipes, such as data mixes, beside each other: which scales and tasks they share, and what each pair differs by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from ladder.errors import UserError, shortened
from ladder.rungs.rung import Target
from predict.measured.ladder import Measured
from predict.measured.runs import Run, accuracy_curve
from predict.measured.same import same_point
from predict.measured.tasks import Task
from predict.methods.noise import item_variance
from predict.methods.recipe_effects import (
    SHIFTS,
    Difference,
    Effect,
    Scales,
    Shifts,
    common_point,
    effect,
    shared_means,
    shared_scales,
)
from predict.notes import Note, note, warning

ABOVE_CHANCE = 0.05  # of the recipes' mean accuracy at the dearest scale, below which a task says nothing yet
ENOUGH, AGREES = 6, 0.3  # recipes from which tasks can be compared; correlation with the others, below which one errs
RISE = 0.01  # of the recipes' mean accuracy from the cheapest to the dearest scale

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """`values` (recipes, points, tasks) and `actual` (recipes, tasks) are accuracies; NaN where not measured.

    `points` are the (N, D) that at least two recipes share, by compute; `scales` is what all share.
    """

    names: tuple[str, ...]
    tasks: tuple[Task, ...]
    points: tuple[Point, ...]
    point_names: tuple[str, ...]
    values: np.ndarray
    actual: np.ndarray
    scales: Scales
    notes: tuple[Note, ...]

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every two recipes that share a scale, the one that is predicted better first."""
        result = []
        for i, j in combinations(range(len(self.names)), 2):
            if self.shared(i, j):
                pair = self.pair(i, j)
                result.append(pair if pair.mean.value >= 0 else self.pair(j, i))
        return result

    def shared(self, i: int, j: int) -> list[int]:
        """The points that both have."""
        return np.flatnonzero(~np.isnan(self.values[i] - self.values[j]).any(axis=1)).tolist()

    def pair(self, i: int, j: int, shifts: Shifts = SHIFTS) -> Pair:
        top = self.shared(i, j)[-1]
        actual = self.actual[i] - self.actual[j]
        return Pair(
            first=i,
            second=j,
            effect=effect(self.scales, self.values[i], self.values[j], shifts),
            single=self.values[i, top] - self.values[j, top],
            single_at=self.point_names[top],
            actual=None if np.isnan(actual).any() else actual,
        )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two recipes by their places. `single` is the difference at the dearest scale that both have, the baseline, and
    `actual` that at the target, (tasks,), where it was measured."""

    first: int
    second: int
    effect: Effect
    single: np.ndarray
    single_at: str
    actual: np.ndarray | None

    @property
    def mean(self) -> Difference:
        return self.effect.mean

    @property
    def right(self) -> bool | None:
        """Whether the recipe that is said to be better is so at the target."""
        return None if self.actual is None else bool(self.mean.value * self.actual.mean() > 0)

    @property
    def single_right(self) -> bool | None:
        """The same of the baseline."""
        return None if self.actual is None else bool(self.single.mean() * self.actual.mean() > 0)


def recipes(ladders: Sequence[Measured], target: Target, names: Sequence[str] = ()) -> Recipes:
    """The ladders below the target, on the tasks called `names`, or on those that they share and that tell them apart.

    Of runs at one N and D, such as those of a sweep, a recipe's best counts.

    Raises:
        UserError: a task that is not there, or no task or no scale in common.
    """
    pairs = [(one, one.below(target, at_least=0)) for one in ladders]
    empty = [one.name for one, below in pairs if not below.rungs]
    ladders, below = [one for one, below in pairs if below.rungs], [below for _, below in pairs if below.rungs]
    if len(below) < 2:
        raise UserError(f"{pairs[0][0].source}: fewer than two of the ladders have a rung below {target.name}")
    common = shared_tasks(below, target, names)
    points = _points([run for one in below for run in one.rungs if _complete(run, common)])
    values = np.array([[_best(one, one.rungs, point, common) for point in points] for one in below])
    values = values.reshape(len(below), len(points), len(common))
    present = ~np.isnan(values).any(axis=2)  # (recipes, points)
    kept = np.flatnonzero(present.sum(axis=0) > 1)
    if not len(kept):
        raise UserError(f"{below[0].source} and {below[1].source} have no rung of the same N and D in common")
    points, values = [points[i] for i in kept], values[:, kept]
    used = np.flatnonzero(present[:, kept].any(axis=1)).tolist()
    telling = np.arange(len(common)) if names else _telling(values[used], common)
    tasks, values = [common[i] for i in telling], values[:, :, telling]
    at = (target.n, target.d)
    return Recipes(
        names=tuple(ladders[i].name for i in used),
        tasks=tuple(tasks),
        points=tuple(points),
        point_names=tuple(_name(below, point) for point in points),
        values=values[used],
        actual=np.array([_best(ladders[i], ladders[i].runs, at, tasks) for i in used]),
        scales=shared_scales(points, values[used], tasks, target),
        notes=_notes(empty + [ladders[i].name for i in range(len(below)) if i not in used], len(tasks), len(common)),
    )


def shared_tasks(ladders: Sequence[Measured], target: Target, names: Sequence[str] = ()) -> list[Task]:
    """The tasks that each ladder has, also at the target where that was measured.

    Raises UserError where there is none, or a ladder lacks one of `names`.
    """
    of_each = [one.tasks_of_some(names) for one in ladders]
    common = set.intersection(*({task.name for task in tasks} for tasks in of_each))
    if names and len(common) < len(set(names)):
        lacking = next(one for one, tasks in zip(ladders, of_each, strict=True) if len(tasks) < len(set(names)))
        raise UserError(f"{lacking.source}: {shortened(lacking.name)} lacks the accuracy or chance of one of the tasks")
    if not common:
        for one, tasks in zip(ladders, of_each, strict=True):
            if not tasks:
                one.tasks()  # which says what it lacks
        raise UserError(f"{ladders[0].source} and {ladders[1].source} have no task in common")
    targets = [run for one in ladders if (run := one.at(target))]
    shared = [task for task in of_each[0] if task.name in common]
    return shared if names else [task for task in shared if _complete_all(targets, task)] or shared


def _complete_all(runs: Sequence[Run], task: Task) -> bool:
    return all(run.has(task, "rc_acc") for run in runs)


def _complete(run: Run, tasks: Sequence[Task]) -> bool:
    return all(run.has(task, "rc_acc") for task in tasks)


def _points(runs: Sequence[Run]) -> list[Point]:
    points: list[Point] = []
    for run in sorted(runs, key=lambda run: run.compute):
        if not any(same_point(point, (run.n, run.d)) for point in points):
            points.append((run.n, run.d))
    return points


def _best(ladder: Measured, runs: Sequence[Run], point: Point, tasks: Sequence[Task]) -> np.ndarray:
    """Accuracies (tasks,) of the best finished run at the point; NaN where there is none."""
    count = ladder.smoothing.final_checkpoints
    there = [run for run in runs if same_point(point, (run.n, run.d)) and run.finished and not run.tag]
    measured = [
        np.array([accuracy_curve(run, task).final(count) for task in tasks]) for run in there if _complete(run, tasks)
    ]
    return max(measured, key=lambda values: float(values.mean()), default=np.full(len(tasks), np.nan))


def _telling(values: np.ndarray, tasks: Sequence[Task]) -> np.ndarray:
    """Places of the tasks that are above chance at the scale that most recipes have, and rise up to there, by more than
    their tests' size leaves in doubt; where recipes are many also only tasks that order them at all as the others do.
    """
    common = common_point(values)
    means = shared_means(values)
    top, least = means[common], np.nanmin(means[: common + 1], axis=0)
    chance = np.array([task.chance for task in tasks])
    error = np.sqrt([float(item_variance(p, task.items)) for p, task in zip(top, tasks, strict=True)])
    clear = top > chance + np.maximum(ABOVE_CHANCE, 2 * error)
    if common:
        clear &= top - least > np.maximum(RISE, error)
    telling = np.flatnonzero(clear & _agreeing(values[:, common], clear))
    return telling if len(telling) else np.arange(len(tasks))


def _agreeing(values: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """(tasks,) Whether a task orders the recipes, `values` (recipes, tasks), at all like the other clear ones do."""
    values = values[~np.isnan(values).any(axis=1)]
    if len(values) < ENOUGH or clear.sum() < 3:
        return np.ones(len(clear), dtype=bool)
    total = values[:, clear].sum(axis=1)
    correlations = []
    for task, one in enumerate(values.T):
        others = total - one * clear[task]
        correlations.append(float(np.corrcoef(one, others)[0, 1]) if np.ptp(one) > 0 else 0.0)
    return np.array(correlations) > AGREES


def _name(ladders: Sequence[Measured], point: Point) -> str:
    """The size, and the multiple, of the runs there."""
    run = next(run for one in ladders for run in one.rungs if same_point(point, (run.n, run.d)))
    return f"{run.size}-{run.multiple:.3g}xC"


def _notes(apart: Sequence[str], telling: int, all_of_them: int) -> tuple[Note, ...]:
    notes = [note("tasks-telling", count=telling, of=all_of_them)] if telling < all_of_them else []
    return (*notes, *([warning("recipes-apart", names=list(apart))] if apart else []))
