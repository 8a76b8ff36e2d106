"""Tables of typed columns: rows hold values, which are formatted only where they are shown.

Text (`terminal.py`), Markdown and HTML show a value to the digits of its column; CSV and JSON hold it as it is.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

Plain = str | float | bool | None

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Kind(Enum):
    """What a column holds, and so how its values are written and aligned."""

    WORDS = auto()
    CODE = auto()  # words in the type of a machine, such as a formula
    FIXED = auto()  # to a number of decimals
    SIGNIFICANT = auto()  # to a number of significant digits
    WHOLE = auto()  # with thousands separated
    SHARE = auto()  # in [0, 1], written in percent
    FLAGS = auto()  # a tuple of sentences on the row, shown as footnotes


@dataclass(frozen=True, kw_only=True)
class Column:
    """`unit` is that of the values, empty where they have none; `digits` are decimals or significant digits."""

    name: str
    kind: Kind = Kind.WORDS
    digits: int = 0
    signed: bool = False
    unit: str = ""

    @property
    def numeric(self) -> bool:
        return self.kind not in (Kind.WORDS, Kind.CODE, Kind.FLAGS)

    def text(self, value: Value) -> str:
        """The value as a reader sees it; empty where there is none."""
        value = finite(value)
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str):
            return value
        if isinstance(value, tuple):
            return "; ".join(value)
        if isinstance(value, float | int):
            return self._number(value)
        return value.text(self)

    def _number(self, value: float) -> str:
        sign = "+" if self.signed else ""
        if self.kind is Kind.SHARE:
            return f"{value:{sign}.{self.digits}%}"
        if self.kind is Kind.SIGNIFICANT:
            return f"{value:{sign}.{self.digits}g}"
        if self.kind is Kind.WHOLE:
            return f"{value:{sign},.0f}"
        return f"{value:{sign}.{self.digits}f}"


class Compound(Protocol):
    """A value of several parts that is shown in one cell."""

    def text(self, column: Column) -> str: ...

    def parts(self) -> Mapping[str, Plain]:
        """What follows the column's name -> value, for the columns that CSV and JSON have in its place."""


Value = Plain | tuple[str, ...] | Compound
Row = tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bounds in the unit of their column."""

    low: float
    high: float

    def text(self, column: Column) -> str:
        return f"{column.text(self.low)}–{column.text(self.high)}"

    def parts(self) -> dict[str, Plain]:
        return {" low": self.low, " high": self.high}


def words(name: str) -> Column:
    return Column(name=name)


def code(name: str) -> Column:
    return Column(name=name, kind=Kind.CODE)


def fixed(name: str, digits: int, unit: str = "", *, signed: bool = False) -> Column:
    return Column(name=name, kind=Kind.FIXED, digits=digits, unit=unit, signed=signed)


def significant(name: str, digits: int, unit: str = "") -> Column:
    return Column(name=name, kind=Kind.SIGNIFICANT, digits=digits, unit=unit)


def whole(name: str, unit: str = "") -> Column:
    return Column(name=name, kind=Kind.WHOLE, unit=unit)


def share(name: str, digits: int = 0, *, signed: bool = False) -> Column:
    return Column(name=name, kind=Kind.SHARE, digits=digits, unit="share", signed=signed)


def flags(name: str = "flags") -> Column:
    return Column(name=name, kind=Kind.FLAGS)


@dataclass(frozen=True, kw_only=True)
class Table:
    """`rows` are as long as `columns`; the first column names the row."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: a row is not as long as the {len(self.columns)} columns")

    def without_empty_columns(self) -> Table:
        """Without the columns in which no row has a value."""
        kept = [i for i, column in enumerate(self.columns) if any(column.text(row[i]) for row in self.rows)]
        return Table(
            title=self.title,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
            notes=self.notes,
        )

    @property
    def shown_columns(self) -> tuple[Column, ...]:
        """All but the flags, which are footnotes."""
        return tuple(column for column in self.columns if column.kind is not Kind.FLAGS)

    @property
    def footnotes(self) -> list[str]:
        """The rows' flags, each once, by the number that marks it."""
        return [f"{_mark(number)} {text}" for text, number in self._numbered().items()]

    @property
    def cells(self) -> list[list[str]]:
        """The shown columns of each row as text; marks of footnotes follow its name."""
        numbers = self._numbered()
        lines = []
        for row in self.rows:
            pairs = list(zip(self.columns, row, strict=True))
            texts = [column.text(value) for column, value in pairs if column.kind is not Kind.FLAGS]
            marks = sorted(numbers[text] for column, value in pairs for text in _flags_in(column, value))
            lines.append([" ".join([texts[0], *map(_mark, marks)]), *texts[1:]])
        return lines

    def _numbered(self) -> dict[str, int]:
        numbers: dict[str, int] = {}
        for row in self.rows:
            for column, value in zip(self.columns, row, strict=True):
                for text in _flags_in(column, value):
                    numbers.setdefault(text, len(numbers) + 1)
        return numbers

    def markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        columns = self.shown_columns
        rule = ["---:" if column.numeric else "---" for column in columns]
        parts = [f"## {self.title}", "", line([column.name for column in columns]), line(rule), *map(line, self.cells)]
        return "\n".join([*parts, *[f"\n{note}" for note in (*self.footnotes, *self.notes)]])

    def csv(self) -> str:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        names = self._names()
        writer.writerow(names)
        for record in self.records():
            writer.writerow([_csv_cell(record[name]) for name in names])
        return buffer.getvalue().rstrip("\n")

    def records(self) -> list[dict[str, Any]]:
        """An object per row with every digit: None where there is no value, a list of sentences for flags."""
        names = self._names()
        return [
            dict.fromkeys(names)
            | {name: part for pair in zip(self.columns, row, strict=True) for name, part in _parts_of(*pair)}
            for row in self.rows
        ]

    def to_json(self) -> dict[str, Any]:
        """`units` are those of columns that have one."""
        units = {column.name: column.unit for column in self.columns if column.unit}
        return {"title": self.title, "notes": [*self.notes], "units": units, "rows": self.records()}

    def _names(self) -> list[str]:
        """The names in CSV and JSON: those of the columns, or of the parts where values have parts."""
        names: list[str] = []
        for i, column in enumerate(self.columns):
            parts = dict.fromkeys(name for row in self.rows for name, _ in _parts_of(column, row[i]))
            names += parts or [column.name]
        return names


def finite(value: Value) -> Value:
    """The value, or None for a number that is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parts_of(column: Column, value: Value) -> list[tuple[str, Any]]:
    """(name in CSV and JSON, value) of a cell; nothing where there is no value."""
    value = finite(value)
    if value is None:
        return []
    if isinstance(value, str | bool | int):
        return [(column.name, value)]
    if isinstance(value, float):
        return [(column.name, float(value))]
    if isinstance(value, tuple):
        return [(column.name, list(value))]
    return [(column.name + suffix, finite(part)) for suffix, part in value.parts().items()]


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "; ".join(value) if isinstance(value, list) else value


def _flags_in(column: Column, value: Value) -> tuple[str, ...]:
    return value if column.kind is Kind.FLAGS and isinstance(value, tuple) else ()


def _mark(number: int) -> str:
    return str(number).translate(SUPERSCRIPTS)
