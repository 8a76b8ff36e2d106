"""Predictions as a table: accuracy and how sure it is first, then what was measured, then loss."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ladder.rung import Target
from predict.methods.base import Interval, Prediction, inside_intervals, mean_error
from predict.notes import Note
from predict.show.tables import Range, Table, fixed, flags, words
from predict.show.verdicts import flag_texts, prediction_json, prediction_numbers


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is printed: predictions, the method that made them, and notes on where they come from."""

    target: Target
    method: str
    predictions: list[Prediction]
    notes: list[Note]

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target.name,
            "n": self.target.n,
            "d": self.target.d,
            "method": self.method,
            "notes": [note.to_json() for note in self.notes],
            "predictions": [prediction_json(prediction) for prediction in self.predictions],
        }


def prediction_table(predictions: Sequence[Prediction], title: str, notes: Sequence[str] = ()) -> Table:
    """A row per task, accuracies in percent; columns without any value (no interval, no actual) are left out."""
    columns = (
        words("task"),
        fixed("accuracy", 2, "percent"),
        fixed("80% interval", 1, "percent"),
        fixed("95% interval", 1, "percent"),
        fixed("actual", 2, "percent"),
        fixed("error", 2, "points", signed=True),
        fixed("paper", 2, "percent"),
        fixed("loss", 4),
        fixed("actual loss", 4),
        fixed("loss error %", 2, "percent", signed=True),
        flags(),
    )
    rows = tuple(
        (
            p.title,
            100 * p.accuracy.value,
            percent_range(p.accuracy.interval80),
            percent_range(p.accuracy.interval95),
            percent(p.actual),
            p.error_points,
            percent(p.paper_accuracy),
            p.loss.value if p.loss else None,
            p.actual_loss,
            p.loss_error_percent,
            flag_texts(p),
        )
        for p in predictions
    )
    error = mean_error(list(predictions))
    summary = () if error is None else (_summary(predictions, error),)
    return Table(title=title, columns=columns, rows=rows, notes=(*summary, *notes)).without_empty_columns()


def predictions_csv(predictions: Sequence[Prediction]) -> str:
    """The numbers of each prediction and its flags, a row per task: accuracies in [0, 1], numbers as they are."""
    buffer = io.StringIO()
    rows = [prediction_numbers(p) | {"flags": "; ".join(flag_texts(p))} for p in predictions]
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _summary(predictions: Sequence[Prediction], error: float) -> str:
    text = f"mean absolute error {error:.2f} points{_paper_error(predictions)}"
    inside = inside_intervals(list(predictions))
    if inside is None:
        return text
    return f"{text}; of {inside[2]} actual accuracies {inside[0]} lie in the 80% interval, {inside[1]} in the 95% one"


def _paper_error(predictions: Sequence[Prediction]) -> str:
    pairs = [(p.paper_accuracy, p.actual) for p in predictions if not p.verdict.trendless]
    errors = [100 * abs(paper - actual) for paper, actual in pairs if paper is not None and actual is not None]
    return f" (method paper: {sum(errors) / len(errors):.2f})" if errors else ""


def percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else 100 * accuracy


def percent_range(interval: Interval | None) -> Range | None:
    return Range(low=100 * interval.low, high=100 * interval.high) if interval else None
