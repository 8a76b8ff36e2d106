"""Whether a task's final accuracy follows scale over the rungs: a verdict that accompanies every prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from predict.measured.ladder import Measured
from predict.measured.points import TaskPoints, task_points
from predict.measured.tasks import Task
from predict.methods.base import Verdict

# On the paper's ladder its 8 tasks reach 0.98 to 1.00, Winogrande 0.89, BoolQ 0.44.
CLEAR = 0.93
TREND = 0.60  # at least, where rungs are few
SIGNIFICANT = 2.33  # standard errors of a rank correlation between unrelated values: 1% are larger
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of N in scale: tasks and ladders differ in what N and D are worth


def monotony(points: TaskPoints) -> float:
    """Spearman's rank correlation of final accuracy with scale over the rungs.

    Scale is how low the language-modelling loss is, where it was measured: it orders runs that spend the same compute
    well or badly. Else it is N^share D^(1-share), with the share that correlates best.
    """
    if points.lm is not None and np.ptp(points.lm) > 0:
        return _rank_correlation(-points.lm, points.accuracy)
    log_n, log_d = np.log(points.n), np.log(points.d)
    return max(_rank_correlation((s * log_n + (1 - s) * log_d).round(9), points.accuracy) for s in SHARES)


def following(measured: Measured, tasks: Sequence[Task]) -> list[Task]:
    """Those of the tasks that show a trend; all where none does."""
    judged = [(task, judge(task_points(measured.rungs, task, measured.smoothing))) for task in tasks]
    return [task for task, verdict in judged if not verdict.trendless] or list(tasks)


def judge(points: TaskPoints) -> Verdict:
    """Whether the task follows scale over these rungs."""
    return verdict(monotony(points), len(points.n))


def verdict(correlation: float, runs: int) -> Verdict:
    """No trend: a rank correlation that is small, or that so many runs of a task without one might well have."""
    if correlation >= CLEAR:
        return Verdict(standing="follows", correlation=correlation, runs=runs)
    trendless = correlation < min(TREND, SIGNIFICANT / np.sqrt(max(runs - 1, 1)))
    return Verdict(standing="none" if trendless else "loose", correlation=correlation, runs=runs)


def _rank_correlation(scale: np.ndarray, score: np.ndarray) -> float:
    """0 where either is the same everywhere."""
    scale, score = _ranks(scale), _ranks(score)
    if np.ptp(score) == 0 or np.ptp(scale) == 0:
        return 0.0
    return float(np.corrcoef(scale, score)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[inverse]
