"""A table as aligned text that fits the terminal."""

from __future__ import annotations

import shutil
import textwrap
from itertools import zip_longest

from predict.show.tables import Table

UNKNOWN_WIDTH = 80  # of what is no terminal, such as a file or a pipe
NOTE_WIDTH = 100  # longer lines are hard to read
NARROWEST = 20  # of a column of words
GAP = "  "


def as_text(table: Table, width: int | None = None) -> str:
    """Columns that do not fit into `width` (by default the terminal's) go on below, beside the names of the rows."""
    width = width or shutil.get_terminal_size((UNKNOWN_WIDTH, 24)).columns
    names = [column.name for column in table.shown_columns]
    body = [[_fitting(table, i, cell, width) for i, cell in enumerate(row)] for row in table.cells]
    sizes = [max((len(line) for row in body for line in row[i]), default=0) for i in range(len(names))]
    headers, blocks = min(
        (_laid_out([[name] for name in names], sizes, width), _laid_out(_folded(names, sizes), sizes, width)),
        key=lambda layout: len(layout[1]),
    )
    sizes = _with_headers(headers, sizes)
    lines = [*_wrapped(table.title, width)]
    rule = "─" * min(width, max(_total(sizes, block) for block in blocks))
    for block in blocks:
        numeric = [table.shown_columns[i].numeric for i in block]
        head = zip(*_top_padded([headers[i] for i in block]), strict=True)
        below = [cells for row in body for cells in zip_longest(*(row[i] for i in block), fillvalue="")]
        aligned = [[_line(cells, [sizes[i] for i in block], numeric) for cells in part] for part in (head, below)]
        lines += [rule, *aligned[0], rule, *aligned[1]]
    notes = [line for note in (*table.footnotes, *table.notes) for line in _wrapped(note, min(width, NOTE_WIDTH))]
    return "\n".join([*lines, rule, *notes])


def _fitting(table: Table, i: int, cell: str, width: int) -> list[str]:
    """A cell in lines: words that would not fit beside the names of the rows are broken."""
    if i == 0 or table.shown_columns[i].numeric:
        return [cell]
    beside = max(len(row[0]) for row in table.cells) + len(GAP)
    return textwrap.wrap(cell, max(width - beside, NARROWEST), break_long_words=False) or [""]


def _laid_out(headers: list[list[str]], sizes: list[int], width: int) -> tuple[list[list[str]], list[list[int]]]:
    """The headers, and the columns of each block of at most `width`; every block begins with the first column."""
    sizes = _with_headers(headers, sizes)
    blocks: list[list[int]] = [[0]]
    for i in range(1, len(sizes)):
        if len(blocks[-1]) > 1 and _total(sizes, [*blocks[-1], i]) > width:
            blocks.append([0])
        blocks[-1].append(i)
    return headers, blocks


def _folded(names: list[str], sizes: list[int]) -> list[list[str]]:
    """Headers in several lines, each no wider than its longest word or value."""
    return [
        textwrap.wrap(name, max(size, *map(len, name.split()), 1)) if name else [""]
        for name, size in zip(names, sizes, strict=True)
    ]


def _with_headers(headers: list[list[str]], sizes: list[int]) -> list[int]:
    return [max(size, *map(len, lines)) for lines, size in zip(headers, sizes, strict=True)]


def _total(sizes: list[int], block: list[int]) -> int:
    return sum(sizes[i] for i in block) + len(GAP) * (len(block) - 1)


def _top_padded(headers: list[list[str]]) -> list[list[str]]:
    height = max(map(len, headers))
    return [[""] * (height - len(lines)) + lines for lines in headers]


def _line(cells: list[str] | tuple[str, ...], sizes: list[int], numeric: list[bool]) -> str:
    padded = [
        cell.rjust(size) if right else cell.ljust(size) for cell, size, right in zip(cells, sizes, numeric, strict=True)
    ]
    return GAP.join(padded).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
