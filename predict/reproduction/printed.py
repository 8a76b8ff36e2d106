"""A number of ours beside the one that the paper prints."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from predict.show.tables import Column, Plain, Table

PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))
DIFFERS = "≠"
MORE_DIGITS = 2  # than are printed


@dataclass(frozen=True, kw_only=True)
class Printed:
    """`ours` and what is `printed` to `digits` decimals; `printed` is None where the paper gives no number."""

    ours: float
    printed: float | None
    digits: int

    @property
    def differs(self) -> bool:
        """Whether ours does not round to what is printed."""
        return self.printed is not None and abs(self.ours - self.printed) > 0.5 * 10.0**-self.digits + 1e-9

    def text(self, column: Column) -> str:
        """`ours (printed)`, marked where they differ."""
        ours = f"{self.ours:.{self.digits + MORE_DIGITS}f}"
        if self.printed is None:
            return ours
        return f"{ours} ({self.printed:.{self.digits}f}){DIFFERS if self.differs else ''}"

    def parts(self) -> dict[str, Plain]:
        return {"": float(self.ours), " printed": self.printed}


def differing(tables: Iterable[Table]) -> int:
    """How many numbers do not round to what the paper prints."""
    return sum(isinstance(cell, Printed) and cell.differs for table in tables for row in table.rows for cell in row)
