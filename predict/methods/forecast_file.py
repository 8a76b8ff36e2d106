"""Forecast files: what is predicted of a target, put on record before the target is trained.

A file stands for itself: numbers and intervals of every task, the laws that gave them, what was fitted (with a hash of
the measurements), by which code, when, and what the ladder cost. It is written once and never over another one.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ladder.config.settings import Smoothing
from ladder.errors import UserError
from ladder.files.bind import Number, Positive, Text, bind
from ladder.files.reading import read_json
from ladder.files.writing import atomic_file
from ladder.jobs.forecast import FORECAST_SCHEMA
from ladder.rungs.rung import Target
from predict.measured.loss_tasks import AloneMetric, LossMetric, LossTask
from predict.measured.runs import Run
from predict.measured.table import LARGEST_LOSS, SMALLEST_LOSS
from predict.methods.base import Estimate, Interval, Prediction, Verdict
from predict.methods.losses import FittedLosses, LossPrediction
from predict.notes import Note

_NUMBERS = re.compile(r"\[[^][\"{}]*\]|\{\s*\"low\"[^{}]*\}")  # an array of numbers, or an interval: on one line


def _moment(text: str) -> str:
    try:
        with_offset = datetime.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        with_offset = False
    if not with_offset:
        raise ValueError("must be a date and time with its offset from UTC, such as 2026-01-31T12:00:00+00:00")
    return text


def _ordered(interval: Interval) -> Interval:
    if interval.low > interval.high:
        raise ValueError("must have low no larger than high")
    return interval


Ends = Annotated[Interval, AfterValidator(_ordered)]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An `Estimate` as it stands in a file; the intervals are null where the method has none."""

    value: float
    interval80: Ends | None
    interval95: Ends | None

    @property
    def estimate(self) -> Estimate:
        return Estimate(value=self.value, interval80=self.interval80, interval95=self.interval95)


def _an_accuracy(stored: Stored) -> Stored:
    if not 0 <= stored.value <= 1:
        raise ValueError("must have a value in [0, 1]")
    return stored


def _a_loss(stored: Stored) -> Stored:
    if not SMALLEST_LOSS <= stored.value <= LARGEST_LOSS:
        raise ValueError(f"must have a value from {SMALLEST_LOSS:g} to {LARGEST_LOSS:g}")
    return stored


@dataclass(frozen=True, kw_only=True)
class StoredLoss(Stored):
    """`metric` is that of the measurement table; `lm_loss` is of a text, not of the task."""

    metric: LossMetric


@dataclass(frozen=True, kw_only=True)
class ForecastTarget:
    """N parameters and D training tokens."""

    name: Text
    n: Annotated[Number, Field(gt=0, le=1e30)]
    d: Annotated[Number, Field(gt=0, le=1e30)]


@dataclass(frozen=True, kw_only=True)
class ForecastLadder:
    """What was fitted: the `runs` of ladder `name`, and a hash of every value that was measured on them.

    `flops` is 6ND over its runs, `share` that over the target's.
    """

    name: str
    measurements: str
    runs: Annotated[tuple[Text, ...], Field(min_length=1)]
    smoothing: Smoothing
    measurements_sha256: Text
    flops: Positive
    share: Positive


@dataclass(frozen=True, kw_only=True)
class ForecastTask:
    """Accuracy in [0, 1]; `loss` is the method's feature, null where that is none."""

    title: Text
    accuracy: Annotated[Stored, AfterValidator(_an_accuracy)]
    loss: Annotated[StoredLoss, AfterValidator(_a_loss)] | None
    verdict: Verdict
    notes: tuple[Note, ...]


@dataclass(frozen=True, kw_only=True)
class ForecastLoss:
    """A loss that has no accuracy, by step 1; `law` is the heaviest of the laws that were averaged."""

    split: str
    metric: AloneMetric
    loss: Annotated[Stored, AfterValidator(_a_loss)]
    law: Text


