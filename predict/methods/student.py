"""Quantiles of the normal distribution and of Student's t, without SciPy, which takes long to import."""

from __future__ import annotations

import math

STEPS = 200
NORMAL = {0.8: 1.2816, 0.95: 1.9600}  # half an interval by its confidence, in standard deviations


def chance_beyond(value: float, freedom: int) -> float:
    """The chance that |t| is larger: for whole degrees of freedom a finite sum (Abramowitz and Stegun 26.7)."""
    angle = math.atan(value / math.sqrt(freedom))
    cosine = math.cos(angle) ** 2
    odd = freedom % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for k in range(1, freedom // 2 + 1):
        total += term
        term *= cosine * (2 * k / (2 * k + 1) if odd else (2 * k - 1) / (2 * k))
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return 1 - inside


def limit(chance: float, freedom: int) -> float:
    """The value that |t| exceeds with this chance."""
    low, high = 0.0, 1.0
    while chance_beyond(high, freedom) > chance and high < 1e9:
        high *= 2
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if chance_beyond(middle, freedom) > chance else (low, middle)
    return high
