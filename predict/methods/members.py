"""The members of the default method: three ways from (N, D) to accuracy that rest on different measurements.

Each is fitted to many subsets of runs at once: `weights` (fits, runs) holds 1 where a fit uses a run, else 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from predict.fitting.chain import Chain
from predict.fitting.forms import Decay, expit
from predict.fitting.ridge import PowerTerms, Prior, fit_ridge
from predict.fitting.sigmoid_batch import Sigmoids, fit_sigmoids
from predict.measured.loss_tasks import LossMetric
from predict.measured.points import Cloud, TaskPoints
from predict.methods.noise import RUN_NOISE, item_variance

LOSS_PRIOR = Prior(centre=0.3, width=0.3)
DIRECT_PRIOR = Prior(centre=0.25, width=0.5)
FLOORS = 19  # candidates for the learnt floor of the language-modelling chain


class MemberName(StrEnum):
    """As a law file has them."""

    TASK_LOSS = "task loss"
    LM_LOSS = "LM loss"
    DIRECT = "direct"


LOSS_METRICS: dict[str, LossMetric] = {MemberName.TASK_LOSS: "rc_bpb", MemberName.LM_LOSS: "lm_loss"}
"""What the loss of a member is, for those that go by way of one."""


class MemberFits(Protocol):
    """A member fitted to each subset of the runs."""

    def feature(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        """(fits, targets)"""

    def accuracy(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        """(fits, targets)"""

    def chain(self, fit: int) -> Chain:
        """One of the fits, to predict from and to store."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """`fit` gives None where a task's points lack its feature."""

    name: str
    fit: Callable[[TaskPoints, np.ndarray], MemberFits | None]


@dataclass(frozen=True, kw_only=True)
class ChainFits:
    """Two steps for each subset: `step1` gives the feature, `step2` the accuracy from it."""

    step1: PowerTerms
    step2: Sigmoids | Decay

    def feature(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        """(fits, targets)"""
        return self.step1(n, d)

    def accuracy(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        """(fits, targets)"""
        return self.step2(self.step1(n, d))

    def chain(self, fit: int) -> Chain:
        step2 = self.step2 if isinstance(self.step2, Decay) else self.step2.law(fit)
        return Chain(step1=self.step1.law(fit), step2=step2)


def task_loss(points: TaskPoints, weights: np.ndarray) -> ChainFits | None:
    """Task loss by a power law with shrunk exponents, then the paper's sigmoid."""
    if points.loss is None or points.loss_cloud is None:
        return None
    cloud = points.loss_cloud
    step2 = fit_sigmoids(cloud.x, cloud.accuracy, weights[:, cloud.run], points.task.chance)
    return ChainFits(step1=_feature_law(points, points.loss, weights), step2=step2)


def lm_loss(points: TaskPoints, weights: np.ndarray) -> ChainFits | None:
    """Mean language-modelling loss by a power law with shrunk exponents, then a line in logits over a learnt floor."""
    if points.lm is None or points.lm_cloud is None:
        return None
    step2 = _logit_lines(points.lm_cloud, weights, points.task.chance)
    return ChainFits(step1=_feature_law(points, points.lm, weights), step2=step2)


def direct(points: TaskPoints, weights: np.ndarray) -> ChainFits:
    """-ln of the chance-corrected accuracy as a sum of two power laws without a constant."""
    q, chance = beyond_chance(points), points.task.chance
    spread = np.sqrt(item_variance(points.accuracy, points.task.items) + RUN_NOISE**2)
    precision = weights * (q * (1 - chance) / spread) ** 2
    step1 = fit_ridge(points.n, points.d, -np.log(q), precision, DIRECT_PRIOR, offset=False, log=False)
    return ChainFits(step1=step1, step2=Decay(chance=chance))


def beyond_chance(points: TaskPoints) -> np.ndarray:
    """(runs,) Q, the part of the questions beyond chance that is answered, kept where its logarithm is finite."""
    return np.clip((points.accuracy - points.task.chance) / (1 - points.task.chance), 0.01, 0.99)


MEMBERS = (
    Member(name=MemberName.TASK_LOSS.value, fit=task_loss),
    Member(name=MemberName.LM_LOSS.value, fit=lm_loss),
    Member(name=MemberName.DIRECT.value, fit=direct),
)


def _feature_law(points: TaskPoints, y: np.ndarray, weights: np.ndarray) -> PowerTerms:
    return fit_ridge(points.n, points.d, y, weights / y**2, LOSS_PRIOR, offset=True, log=True)


def _logit_lines(cloud: Cloud, weights: np.ndarray, chance: float) -> Sigmoids:
    """floor + (1 - floor) sigmoid(u + v x) for each fit; late and low-loss checkpoints weigh more.

    The floor is the candidate near chance with the least squared error, mildly drawn to chance itself.
    """
    used = weights[:, cloud.run] > 0
    totals = np.bincount(cloud.run, weights=cloud.progress)
    low = np.where(used, cloud.x, np.inf).min(axis=1)[:, None]
    high = np.where(used, cloud.x, -np.inf).max(axis=1)[:, None]
    nearness = np.exp(-2 * (cloud.x - low) / np.maximum(high - low, 1e-9))
    w = used * (cloud.progress / totals[cloud.run]) * nearness
    floors = _floors(cloud.accuracy, used, chance)  # (fits, floors)
    best = np.full(len(weights), np.inf)
    coefficients = np.zeros((len(weights), 4))
    for floor in floors.T:
        u, v = _line(cloud, w, floor[:, None])
        fitted = floor[:, None] + (1 - floor[:, None]) * expit(u[:, None] + v[:, None] * cloud.x)
        drawn = 1e-5 * w.sum(axis=1) * ((floor - chance) / 0.03) ** 2
        score = (w * (fitted - cloud.accuracy) ** 2).sum(axis=1) + drawn
        better = score < best
        best = np.where(better, score, best)
        coefficients[better] = np.stack([1 - floor, -u / v, v, floor], axis=1)[better]
    return Sigmoids(coefficients=coefficients)


def _floors(accuracy: np.ndarray, used: np.ndarray, chance: float) -> np.ndarray:
    low = max(0.0, chance - 0.08)
    tops = [min(chance + 0.1, float(np.quantile(accuracy[row], 0.02)) - 0.003) for row in used]
    return np.stack([np.linspace(low, max(low, top), FLOORS) for top in tops])


def _line(cloud: Cloud, w: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least squares of logit Q on x: intercept and (negative) slope, each (fits,)."""
    q = np.clip((cloud.accuracy - floor) / (1 - floor), 0.005, 0.98)
    z = np.log(q / (1 - q))
    w = w * (q * (1 - q)) ** 2
    total = w.sum(axis=1)
    x_mean, z_mean = (w @ cloud.x) / total, (w * z).sum(axis=1) / total
    centred = cloud.x - x_mean[:, None]
    slope = (w * centred * z).sum(axis=1) / np.maximum((w * centred**2).sum(axis=1), 1e-12)
    slope = np.minimum(slope, -1e-9)  # accuracy never rises with loss
    return z_mean - slope * x_mean, slope
