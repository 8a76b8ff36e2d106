"""The default method's prediction for one task, from laws already fitted: mean of the members, and how sure it is.

The standard deviation of a prediction is put together from what is known: the noise of a finite test, the noise of a
run, the spread of the members (the error of their forms), and the distance to what was measured. Factors calibrated on
back-tests turn it into intervals.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from predict.fitting.forms import Decay, PowerLaw, Sigmoid
from predict.measured.tasks import Task
from predict.methods.base import Estimate, Interval, Prediction, Verdict
from predict.notes import Note, note, warning

RUN_NOISE = 0.004  # accuracy: what a rerun changes, as between AI2's 1xC runs and their reruns
UNKNOWN_ITEMS = 1000
DRIFT = 0.01  # accuracy per decade of N·D beyond the runs: what members that agree may still miss together
LOSS_NOISE = 0.005  # relative, of a final loss; from AI2's reruns at 1xC, that of a run is 0.2% to 1.6%
LOSS_DRIFT = 0.01  # relative, per decade


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Half-width = factor · standard deviation, for accuracy and for loss; `decades` is how far back-tests reached."""

    accuracy80: float
    accuracy95: float
    loss80: float
    loss95: float
    decades: float
    cells: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EnsembleLaw:
    """A task's members as plain laws: name -> (N, D to feature, feature to accuracy)."""

    task: Task
    members: dict[str, tuple[PowerLaw, Sigmoid | Decay]]
    last_rung: float
    verdict: Verdict

    def predict(self, n: float, d: float, calibration: Calibration, top: float) -> Prediction:
        """With intervals, unless the task was refused: then the last rung's accuracy stands in."""
        values = {name: float(step2(step1(n, d))) for name, (step1, step2) in self.members.items()}
        features = [law for name, (law, step2) in self.members.items() if not isinstance(step2, Decay)]
        loss = float(features[0](n, d)) if features else None
        accuracies = np.array(list(values.values()))
        far = float(np.maximum(np.log10(n * d / top), 0.0))
        refused = self.verdict.refused
        return Prediction(
            task=self.task.name,
            title=self.task.title,
            accuracy=Estimate(value=self.last_rung) if refused else self._accuracy(accuracies, far, calibration),
            loss=None if loss is None else _loss(loss, None if refused else far, calibration),
            verdict=self.verdict,
            stands_in=refused,
            members=tuple(values.items()),
        )

    def _accuracy(self, members: np.ndarray, far: float, calibration: Calibration) -> Estimate:
        value = float(members.mean())
        sd = float(accuracy_sd(members.mean(), spread_of(members[:, None])[0], np.array(far), self.task.items))
        half80, half95 = calibration.accuracy80 * sd, calibration.accuracy95 * sd
        return Estimate(
            value=value,
            interval80=Interval(low=max(value - half80, 0.0), high=min(value + half80, 1.0)),
            interval95=Interval(low=max(value - half95, 0.0), high=min(value + half95, 1.0)),
        )


def _loss(value: float, far: float | None, calibration: Calibration) -> Estimate:
    """Without intervals where `far`, the decades beyond the ladder, is None."""
    if far is None:
        return Estimate(value=value)
    loss80, loss95 = (factor * float(loss_sd(np.array(far))) for factor in (calibration.loss80, calibration.loss95))
    return Estimate(
        value=value,
        interval80=Interval(low=value * max(1 - loss80, 0.0), high=value * (1 + loss80)),
        interval95=Interval(low=value * max(1 - loss95, 0.0), high=value * (1 + loss95)),
    )


def interval_notes(calibration: Calibration, top: float, n: float, d: float) -> list[Note]:
    """What the intervals at (n, d) rest on, with a warning where that is little."""
    far = max(math.log10(n * d / top), 0.0)
    inside = [warning("target-inside")] if n * d <= top else []
    if not calibration.cells:
        return [warning("intervals-borrowed"), *inside]
    notes = [*inside, note("intervals-calibrated", cells=calibration.cells)]
    if far > calibration.decades:
        notes.append(warning("beyond-back-tests", decades=far, reached=calibration.decades))
    return notes


def item_variance(accuracy: np.ndarray, items: int) -> np.ndarray:
    """Variance of an accuracy over `items` independent questions; never 0 for a finite test."""
    count = items or UNKNOWN_ITEMS
    inside = np.clip(accuracy, 0.5 / count, 1 - 0.5 / count)
    return inside * (1 - inside) / count


def accuracy_sd(accuracy: np.ndarray, spread: np.ndarray, decades: np.ndarray, items: int) -> np.ndarray:
    """All arguments broadcast; `spread` is the standard deviation over the members."""
    return np.sqrt(item_variance(accuracy, items) + RUN_NOISE**2 + spread**2 + (DRIFT * decades) ** 2)


def loss_sd(decades: np.ndarray) -> np.ndarray:
    """Relative standard deviation of a predicted loss."""
    return np.sqrt(LOSS_NOISE**2 + (LOSS_DRIFT * decades) ** 2)


def spread_of(values: np.ndarray) -> np.ndarray:
    """Standard deviation over members (members, cells) -> (cells,); 0 for a single member."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
