"""Verdicts in words, and a prediction as plain values: the edge where its data becomes text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from predict.methods.base import Interval, Prediction, Verdict
from predict.methods.losses import LossPrediction
from predict.notes import Note


def verdict_text(verdict: Verdict) -> str:
    """Empty where accuracy follows scale."""
    how = {"follows": "", "loose": "follows scale loosely", "none": "does not follow scale"}[verdict.standing]
    return how and f"accuracy {how} (rank correlation {verdict.correlation:.2f} over {verdict.runs} rungs)"


def uncounted_text(verdict: Verdict) -> str:
    """Why nothing that a task's numbers do counts against a run; empty where it counts."""
    return "does not count: the task does not follow scale" if verdict.trendless else ""


def note_texts(notes: Sequence[Note]) -> tuple[str, ...]:
    """Notes on one row: that they are warnings goes without saying."""
    return tuple(note.words for note in notes)


def flag_texts(prediction: Prediction) -> tuple[str, ...]:
    """The verdict and the notes of one task, for a cell."""
    verdict = verdict_text(prediction.verdict)
    return (*((verdict,) if verdict else ()), *note_texts(prediction.notes))


def prediction_json(p: Prediction) -> dict[str, Any]:
    """A prediction as plain values, its verdict and notes both as data and in words."""
    verdict = {"standing": p.verdict.standing, "correlation": p.verdict.correlation, "runs": p.verdict.runs}
    return prediction_numbers(p) | {
        "verdict": verdict | {"text": verdict_text(p.verdict)},
        "notes": [note.to_json() for note in p.notes],
        "members": dict(p.members),
    }


def prediction_numbers(p: Prediction) -> dict[str, Any]:
    """The numbers of a prediction by name; intervals as their ends, None where there is none."""
    accuracy, loss = p.accuracy, p.loss
    return {
        "task": p.task,
        "loss": loss.value if loss else None,
        "loss_of": ("text" if p.of_text else "task") if loss else None,
        "accuracy": accuracy.value,
        **_ends("", accuracy.interval80, accuracy.interval95),
        "actual": p.actual,
        "error_points": p.error_points,
        **_ends("loss_", loss.interval80 if loss else None, loss.interval95 if loss else None),
        "actual_loss": p.actual_loss,
        "loss_error_percent": p.loss_error_percent,
        "paper_accuracy": p.paper_accuracy,
    }


def loss_numbers(p: LossPrediction) -> dict[str, Any]:
    """As `prediction_numbers`, of a task that has no accuracy."""
    return {
        "task": p.task.name,
        "loss": p.loss.value,
        **_ends("loss_", p.loss.interval80, p.loss.interval95),
        "actual_loss": p.actual,
        "loss_error_percent": p.error_percent,
    }


def _ends(prefix: str, interval80: Interval | None, interval95: Interval | None) -> dict[str, float | None]:
    return {
        f"{prefix}{end}{level}": getattr(interval, end) if interval else None
        for level, interval in ((80, interval80), (95, interval95))
        for end in ("low", "high")
    }
