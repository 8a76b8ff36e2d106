"""What is followed of a run: its losses and accuracies, and what each of its checkpoints should show of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from predict.analyses.following import Followed
from predict.measured.progress import Trace
from predict.methods.base import Estimate, Prediction
from predict.methods.course import Course, spikes


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What is followed: `own` are the run's checkpoints, `bands` what each should show, None too early in training.

    `curve` is the same at `at` (points,), for a plot; `window` is how many checkpoints in a row make a
    departure, `spikes` are places of checkpoints. `prediction` is that of the task whose quantity it is; None for the
    language-modelling loss, which is of no task.
    """

    name: str
    unit: Literal["nats per token", "bits per byte", "percent"]
    own: Trace
    bands: tuple[Estimate | None, ...]
    at: np.ndarray
    curve: tuple[Estimate | None, ...]
    window: int
    prediction: Prediction | None = None
    spikes: tuple[int, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether what it does counts against the run."""
        return self.prediction is None or not self.prediction.verdict.trendless

    @property
    def scale(self) -> float:
        """From a value to its unit."""
        return 100.0 if self.unit == "percent" else 1.0

    @property
    def outside(self) -> list[int]:
        """The checkpoints that lie outside their 95% bands, as do the `window` - 1 before them: one alone is noise."""
        places, row = [], 0
        for i, (value, band) in enumerate(zip(self.own.values, self.bands, strict=True)):
            row = row + 1 if band and band.interval95 and float(value) not in band.interval95 else 0
            if row >= self.window:
                places.append(i)
        return places

    @property
    def excursions(self) -> list[Excursion]:
        """In order of training."""
        result = [Excursion(quantity=self, place=i, kind="band") for i in self.outside]
        result += [Excursion(quantity=self, place=i, kind="spike") for i in self.spikes]
        return sorted(result, key=lambda one: one.place)


@dataclass(frozen=True, kw_only=True)
class Excursion:
    """A checkpoint outside its band, or far above what the checkpoints before it lead to."""

    quantity: Quantity
    place: int
    kind: Literal["band", "spike"]

    @property
    def share(self) -> float:
        return float(self.quantity.own.shares[self.place])


def quantities(followed: Followed) -> list[Quantity]:
    """The language-modelling loss first, then each task's loss and accuracy, as far as they were measured.

    Spikes are looked for in the language-modelling loss, whose curves are the smoothest; without it in every task loss.
    """
    companion, result = followed.companion, []
    lm = companion.lm_course if followed.lm_loss else None
    if lm and followed.lm_loss:
        result.append(_loss("LM loss", None, lm, companion.lm_trace, followed.lm_loss, followed))
    for name, p in followed.predictions.items():
        task = companion.ways[name].study.task
        if p.loss and (course := companion.loss_course(task)):
            result.append(_loss(f"{p.title} loss", p, course, companion.loss_trace(task), p.loss, followed, not lm))
        result.append(_accuracy(name, p, followed))
    return result


def _loss(
    name: str,
    p: Prediction | None,
    course: Course,
    own: Trace,
    prior: Estimate,
    followed: Followed,
    for_spikes: bool = True,
) -> Quantity:
    at, n, d = _grid(course.drops.start), followed.run.n, followed.target.d
    return Quantity(
        name=name,
        unit="bits per byte" if p else "nats per token",
        own=own,
        bands=tuple(followed.companion.expected_loss(course, prior, own.shares)),
        at=at,
        curve=tuple(followed.companion.expected_loss(course, prior, at)),
        window=course.count,
        prediction=p,
        spikes=tuple(spikes(course, own, n, d)) if for_spikes else (),
    )


def _accuracy(name: str, p: Prediction, followed: Followed) -> Quantity:
    companion, way = followed.companion, followed.companion.ways[name]
    at = _grid(way.course.drops.start)
    return Quantity(
        name=p.title,
        unit="percent",
        own=way.own.accuracy,
        bands=tuple(companion.expected(name, p.accuracy, way.own.accuracy.shares)),
        at=at,
        curve=tuple(companion.expected(name, p.accuracy, at)),
        window=way.course.count,
        prediction=p,
    )


def _grid(start: float) -> np.ndarray:
    """Shares at which a plot draws the band."""
    return np.geomspace(min(start, 1.0), 1.0, 120)
