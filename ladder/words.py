"""A number and what it counts, in words."""

from __future__ import annotations


def count_of(number: float, what: str) -> str:
    """(1, "rung") -> "1 rung"; (1200, "rung") -> "1,200 rungs"."""
    return f"{number:,.0f} {what}{'' if number == 1 else 's'}"