@dataclass(frozen=True, kw_only=True)
class LmForecast:
    """The mean of the language-modelling losses on `texts`, nats per token."""

    texts: Annotated[tuple[Text, ...], Field(min_length=1)]
    loss: Annotated[Stored, AfterValidator(_a_loss)]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """`laws` is what `python -m predict fit` writes, as plain values: a forecast outlives the schema of its laws. It is
    empty where there are `losses` without an accuracy alone. Texts whose mean is `lm_loss` are not among them.

    `inputs` are hashes, by task and text, of what `python -m ladder` made it from; empty where that did not.
    """

    schema: Literal[1]
    target: ForecastTarget
    method: Text
    registered: Annotated[str, AfterValidator(_moment)]
    code: Text
    ladder: ForecastLadder
    tasks: dict[Text, ForecastTask]
    lm_loss: LmForecast | None
    notes: tuple[Note, ...]
    laws: dict[str, Any]
    inputs: dict[Text, Text]
    losses: dict[Text, ForecastLoss]

    @property
    def as_target(self) -> Target:
        return Target(name=self.target.name, n=self.target.n, d=self.target.d)

    def predictions(self) -> list[Prediction]:
        """As the method gave them."""
        return [
            Prediction(
                task=name,
                title=task.title,
                accuracy=task.accuracy.estimate,
                loss=task.loss.estimate if task.loss else None,
                loss_metric=task.loss.metric if task.loss else None,
                verdict=task.verdict,
                notes=task.notes,
            )
            for name, task in self.tasks.items()
        ]

    def loss_predictions(self) -> list[LossPrediction]:
        """Of losses that have no accuracy."""
        return [
            LossPrediction(task=LossTask(name=name, split=one.split, metric=one.metric), loss=one.loss.estimate)
            for name, one in self.losses.items()
        ]

    def text(self) -> str:
        """What `load` reads back: JSON, with a line for each key, interval or array of numbers."""
        plain = json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False)
        return _NUMBERS.sub(lambda row: " ".join(row.group().split()), plain) + "\n"


def load(path: Path) -> Forecast:
    """Raises UserError where the file is no forecast of this schema, or a key or value of it is wrong."""
    node = read_json(path)
    if not isinstance(node, dict) or node.get("schema") != FORECAST_SCHEMA or "registered" not in node:
        raise UserError(f"{path} is no forecast of schema {FORECAST_SCHEMA}; python -m predict register writes one")
    forecast = bind(Forecast, node, str(path))
    if not forecast.tasks and not forecast.losses:
        raise UserError(f"{path} predicts nothing: tasks and losses are both empty")
    return forecast


def write_new(forecast: Forecast, path: Path) -> str:
    """Writes the file and returns the SHA-256 of its content; raises UserError where anything is there already."""
    text = forecast.text()
    if path.exists() or path.is_symlink():
        raise _taken(path)
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        try:
            os.link(temporary, path)  # of two that write at once one fails
        except FileExistsError:
            raise _taken(path) from None
        except OSError:  # a file system without links
            pass
    return hashlib.sha256(text.encode()).hexdigest()


def _taken(path: Path) -> UserError:
    return UserError(f"{path} is there already, and what was registered is never overwritten; give another --output")


def stored(estimate: Estimate) -> Stored:
    return Stored(value=estimate.value, interval80=estimate.interval80, interval95=estimate.interval95)


def stored_tasks(predictions: Sequence[Prediction]) -> dict[str, ForecastTask]:
    """By name."""
    return {
        p.task: ForecastTask(
            title=p.title,
            accuracy=stored(p.accuracy),
            loss=StoredLoss(**vars(stored(p.loss)), metric=p.loss_metric) if p.loss and p.loss_metric else None,
            verdict=p.verdict,
            notes=p.notes,
        )
        for p in predictions
    }


def stored_losses(fitted: FittedLosses, target: Target) -> dict[str, ForecastLoss]:
    """By name."""
    return {
        p.task.name: ForecastLoss(split=p.task.split, metric=p.task.metric, loss=stored(p.loss), law=fit.laws.formula())
        for p, fit in zip(fitted.predict(target), fitted.fitted.fits, strict=True)
    }


def measurements_sha256(runs: Sequence[Run]) -> str:
    """Of every value of the runs with its step; the order of runs and files does not matter."""
    digest = hashlib.sha256()
    for run in sorted(runs, key=lambda run: run.name):
        digest.update(json.dumps([run.name, float(run.n), float(run.d)]).encode())
        for key, curve in sorted(run.curves.items()):
            digest.update(json.dumps(key).encode())
            digest.update(curve.steps.astype("<i8").tobytes() + curve.values.astype("<f8").tobytes())
    return digest.hexdigest()


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
