"""`--list-tasks`: what can be measured without bringing any document."""

from __future__ import annotations

from collections.abc import Iterable

from evaluate.tasks.suite import make_suite
from ladder.config.config import load_config
from ladder.config.olmes_manifest import Entry, RankedEntry, entries_of, names

SUITES = {"o": "olmes", "t": "olmes10", "e": "base_easy", "a": "all"}
HEADINGS = ("task", "formats", "split", "docs", "tokens", "chance", "in")
LEFT = 3  # columns of text; the rest are numbers, but for the last


def listing() -> str:
    """A table of the OLMES wheel's tasks, 80 columns wide at most."""
    suites = {letter: _tasks_of(suite) for letter, suite in SUITES.items()}
    rows = [list(HEADINGS)]
    for name in names():
        letters = "".join(letter for letter, tasks in suites.items() if name in tasks)
        rows.append([*_cells(name, entries_of(name)), letters])
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        " ".join(
            cell.rjust(width) if LEFT <= column < len(row) - 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    legend = ", ".join(f"{letter} {name}" for letter, name in SUITES.items())
    notes = (f"in: {legend}", "tokens: run through a model, by OLMo 2's; v1: an older set of 1,000 at most")
    return "\n".join([*lines, *notes])


def _tasks_of(suite: str) -> set[str]:
    return {task.name for task in make_suite(load_config([f"suite={suite}"]).suite).tasks}


def _cells(name: str, entries: Iterable[Entry]) -> list[str]:
    entries = list(entries)
    first = entries[0]
    chance = f"{first.chance:.3f}" if isinstance(first, RankedEntry) else "-"
    formats = " ".join(sorted((entry.format for entry in entries), reverse=True))
    return [name, formats, first.split, f"{first.documents:,}", _short(sum(e.tokens for e in entries)), chance]


def _short(count: int) -> str:
    """1071234 -> "1.07M"."""
    return f"{count / 1e6:.2f}M" if count >= 1e6 else f"{count / 1e3:.0f}K"
