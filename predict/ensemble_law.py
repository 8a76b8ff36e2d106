"""The default method's prediction for one task, from laws already fitted: mean of the members, and how sure it is.

The standard deviation of a prediction is put together from what is known: the noise of a finite test, the noise of a
run, the spread of the members (the error of their forms), and the distance to what was measured. Factors calibrated on
back-tests turn it into intervals.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from predict.fitting.forms import Decay, PowerLaw, Sigmoid
from predict.measured.tasks import Task
from predict.prediction import Prediction

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
    refused: bool
    flags: tuple[str, ...]

    def predict(self, n: float, d: float, calibration: Calibration, top: float) -> Prediction:
        """With intervals, unless the task was refused: then the last rung's accuracy stands in."""
        values = {name: float(step2(step1(n, d))) for name, (step1, step2) in self.members.items()}
        features = [law for name, (law, step2) in self.members.items() if not isinstance(step2, Decay)]
        loss = float(features[0](n, d)) if features else None
        accuracies = np.array(list(values.values()))
        base = Prediction(
            task=self.task.name,
            title=self.task.title,
            loss=loss,
            accuracy=self.last_rung if self.refused else float(accuracies.mean()),
            flags=self.flags,
            members=tuple(values.items()),
        )
        if self.refused:
            return base
        far = np.maximum(np.log10(n * d / top), 0.0)
        sd = float(accuracy_sd(accuracies.mean(), spread_of(accuracies[:, None])[0], far, self.task.items))
        half80, half95 = calibration.accuracy80 * sd, calibration.accuracy95 * sd
        bounded = replace(
            base,
            low80=max(base.accuracy - half80, 0.0),
            high80=min(base.accuracy + half80, 1.0),
            low95=max(base.accuracy - half95, 0.0),
            high95=min(base.accuracy + half95, 1.0),
        )
        if loss is None:
            return bounded
        loss80, loss95 = (factor * float(loss_sd(far)) for factor in (calibration.loss80, calibration.loss95))
        return replace(
            bounded,
            loss_low80=loss * max(1 - loss80, 0.0),
            loss_high80=loss * (1 + loss80),
            loss_low95=loss * max(1 - loss95, 0.0),
            loss_high95=loss * (1 + loss95),
        )


def interval_notes(calibration: Calibration, top: float, n: float, d: float) -> list[str]:
    """What the intervals at (n, d) rest on, with a warning where that is little."""
    far = max(math.log10(n * d / top), 0.0)
    inside = ["warning: a run as large as the target was fitted, perhaps the target itself: no prediction"]
    if not calibration.cells:
        few = "warning: too few back-tests to calibrate the intervals; factors of the paper's ladder are used"
        return [few, *(inside if n * d <= top else [])]
    notes = [*(inside if n * d <= top else []), f"intervals: calibrated on {calibration.cells} back-test predictions"]
    if far > calibration.decades:
        notes.append(
            f"warning: the target lies {far:.1f} decades of N·D beyond the ladder; "
            f"the back-tests reach {calibration.decades:.1f} beyond theirs"
        )
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
