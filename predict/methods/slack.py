"""How far off a value is that was carried to the end of a run, and how it is weighed against an earlier prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predict.methods.base import Estimate, Interval
from predict.methods.student import NORMAL

Z80 = NORMAL[0.8]
MOST_NOISE = 16.0  # times the least
MOST_MISFIT = 0.4  # a way that is worth less is noise
RUNS = np.append(0.0, np.geomspace(0.01, 0.12, 9))  # what a whole run may add to an accuracy's
LEAST_TAIL = 1.53  # the 95% half-width over the 80% one, of a normal distribution
MOST_TAIL = 10.0
CORRELATIONS = (0.0, 0.9)


@dataclass(frozen=True, kw_only=True)
class Slack:
    """The standard deviation of what is carried on by `way`: noise, a share of the way itself, and what a whole run
    adds to it, of which the part counts that is `left`.

    All in the unit of the value: relative for a loss, accuracy for an accuracy.
    """

    noise: float
    misfit: float
    run: float = 0.0

    def sd(self, way: np.ndarray | float, left: np.ndarray | float = 0.0) -> np.ndarray:
        return np.sqrt(self.noise**2 + (self.misfit * np.asarray(way)) ** 2 + (self.run * np.asarray(left)) ** 2)

    def widened(self, runs: int) -> Slack:
        """As an 80% interval of Student's t is wider than a normal one, where it was learned from so few runs."""
        factor = 1 + (Z80**2 + 1) / (4 * max(runs - 1, 1))  # Cornish-Fisher
        return Slack(noise=factor * self.noise, misfit=factor * self.misfit, run=factor * self.run)


def fit_slack(
    errors: np.ndarray,
    ways: np.ndarray,
    least: Slack,
    weights: np.ndarray | None = None,
    left: np.ndarray | None = None,
) -> Slack:
    """The likeliest for normal errors, on a grid, and no less than `least`: back-tests are few and err together.

    `left` is the part of each run that was not seen; without it nothing is said of that.
    """
    noises = least.noise * np.geomspace(1, MOST_NOISE, 25)
    misfits = np.geomspace(least.misfit, max(MOST_MISFIT, least.misfit), 17)
    added = np.zeros(1) if left is None else RUNS
    shares = np.full(len(errors), 1 / len(errors)) if weights is None else weights / weights.sum()
    best, likeliest = np.inf, least
    for run in added:
        variance = (
            noises[:, None, None] ** 2 + (misfits[:, None] * ways) ** 2 + (0.0 if left is None else run * left) ** 2
        )
        score = (np.log(variance) + errors**2 / variance) @ shares
        i, j = np.unravel_index(score.argmin(), score.shape)
        if score[i, j] < best:
            best = float(score[i, j])
            likeliest = Slack(noise=float(noises[i]), misfit=float(misfits[j]), run=float(run))
    return likeliest


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """The slack of what a run's own curve says of its end, and how its error goes with that of the prediction.

    `cells` is how many back-test predictions that was learned from: 0 where they were too few.
    """

    slack: Slack
    correlation: float
    cells: int

    def combined(self, prior: Estimate, value: float, way: float, left: float = 0.0) -> Estimate:
        """The predicted accuracy, updated by `value`, which the run's own curve says after `way` is added and a part
        of the run is `left`.

        The mean of least variance of two correlated values, neither with a negative weight.
        """
        s, t, rho = sd_of(prior), float(self.slack.sd(way, left)), self.correlation
        weight = float(np.clip((s**2 - rho * s * t) / max(s**2 + t**2 - 2 * rho * s * t, 1e-12), 0, 1))
        variance = (weight * t) ** 2 + ((1 - weight) * s) ** 2 + 2 * weight * (1 - weight) * rho * s * t
        mean = weight * value + (1 - weight) * prior.value
        return estimate(mean, float(np.sqrt(variance)), tail_of(prior), 0.0, 1.0)


def half(interval: Interval, value: float) -> float:
    """On the longer side where an interval ends at 0 or 1."""
    return max(interval.high - value, value - interval.low)


def sd_of(one: Estimate) -> float:
    """Of an estimate that has intervals. Raises ValueError for any other."""
    if one.interval80 is None:
        raise ValueError("an estimate without intervals")
    return half(one.interval80, one.value) / Z80


def tail_of(one: Estimate) -> float:
    """The 95% half-width over the 80% one."""
    if one.interval80 is None or one.interval95 is None:
        raise ValueError("an estimate without intervals")
    ratio = half(one.interval95, one.value) / max(half(one.interval80, one.value), 1e-12)
    return min(max(ratio, LEAST_TAIL), MOST_TAIL)


def estimate(value: float, sd: float, tail: float, low: float = -np.inf, high: float = np.inf) -> Estimate:
    """With intervals `tail` as wide at 95% as at 80%, the value and both intervals inside [low, high]."""
    value = min(max(value, low), high)
    half80 = Z80 * sd
    ends = [(max(value - width, low), min(value + width, high)) for width in (half80, tail * half80)]
    first, second = (Interval(low=float(a), high=float(b)) for a, b in ends)
    return Estimate(value=value, interval80=first, interval95=second)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Of two sets of errors, no less than 0."""
    if len(first) < 3 or not first.any() or not second.any():
        return CORRELATIONS[1]
    uncentred = (first * second).mean() / np.sqrt((first**2).mean() * (second**2).mean())
    return float(np.clip(uncentred, *CORRELATIONS))
