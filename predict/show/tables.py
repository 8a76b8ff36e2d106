"""A small table of text cells that can be shown as aligned text, Markdown, CSV or HTML."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from predict.prediction import Prediction, inside_intervals, mean_error

_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?(e[+-]?\d+)?%?")


@dataclass(frozen=True, kw_only=True)
class Table:
    """`rows` are as long as `headers`; the first column is text, the others are aligned to the right."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        widths = [max(len(row[i]) for row in (self.headers, *self.rows)) for i in range(len(self.headers))]
        left = [i == 0 or header in ("flags", "note") for i, header in enumerate(self.headers)]

        def line(cells: Sequence[str]) -> str:
            padded = [c.ljust(w) if at else c.rjust(w) for c, w, at in zip(cells, widths, left, strict=True)]
            return "  ".join(padded).rstrip()

        rule = "─" * min(sum(widths) + 2 * (len(widths) - 1), 120)
        return "\n".join([self.title, rule, line(self.headers), rule, *map(line, self.rows), rule, *self.notes])

    def markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        rule = ["---", *["---:"] * (len(self.headers) - 1)]
        parts = [f"## {self.title}", "", line(self.headers), line(rule), *map(line, self.rows)]
        return "\n".join([*parts, *[f"\n{note}" for note in self.notes]])

    def csv(self) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([self.headers, *self.rows])
        return buffer.getvalue().rstrip("\n")

    def records(self) -> list[dict[str, str | float | None]]:
        """An object per row: numbers as numbers, to the digits shown; percentages as shares; None where empty."""
        return [dict(zip(self.headers, (row[0], *map(_value, row[1:])), strict=True)) for row in self.rows]


def _value(cell: str) -> str | float | None:
    if not _NUMBER.fullmatch(cell):
        return None if cell in ("", "inf", "nan") else cell
    if cell.endswith("%"):
        return round(float(cell[:-1]) / 100, len(cell.partition(".")[2]) + 2)
    plain = cell.replace(",", "")
    return float(plain) if {".", "e"} & set(plain) else int(plain)


def number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)


def percent(value: float | None) -> str:
    """An accuracy in [0, 1] as points."""
    return "" if value is None else f"{100 * value:.2f}"


def prediction_table(predictions: list[Prediction], title: str, notes: Sequence[str] = ()) -> Table:
    """Columns without any value (no interval, no actual) are left out."""
    columns: list[tuple[str, list[str]]] = [
        ("task", [p.title for p in predictions]),
        ("loss", [number(p.loss, ".4f") for p in predictions]),
        ("actual loss", [number(p.actual_loss, ".4f") for p in predictions]),
        ("error %", [number(p.loss_error_percent, "+.2f") for p in predictions]),
        ("accuracy", [percent(p.accuracy) for p in predictions]),
        ("80% interval", [_interval(p.low80, p.high80) for p in predictions]),
        ("95% interval", [_interval(p.low95, p.high95) for p in predictions]),
        ("paper", [percent(p.paper_accuracy) for p in predictions]),
        ("actual", [percent(p.actual) for p in predictions]),
        ("error", [number(p.error_points, "+.2f") for p in predictions]),
        ("flags", ["; ".join(p.flags) for p in predictions]),
    ]
    kept = [(header, cells) for header, cells in columns if any(cells)]
    error = mean_error(predictions)
    summary = () if error is None else (_summary(predictions, error),)
    return Table(
        title=title,
        headers=tuple(header for header, _ in kept),
        rows=tuple(zip(*[cells for _, cells in kept], strict=True)),
        notes=(*summary, *notes),
    )


def predictions_csv(predictions: Sequence[Prediction]) -> str:
    """The fields of `Prediction.to_json`, a row per task: accuracies in [0, 1], numbers as they are."""
    buffer = io.StringIO()
    names = [name for name in predictions[0].to_json() if name != "members"]
    writer = csv.DictWriter(buffer, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(p.to_json() | {"flags": "; ".join(p.flags)} for p in predictions)
    return buffer.getvalue()


def _summary(predictions: list[Prediction], error: float) -> str:
    text = f"mean absolute error {error:.2f} points{_paper_error(predictions)}"
    inside = inside_intervals(predictions)
    if inside is None:
        return text
    return f"{text}; of {inside[2]} actual accuracies {inside[0]} lie in the 80% interval, {inside[1]} in the 95% one"


def _paper_error(predictions: list[Prediction]) -> str:
    pairs = [(p.paper_accuracy, p.actual) for p in predictions if not p.refused]
    errors = [100 * abs(paper - actual) for paper, actual in pairs if paper is not None and actual is not None]
    return f" (method paper: {sum(errors) / len(errors):.2f})" if errors else ""


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"
