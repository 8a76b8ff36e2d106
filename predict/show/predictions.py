"""Predictions as a table: accuracy and how sure it is first, then what was measured, then loss."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ladder.rungs.rung import Target
from predict.methods.base import Interval, Prediction, intervals_held, mean_error
from predict.methods.losses import LossPrediction
from predict.notes import Note
from predict.show.tables import Range, Table, fixed, flags, words
from predict.show.verdicts import flag_texts, loss_numbers, prediction_json, prediction_numbers


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is printed: predictions, the method that made them, and notes on where they come from."""

    target: Target
    method: str
    predictions: list[Prediction]
    notes: list[Note]
    losses: list[LossPrediction] = field(default_factory=list)  # of tasks that have no accuracy

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target.name,
            "n": self.target.n,
            "d": self.target.d,
            "method": self.method,
            "notes": [note.to_json() for note in self.notes],
            "predictions": [prediction_json(prediction) for prediction in self.predictions],
            "losses": [loss_numbers(one) | {"unit": one.task.unit} for one in self.losses],
        }

    def tables(self) -> list[Table]:
        """Of what has an accuracy, and of losses alone; the notes stand below the last."""
        title = f"{self.target.name} (N = {self.target.n:.4g}, D = {self.target.d:.4g}) by method {self.method}"
        notes = [note.text for note in self.notes]
        if not self.losses:
            return [prediction_table(self.predictions, title, notes)]
        alone = "Losses of tasks without an accuracy, by step 1"
        if not self.predictions:
            return [loss_table(self.losses, f"{title}: {alone[0].lower()}{alone[1:]}", notes)]
        return [prediction_table(self.predictions, title), loss_table(self.losses, alone, notes)]


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
        fixed("LM loss", 4, "nats per token"),
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
            *loss_cells(p),
            p.actual_loss,
            p.loss_error_percent,
            flag_texts(p),
        )
        for p in predictions
    )
    error = mean_error(predictions)
    summary = () if error is None else (_summary(predictions, error),)
    return Table(title=title, columns=columns, rows=rows, notes=(*summary, *notes)).without_empty_columns()


def loss_cells(p: Prediction) -> tuple[float | None, float | None]:
    """The loss of the task, or else of running text."""
    value = p.loss.value if p.loss else None
    return (None, value) if p.of_text else (value, None)


def loss_table(losses: Sequence[LossPrediction], title: str, notes: Sequence[str] = ()) -> Table:
    """A row per loss, in its own unit."""
    columns = (
        words("task"),
        fixed("loss", 4),
        fixed("80% interval", 3),
        fixed("95% interval", 3),
        fixed("actual", 4),
        fixed("error %", 2, "percent", signed=True),
        words("unit"),
    )
    rows = tuple(
        (
            one.task.title,
            one.loss.value,
            _ends_of(one.loss.interval80),
            _ends_of(one.loss.interval95),
            one.actual,
            one.error_percent,
            one.task.short_unit,
        )
        for one in losses
    )
    errors = [abs(one.error_percent) for one in losses if one.error_percent is not None]
    summary = (f"mean absolute error {sum(errors) / len(errors):.2f}%",) if errors else ()
    return Table(title=title, columns=columns, rows=rows, notes=(*summary, *notes)).without_empty_columns()


def _ends_of(interval: Interval | None) -> Range | None:
    return Range(low=interval.low, high=interval.high) if interval else None


def predictions_csv(predictions: Sequence[Prediction], losses: Sequence[LossPrediction] = ()) -> str:
    """The numbers of each prediction and its flags, a row per task: accuracies in [0, 1], numbers as they are."""
    buffer = io.StringIO()
    rows = [prediction_numbers(p) | {"flags": "; ".join(flag_texts(p))} for p in predictions]
    rows += [loss_numbers(one) for one in losses]
    writer = csv.DictWriter(buffer, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _summary(predictions: Sequence[Prediction], error: float) -> str:
    text = f"mean absolute error {error:.2f} points{_paper_error(predictions)}"
    held = intervals_held(predictions)
    if held is None:
        return text
    return f"{text}; of {held.count} actual accuracies {held.in80} lie in the 80% interval, {held.in95} in the 95% one"


def _paper_error(predictions: Sequence[Prediction]) -> str:
    pairs = [(p.paper_accuracy, p.actual) for p in predictions if not p.verdict.trendless]
    errors = [100 * abs(paper - actual) for paper, actual in pairs if paper is not None and actual is not None]
    return f" (method paper: {sum(errors) / len(errors):.2f})" if errors else ""


def percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else 100 * accuracy


def percent_range(interval: Interval | None) -> Range | None:
    return Range(low=100 * interval.low, high=100 * interval.high) if interval else None
