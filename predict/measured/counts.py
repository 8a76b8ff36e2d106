"""Numbers of parameters and tokens as people write them."""

from __future__ import annotations

import re

UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_COUNTED = re.compile(r"\s*(\d+(?:\.\d+)?)([KMBTkmbt])\s*")


def counted(text: str) -> float | None:
    """`7B` -> 7e9; None for what is not written so."""
    found = _COUNTED.fullmatch(text)
    return float(found[1]) * UNITS[found[2].upper()] if found else None
