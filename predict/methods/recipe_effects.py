"""Two recipes at one target: which is better, how sure that is, and how much compute the better one is worth.

A recipe, such as a data mix, shifts a ladder along the curve that all recipes share: better data is worth more compute.
On task t at scale p two recipes differ by

    difference = slope (s + u_t + v_p + w_pt) + o_t + noise

with slope the shared curve's, in accuracy per decade of compute; s the shift in decades between the two recipes, u_t
what it is more or less on one task, v_p and w_pt what it is more or less at one scale, and o_t what a recipe does to a
task at every scale alike. All are taken as normal. The differences at the scales that both ladders have then say, by
least squares, what it is at the target. A recipe's own slope plays no part: extrapolating it orders recipes worse than
the largest rung does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ladder.rungs.rung import Target
from predict.fitting.curve_grid import CurveLaw, fit_curves
from predict.measured.tasks import Task
from predict.methods.base import Interval
from predict.methods.constants import CONSTANTS
from predict.methods.noise import item_variance

NORMAL80 = 1.2815515655446004  # half of an 80% interval in standard deviations
STEP = 0.25  # decades of compute over which a slope is taken
FLATTEST = 1e-4  # accuracy per decade
LARGEST_SHIFT = 6.0  # decades of compute; what is worth more is worth that


@dataclass(frozen=True, kw_only=True)
class Shifts:
    """Standard deviations in decades of compute, and of what changes a run's accuracy beside its test's size.

    `scripts/choose_recipe_constants.py` tries them on pairs of DCLM's corpora, leaving two corpora out in turn. `scale`
    is a step above the likeliest, by which 7 in 10 of the 80% intervals hold; by these 9 in 10 do, of the same pairs.
    """

    recipe: float = 0.4  # s
    task: float = 0.3  # u
    scale: float = 0.1  # v
    task_scale: float = 0.2  # w
    own: float = 0.02  # o, accuracy
    run: float = 0.005  # accuracy


SHIFTS = Shifts()


@dataclass(frozen=True, kw_only=True)
class Scales:
    """What all recipes share: `slopes` (points, tasks), accuracy per decade of compute.

    `levels` (tasks,) is the shared curve's accuracy at the target. Its slope there is taken to be that at the dearest
    scale: differences persist, where the curve's own bend would order recipes worse.
    """

    tasks: tuple[Task, ...]
    slopes: np.ndarray
    levels: np.ndarray

    @property
    def items(self) -> np.ndarray:
        return np.array([task.items for task in self.tasks])


def common_point(values: np.ndarray) -> int:
    """The point that most recipes have, of several the dearest; `values` (recipes, points, tasks), NaN where absent."""
    counts = (~np.isnan(values).any(axis=2)).sum(axis=0)
    return int(np.flatnonzero(counts == counts.max())[-1])


def shared_means(values: np.ndarray) -> np.ndarray:
    """(points, tasks) What recipes reach on average: at the common point, and as far above or below it elsewhere as
    those recipes are that have both points; NaN at a point that no recipe has beside the common one."""
    at = values[:, common_point(values)]
    apart = values - at[:, None]
    present = ~np.isnan(apart).any(axis=2)
    shifts = [
        apart[here, i].mean(axis=0) if here.any() else np.full(at.shape[1], np.nan) for i, here in enumerate(present.T)
    ]
    return np.nanmean(at, axis=0) + np.array(shifts)


def shared_scales(
    points: Sequence[tuple[float, float]], values: np.ndarray, tasks: Sequence[Task], target: Target
) -> Scales:
    """The curves through the recipes' mean accuracy: `values` (recipes, points, tasks) at `points` (N, D)."""
    n, d = np.array(points, dtype=float).T
    chance, items = np.array([task.chance for task in tasks]), np.array([task.items for task in tasks])
    means = shared_means(values)
    laws = fit_curves(n, d, means.T, chance, items, CONSTANTS.prior)
    return Scales(
        tasks=tuple(tasks),
        slopes=np.array([[_slope(law, *point) for law in laws] for point in points]),
        levels=np.array([float(law(target.n, target.d)[0]) for law in laws]),
    )


def _slope(law: CurveLaw, n: float, d: float) -> float:
    half = 10 ** (STEP / 4)  # of N and of D each
    rise = float(law(n * half, d * half)[0] - law(n / half, d / half)[0])
    return max(rise / STEP, FLATTEST)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first recipe's accuracy minus the second's, in [-1, 1], as predicted; normal with standard deviation `sd`.

    `slope` is the shared curve's at the target, in accuracy per decade of compute.
    """

    value: float
    sd: float
    slope: float

    @property
    def probability(self) -> float:
        """That the first recipe is better."""
        return 0.5 * (1 + math.erf(self.value / self.sd / math.sqrt(2)))

    @property
    def interval80(self) -> Interval:
        return Interval(low=self.value - NORMAL80 * self.sd, high=self.value + NORMAL80 * self.sd)

    @property
    def speed_up(self) -> float:
        """What the first recipe is worth: the second reaches its accuracy with so many times the compute."""
        return self._worth(self.value)

    @property
    def speed_up80(self) -> Interval:
        return Interval(low=self._worth(self.interval80.low), high=self._worth(self.interval80.high))

    def _worth(self, difference: float) -> float:
        return float(10 ** np.clip(difference / self.slope, -LARGEST_SHIFT, LARGEST_SHIFT))


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A pair's difference on each task, and of the mean over them."""

    tasks: tuple[Difference, ...]
    mean: Difference


def effect(scales: Scales, first: np.ndarray, second: np.ndarray, shifts: Shifts = SHIFTS) -> Effect:
    """Of two recipes with accuracies (points, tasks), NaN at points that one of them lacks."""
    both = ~np.isnan(first - second).any(axis=1)
    first, second, slopes = first[both], second[both], scales.slopes[both]
    points, count = first.shape
    at_point, on_task = np.repeat(np.arange(points), count), np.tile(np.arange(count), points)
    noise = (item_variances(first, scales.items) + item_variances(second, scales.items) + 2 * shifts.run**2).ravel()
    same_task, same_point = on_task[:, None] == on_task, at_point[:, None] == at_point
    shared = shifts.recipe**2 + shifts.task**2 * same_task
    apart = same_point * (shifts.scale**2 + shifts.task_scale**2 * same_task)
    flat, target = slopes.ravel(), slopes[-1]
    covariance = np.outer(flat, flat) * (shared + apart) + shifts.own**2 * same_task + np.diag(noise)
    is_task = np.arange(count)[:, None] == on_task
    cross = np.outer(target, flat) * (shifts.recipe**2 + shifts.task**2 * is_task) + shifts.own**2 * is_task
    every = shifts.recipe**2 + shifts.scale**2 + (shifts.task**2 + shifts.task_scale**2) * np.eye(count)
    gain = np.linalg.solve(covariance, cross.T).T
    value = gain @ (first - second).ravel()
    spread = np.outer(target, target) * every + shifts.own**2 * np.eye(count) - gain @ cross.T
    weights = np.full(count, 1 / count)
    return Effect(
        tasks=tuple(
            Difference(value=float(v), sd=float(np.sqrt(s)), slope=float(b))
            for v, s, b in zip(value, np.diag(spread), target, strict=True)
        ),
        mean=Difference(
            value=float(weights @ value), sd=float(np.sqrt(weights @ spread @ weights)), slope=float(weights @ target)
        ),
    )


def item_variances(accuracy: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(points, tasks)"""
    return np.stack([item_variance(accuracy[:, i], int(count)) for i, count in enumerate(items)], axis=1)
