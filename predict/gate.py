"""Which tasks a ladder can predict at all: those whose final accuracy follows compute."""

from __future__ import annotations

import numpy as np

# On the paper's ladder its 8 tasks reach 0.97 to 1.00, Winogrande 0.88, BoolQ 0.44. On an independent set of runs the
# last rung's value became the better prediction below about 0.80.
REFUSE_BELOW = 0.80
WARN_BELOW = 0.93
ENOUGH_RUNS = 8  # a rank correlation over fewer says little


def monotony(n: np.ndarray, d: np.ndarray, accuracy: np.ndarray) -> float:
    """Spearman's rank correlation of final accuracy with N·D, all (runs,)."""
    compute, score = _ranks(n * d), _ranks(accuracy)
    if np.ptp(score) == 0 or np.ptp(compute) == 0:
        return 0.0
    return float(np.corrcoef(compute, score)[0, 1])


def verdict(correlation: float, runs: int) -> tuple[bool, tuple[str, ...]]:
    """(refused, flags)."""
    if correlation >= WARN_BELOW:
        return False, ()
    what = f"accuracy hardly follows compute (rank correlation {correlation:.2f})"
    if correlation < REFUSE_BELOW and runs >= ENOUGH_RUNS:
        return True, (f"not predictable from this ladder: {what}; the last rung's value is shown",)
    return False, (what,)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[inverse]
