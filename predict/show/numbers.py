"""Numbers as people say them."""

from __future__ import annotations


def short_number(value: float) -> str:
    """3e9 -> "3B"; to three digits."""
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"
