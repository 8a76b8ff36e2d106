"""Numbers of parameters and tokens as people write them."""

from __future__ import annotations

import re

UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_COUNTED = re.compile(r"\s*(\d+(?:\.\d+)?)([KMBTkmbt])\s*")


def counted(text: str) -> float | None:
    """`7B` -> 7e9; None for what is not written so."""
    match = _COUNTED.fullmatch(text)
    return float(match[1]) * UNITS[match[2].upper()] if match else None


def short_number(value: float) -> str:
    """3e9 -> "3B"; to three digits."""
    for unit, scale in reversed(UNITS.items()):
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"
