"""A ladder in a few lines: what was measured on which runs, for a prompt and for a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ladder.errors import shortened
from ladder.words import count_of

if TYPE_CHECKING:
    from predict.measured.ladder import Measured
    from predict.measured.runs import Run

MOST_ROWS = 12
MOST_WORDS = 120  # characters of a list of names


def in_a_line(ladder: Measured) -> str:
    beyond = len(ladder.runs) - len(ladder.rungs)
    runs = count_of(len(ladder.rungs), "rung") + (f" and {count_of(beyond, 'more run')}" if beyond else "")
    return f"<ladder {ladder.name} from {ladder.source}: {runs} on {count_of(len(ladder.task_names()), 'task')}>"


def as_html(ladder: Measured) -> str:
    """A row per size: its runs, their tokens and checkpoints; below it the tasks."""
    sizes: dict[str, list[Run]] = {}
    for run in ladder.rungs:
        sizes.setdefault(run.size, []).append(run)
    rows = [_row(size, runs) for size, runs in sizes.items()]
    if len(rows) > MOST_ROWS:
        left = len(rows) - MOST_ROWS + 1
        rows[MOST_ROWS // 2 : MOST_ROWS // 2 + left] = [(f"… {count_of(left, 'more size')}", "", "", "", "")]
    rungs = {run.name for run in ladder.rungs}
    others = [run.name for run in ladder.runs if run.name not in rungs]
    below = [f"tasks: {_names(ladder.task_names())}", f"not fitted: {_names(others)}" if others else ""]
    return _table(
        f"{ladder.name}: {count_of(len(ladder.rungs), 'rung')}", ("size", "N", "runs", "D", "checkpoints"), rows
    ) + "".join(f"<div><small>{html.escape(words)}</small></div>" for words in below if words)


def _row(size: str, runs: Sequence[Run]) -> tuple[str, ...]:
    checkpoints = sorted(run.checkpoints for run in runs)
    tokens, counts = _span([f"{run.d:.3g}" for run in runs]), _span([str(count) for count in checkpoints])
    return size, f"{runs[0].n:.4g}", str(len(runs)), tokens, counts


def _span(words: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys((words[0], words[-1])))


def _names(names: Sequence[str]) -> str:
    return shortened(", ".join(names), MOST_WORDS) or "none"


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    head = f"<caption><b>{html.escape(title)}</b></caption><thead>{line(names, 'th')}</thead>"
    return f"<table>{head}<tbody>{''.join(line(cells, 'td') for cells in rows)}</tbody></table>"
