"""What a reader must know about a set of numbers: a code that programs may rely on, a severity, and the values.

Notes are made where something is found out and worded where they are shown, by `Note.text`. A new kind of note is a
line in `TEXTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ladder.errors import shortened

LONGEST = 300  # characters of a note
MOST = 6  # names that are listed one by one


class Severity(StrEnum):
    NOTE = "note"  # where the numbers come from
    WARNING = "warning"  # what limits them


# Code: words, with the note's values in braces; a list of names is cut to its first few.
TEXTS = {
    "few-rungs": "only {count} rungs: the five coefficients of step 1 are not determined",
    "one-value": "only one {what}: the fit cannot tell how loss changes with it",
    "unfinished": "no final checkpoint measured: {runs}",
    "not-measured": "not measured: {rungs}",
    "mixed-recipes": "the rungs were trained by different recipes: they differ in {keys}",
}


@dataclass(frozen=True, kw_only=True)
class Note:
    """`values` are numbers, texts and lists of texts: what JSON holds."""

    code: str
    severity: Severity = Severity.NOTE
    values: Mapping[str, Any]

    @property
    def text(self) -> str:
        """One line of at most 300 characters, "warning: " before it where it is one."""
        words = TEXTS[self.code].format(**{key: _words(value) for key, value in self.values.items()})
        return shortened(f"warning: {words}" if self.severity is Severity.WARNING else words, LONGEST)

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "severity": self.severity.value, "values": dict(self.values), "text": self.text}


def note(code: str, **values: Any) -> Note:
    return Note(code=code, values=values)


def warning(code: str, **values: Any) -> Note:
    return Note(code=code, severity=Severity.WARNING, values=values)


def _words(value: Any) -> Any:
    if isinstance(value, list | tuple):
        names = [shortened(str(item), 40) for item in value]
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        return ", ".join(names[:MOST]) + more
    return shortened(value, 80) if isinstance(value, str) else value
