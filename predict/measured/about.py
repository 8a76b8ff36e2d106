"""What a reader returns: a checked table, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ladder.config.settings import TargetSettings
from ladder.errors import UserError
from predict.notes import Note

if TYPE_CHECKING:
    import pandas as pd


class Unexplained(UserError):
    """A table whose columns or units only a mapping can explain."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of measurements beside their table; `predict collect` keeps it in the Parquet file.

    `ladder` is the `ladder` node of the configuration that the runs were made with, or its name alone where that is
    one of ours; None where the runs belong to no ladder, so that each of them is a rung. `sizes` has other spellings
    of sizes. `target` is what that configuration predicts. `origin` says whose measurements they are; empty: the path.
    """

    ladder: dict[str, Any] | None = None
    sizes: dict[str, str] = field(default_factory=dict)
    target: TargetSettings | None = None
    origin: str = ""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A checked measurement table (`predict.measured.table`) and what is known about it."""

    table: pd.DataFrame
    about: About = About()
