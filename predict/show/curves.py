"""A fit as curves to draw: accuracy over (N, D), and the steps on the way to it with the points they were fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ladder.rungs.rung import Target
from predict.measured.runs import Run
from predict.methods.base import Prediction

OfSize = Callable[[Any, Any], Any]  # of arrays N and D


@dataclass(frozen=True, kw_only=True)
class DrawnChain:
    """Two steps of one task. `finals` (runs,) are the points of step 1, `clouds` those of step 2, run by run.

    `name` is that of the member of an average, empty where the chain is the whole method.
    """

    name: str
    feature: str  # label of its axis
    title: str
    step1: OfSize
    step2: Callable[[Any], Any]
    finals: np.ndarray
    clouds: Sequence[tuple[np.ndarray, np.ndarray]]
    actual: Callable[[Target], float | None]  # the feature as measured on a target
    shared: bool = False  # whether step 1 is the same for every task


@dataclass(frozen=True, kw_only=True)
class TaskCurves:
    """`finals` (runs,) are measured accuracies in [0, 1]."""

    title: str
    accuracy: OfSize
    finals: np.ndarray
    chains: tuple[DrawnChain, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A target and the predictions of it, one per task."""

    target: Target
    predictions: Sequence[Prediction]


@dataclass(frozen=True, kw_only=True)
class Path:
    """A line through (N, D): `n`, `d` (points,), `x` what the horizontal axis shows of them."""

    n: np.ndarray
    d: np.ndarray
    x: np.ndarray
    run: Run | None  # whose size it is; None for the targets'
    ahead: bool  # whether it leads on to a target


@dataclass(frozen=True, kw_only=True)
class Horizontal:
    """What the horizontal axis shows: tokens, or parameters where each size was trained once."""

    label: str
    tokens: bool

    def of(self, run: Run | Target) -> float:
        return run.d if self.tokens else run.n


def horizontal(runs: Sequence[Run]) -> Horizontal:
    once = len({run.size for run in runs}) == len(runs)
    return Horizontal(label="parameters N" if once else "training tokens D", tokens=not once)


def paths(runs: Sequence[Run], targets: Sequence[Target]) -> list[Path]:
    """Along which the curves of a panel are drawn: a size each, or the rungs in their order; and on to each target."""
    axis = horizontal(runs)
    if not axis.tokens:
        lines = [_through(runs, None)]
        return lines + [_through(runs, target) for target in targets]
    first, last = min(run.d for run in runs), max(run.d for run in runs)
    grid = np.geomspace(first / 1.3, last * 1.3, 60)
    sizes = {run.size: run for run in reversed(runs)}
    lines = [Path(n=np.full(60, run.n), d=grid, x=grid, run=run, ahead=False) for run in sizes.values()]
    for target in targets:
        beyond = np.geomspace(min(last, target.d / 3), target.d * 1.15, 60)
        lines.append(Path(n=np.full(60, target.n), d=beyond, x=beyond, run=None, ahead=True))
    return lines


def _through(runs: Sequence[Run], target: Target | None) -> Path:
    """Through the rungs, or from the last of them to the target: straight lines in ln N and ln D."""
    order = sorted(runs, key=lambda run: run.n)
    points = [(run.n, run.d) for run in order]
    if target is not None:
        points = [points[-1], (target.n, target.d)]
    n, d = np.log(np.array(points, dtype=float)).T
    grid = np.linspace(n.min(), n.max(), 100)
    order_n = np.argsort(n)
    at_d = np.exp(np.interp(grid, n[order_n], d[order_n]))
    return Path(n=np.exp(grid), d=at_d, x=np.exp(grid), run=None, ahead=target is not None)
