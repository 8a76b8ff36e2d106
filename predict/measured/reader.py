"""What every reader of measurements has: whether a path is of its kind, and how it becomes a table.

To read another kind of file, write a module with a `Reader` and add it to `READERS` in `predict/measured/load.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from predict.measured.about import Reading
from predict.measured.mapping import Mapping


@dataclass(frozen=True, kw_only=True)
class Reader:
    """`kind` names it in errors. `read` raises UserError that names the file and what in it is wrong.

    `mapped` readers ask the user's mapping what columns or keys hold; the others know.
    """

    kind: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, Mapping], Reading]
    mapped: bool = False
