"""Which tasks a ladder can predict at all: those whose final accuracy follows scale."""

from __future__ import annotations

import numpy as np

from predict.measured.points import TaskPoints
from predict.methods.base import Verdict

# On the paper's ladder its 8 tasks reach 0.98 to 1.00, Winogrande 0.89, BoolQ 0.44. On an independent set of runs the
# last rung's value became the better prediction below about 0.80.
REFUSE_BELOW = 0.80
WARN_BELOW = 0.93
ENOUGH_RUNS = 8  # a rank correlation over fewer says little


def monotony(points: TaskPoints) -> float:
    """Spearman's rank correlation of final accuracy with scale over the rungs.

    Scale is how low the language-modelling loss is, where it was measured: it orders runs that spend the same compute
    well or badly. Else it is N·D.
    """
    by_loss = points.lm is not None and np.ptp(points.lm) > 0
    scale, score = _ranks(-points.lm if by_loss else points.n * points.d), _ranks(points.accuracy)  # type: ignore[operator]
    if np.ptp(score) == 0 or np.ptp(scale) == 0:
        return 0.0
    return float(np.corrcoef(scale, score)[0, 1])


def judge(points: TaskPoints) -> Verdict:
    """Whether the task can be predicted from these rungs."""
    return verdict(monotony(points), len(points.n))


def verdict(correlation: float, runs: int) -> Verdict:
    if correlation >= WARN_BELOW:
        return Verdict(standing="follows", correlation=correlation, runs=runs)
    refused = correlation < REFUSE_BELOW and runs >= ENOUGH_RUNS
    return Verdict(standing="refused" if refused else "loose", correlation=correlation, runs=runs)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[inverse]
