"""A number and what it counts, in words."""

from __future__ import annotations

from collections.abc import Sequence


def count_of(number: float, what: str) -> str:
    """(1, "rung") -> "1 rung"; (1200, "rung") -> "1,200 rungs"."""
    return f"{number:,.0f} {what}{'' if number == 1 else 's'}"


def named(what: str, names: Sequence[str]) -> str:
    """("column", ["n"]) -> "column n"; ("column", ["n", "d"]) -> "columns n, d"."""
    return f"{what}{'' if len(names) == 1 else 's'} {', '.join(names)}"
