"""How far a measured accuracy or loss lies from what the same recipe gives on average: tests and runs are finite."""

from __future__ import annotations

import numpy as np

from predict.fitting.curve_grid import UNKNOWN_ITEMS

RUN_NOISE = 0.004  # accuracy: what a rerun changes, as between AI2's 1xC runs and their reruns


def item_variance(accuracy: np.ndarray, items: int) -> np.ndarray:
    """Variance of an accuracy over `items` independent questions; never 0 for a finite test."""
    count = items or UNKNOWN_ITEMS
    inside = np.clip(accuracy, 0.5 / count, 1 - 0.5 / count)
    return inside * (1 - inside) / count
