"""What every reader of measurements has: whether a path is of its kind, and how it becomes a table.

To read another kind of file, write a module with a `Reader` and add it to `READERS` in `predict/measured/load.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.errors import UserError
from ladder.settings import TargetSettings
from predict.notes import Note

if TYPE_CHECKING:
    import pandas as pd

    from predict.measured.mapping import Mapping


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


@dataclass(frozen=True, kw_only=True)
class Reader:
    """`kind` names it in errors. `read` raises UserError that names the file and what in it is wrong.

    `mapped` readers ask the user's mapping what columns or keys hold; the others know.
    """

    kind: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, Mapping], Reading]
    mapped: bool = False
