"""When two numbers of parameters, of tokens, or two multiples are the same one.

Nominally equal values differ by how they were counted and rounded: D by the tokens of a last batch (0.15% from 20N in
the paper's ladder, 0.8% in the micro ladder), N and D by the three digits with which people write them down (up to
0.5%). Runs that are meant to differ are further apart: OLMo 2 7B before and after its anneal by 1.7%, rungs by a
tenth or more. 1% lies between the two.
"""

from __future__ import annotations

from collections.abc import Iterable

SAME = 0.01
NEAR = 0.1  # closer than rungs that are meant to differ


def same(value: float, other: float, within: float = SAME) -> bool:
    """Whether the larger is at most 1% above the smaller; both must be above 0."""
    return max(value, other) <= (1 + within) * min(value, other)


def same_point(first: tuple[float, float], second: tuple[float, float], within: float = SAME) -> bool:
    """Of two (N, D)."""
    return same(first[0], second[0], within) and same(first[1], second[1], within)


def levels(values: Iterable[float], within: float = SAME) -> list[float]:
    """The distinct values in ascending order; of those that are the same the smallest stands for all."""
    distinct: list[float] = []
    for value in sorted(values):
        if not distinct or not same(value, distinct[-1], within):
            distinct.append(value)
    return distinct


def level_of(value: float, distinct: Iterable[float]) -> float:
    """The one of `levels` that stands for the value: the largest that is not above it."""
    return max(level for level in distinct if level <= value)
