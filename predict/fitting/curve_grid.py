"""Accuracy as one family of curves in N and D, averaged over a grid of its parameters: no starts, no local optima.

    accuracy = c + (1 - c) Q(x),   Q(x) = (1 + b) / (b + e^x)
    x = L [psi + (1 - psi) (phi (N/N0)^-2k' + (1 - phi) (D/D0)^-2k')],   k' = k / ln 10

N0, D0 are those of the largest rung. With b = 0 this is the direct form of arXiv 2512.08894 with one exponent for N and
D; b > 0 is the paper's sigmoid, a rise that is slow at first. c is a floor near chance, or above it where guessing can
be better informed than that, and psi a share of the error that no scale removes. Every point of the grid is weighted by
its prior and its likelihood, so few rungs give a broad average in place of an arbitrary optimum. That accuracy is
constant is one hypothesis more, which the weight goes to where a task shows no trend.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ladder.files.bind import NotNegative, Positive

UNKNOWN_ITEMS = 1000  # what a test is taken to have where nothing says how many questions it has
FLAT_LEVELS = (0.01, 0.99, 197)  # accuracies of a flat task: from, to, how many
KEPT = 0.99  # of the posterior: the lightest curves beyond are dropped
DIGITS = 7  # decimals of a stored curve, so that a file of them stays small
LARGEST_X = 60.0  # e^-60 is no accuracy

LEVELS = np.geomspace(0.02, 6.0, 16)  # L, equal
EXPONENTS = np.arange(-0.05, 0.951, 0.05).round(2)  # k: x falls by exp(-2k) a decade
SHARES = np.array([0.1, 0.3, 0.5, 0.7, 0.9])  # of N in x, where D / N is the prior's `balance`
FORMS = np.array([(0.0, 0.0, 0.5), (0.1, 0.0, 0.15), (0.3, 0.0, 0.2), (0.0, 3.0, 0.15)])  # psi, b, weight
FLOORS = np.array([(1.1, 0.0, 1), (1, 0, 1), (0.85, 0, 1), (0.7, 0, 1), (0.5, 0, 1), (1, 0.06, 1), (1, 0.15, 0.5)])
# of chance, of what lies above chance, weight
NOISES = np.array([(0.003, 0.3), (0.008, 0.5), (0.02, 0.2)])  # of a run's accuracy, weight


@dataclass(frozen=True, kw_only=True)
class CurvePrior:
    """What is believed of k and of N's share before a rung is seen: normal distributions on the grid.

    N's share of x is believed to be about `share_centre` where a model saw `balance` tokens per parameter. Models that
    saw more of them are limited by N, so at the largest rung the share follows from its D / N. `flat` is the
    probability that accuracy does not depend on scale.
    """

    exponent_centre: float
    exponent_width: Positive
    share_centre: Annotated[float, Field(ge=0, le=1)]
    share_width: Positive
    balance: Positive
    flat: Annotated[float, Field(gt=0, lt=1)]


Part = Annotated[float, Field(ge=0, le=1)]
Curve = tuple[
    Part,  # weight
    Annotated[float, Field(ge=0, le=1.5)],  # c
    Annotated[float, Field(ge=0, le=1000)],  # L
    Part,  # psi
    NotNegative,  # b
    Part,  # phi
    Annotated[float, Field(ge=-1, le=2)],  # k
]


@dataclass(frozen=True, kw_only=True)
class CurveLaw:
    """The posterior of one task: a row per curve (weight, c, L, psi, b, phi, k); the heaviest first.

    A flat hypothesis is a row with c its accuracy and L infinite in effect. `noise` is the standard deviation of a
    run's accuracy, `flat` the probability that the task is flat; `n0`, `d0` are the largest rung's.
    """

    curves: Annotated[tuple[Curve, ...], Field(min_length=1)]
    n0: Annotated[float, Field(ge=1, le=1e30)]
    d0: Annotated[float, Field(ge=1, le=1e30)]
    noise: Annotated[float, Field(ge=0)]
    flat: Annotated[float, Field(ge=0, le=1)]

    def __call__(self, n: Any, d: Any) -> tuple[Any, Any]:
        """Mean and standard deviation of the accuracy that the curves give at N, D: numbers or arrays (points,)."""
        weight, c, level, psi, bend, phi, k = self._columns
        by_n, by_d = np.multiply.outer(np.log10(n / self.n0), -2 * k), np.multiply.outer(np.log10(d / self.d0), -2 * k)
        error = phi * np.exp(by_n) + (1 - phi) * np.exp(by_d)
        values = c + (1 - c) * _above_floor(level * (psi + (1 - psi) * error), bend)
        mean = values @ weight
        return mean, np.sqrt((values - mean[..., None]) ** 2 @ weight)

    @cached_property
    def _columns(self) -> np.ndarray:
        """The curves' weights, which sum to 1, and parameters, each (curves,)."""
        columns = np.array(self.curves).T
        columns[0] /= columns[0].sum()
        return columns

    def formula(self) -> str:
        """The heaviest curve."""
        _, c, level, psi, bend, phi, k = self.curves[0]
        power = 2 * k / np.log(10)
        by_n, by_d = f"{phi:.2f} (N/{self.n0:.3g})^-{power:.3f}", f"{1 - phi:.2f} (D/{self.d0:.3g})^-{power:.3f}"
        above = f"{1 - c:.3f} exp(-x)" if bend == 0 else f"{1 - c:.3f} {1 + bend:g} / ({bend:g} + exp(x))"
        return (
            f"Acc(N,D) = {c:.3f} + {above}, x = {level:.3g} [{psi:.2f} + {1 - psi:.2f} ({by_n} + {by_d})], "
            f"the heaviest of {len(self.curves)} curves"
        )


def _above_floor(x: np.ndarray, bend: Any) -> np.ndarray:
    """Q(x): 1 at 0, and 0 far from it."""
    return (1 + bend) / (bend + np.exp(np.minimum(x, LARGEST_X)))


def fit_curves(
    n: np.ndarray,
    d: np.ndarray,
    accuracy: np.ndarray,
    chance: np.ndarray,
    items: np.ndarray,
    prior: CurvePrior,
) -> list[CurveLaw]:
    """A law per task. `n`, `d` (runs,), `accuracy` (tasks, runs) in [0, 1], NaN where a run was not measured, `chance`
    and `items` (tasks,)."""
    top = int(np.argmax(n * d))
    grid = _Grid.of(np.log10(n / n[top]), np.log10(d / d[top]), float(d[top] / n[top]), prior)
    return [
        _law(grid, values, float(chance[task]), float(items[task]) or UNKNOWN_ITEMS, float(n[top]), float(d[top]))
        for task, values in enumerate(accuracy)
    ]


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Chance-corrected accuracies `q` (curves, runs), the log prior and the parameters (L, psi, b, phi, k) of each."""

    q: np.ndarray
    log_prior: np.ndarray
    parameters: np.ndarray
    flat: float

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray, ratio: float, prior: CurvePrior) -> _Grid:
        """`a` and `b` (runs,): decades of N and of D from the largest rung, whose D / N is `ratio`."""
        share, k = (axis.ravel() for axis in np.meshgrid(SHARES, EXPONENTS, indexing="ij"))
        phi = _share_at(share, k, 0.5 * np.log10(ratio / prior.balance))
        error = phi[:, None] * np.exp(-2 * np.outer(k, a)) + (1 - phi[:, None]) * np.exp(-2 * np.outer(k, b))
        level = LEVELS[:, None, None]  # axes: levels, forms, shares with exponents
        psi, bend, form = FORMS.T[..., None]
        x = level[..., None] * (psi[..., None] + (1 - psi[..., None]) * error)
        of_share = _log_normal(SHARES, prior.share_centre, prior.share_width)
        of_exponent = _log_normal(EXPONENTS, prior.exponent_centre, prior.exponent_width)
        log_prior = np.log(form / form.sum() / len(LEVELS)) + np.add.outer(of_share, of_exponent).ravel()
        axes = np.broadcast_arrays(level, psi, bend, phi, k)
        return cls(
            q=_above_floor(x, bend[..., None]).reshape(-1, len(a)),
            log_prior=np.tile(log_prior.ravel(), len(LEVELS)),
            parameters=np.stack([axis.ravel() for axis in axes], axis=1),
            flat=prior.flat,
        )


def _share_at(share: np.ndarray, k: np.ndarray, away: float) -> np.ndarray:
    """N's share where N is 10^-away, and D 10^away, of what it is where N has `share`."""
    of_n, of_d = share * np.exp(2 * k * away), (1 - share) * np.exp(-2 * k * away)
    return np.asarray(of_n / (of_n + of_d))


def _log_normal(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Logarithms of weights that sum to 1."""
    weights = np.exp(-0.5 * ((values - centre) / width) ** 2)
    return np.asarray(np.log(weights / weights.sum()))


def _law(grid: _Grid, accuracy: np.ndarray, chance: float, items: float, n0: float, d0: float) -> CurveLaw:
    """Weighs every curve, with every floor and noise, and every flat level by its likelihood."""
    seen = ~np.isnan(accuracy)
    y = accuracy[seen]
    inside = np.clip(y, 0.02, 0.98)
    noise, noise_weight = NOISES.T
    variance = inside * (1 - inside) / items + noise[:, None] ** 2  # (noises, runs)
    base = np.log(noise_weight) - 0.5 * np.log(variance).sum(axis=1)
    floors, floor_weight = _floors(chance)
    log_floor = np.log((1 - grid.flat) * floor_weight)[:, None, None]
    levels = np.linspace(*FLAT_LEVELS)
    log_curve = base + log_floor + grid.log_prior[:, None]
    log_curve = log_curve - 0.5 * _squared_errors(grid.q[:, seen], y, 1 / variance, floors)
    log_flat = base + np.log(grid.flat / len(levels))
    log_flat = log_flat - 0.5 * ((levels[:, None, None] - y) ** 2 / variance).sum(axis=2)  # (levels, noises)
    top = max(log_curve.max(), log_flat.max())
    curve, flat = np.exp(log_curve - top), np.exp(log_flat - top)
    total = curve.sum() + flat.sum()
    by_noise = (curve.sum(axis=(0, 1)) + flat.sum(axis=0)) / total
    heaviest = _heaviest(np.concatenate([curve.sum(axis=2).ravel(), flat.sum(axis=1)]) / total)
    kept = np.concatenate([_rows(grid, floors, levels, heaviest[:, 0].astype(int)), heaviest[:, 1:]], axis=1)
    kept = np.roll(kept, 1, axis=1).round(DIGITS)
    return CurveLaw(
        curves=tuple(tuple(row) for row in kept.tolist()),
        n0=n0,
        d0=d0,
        noise=float(by_noise @ noise),
        flat=float(flat.sum() / total),
    )


def _floors(chance: float) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies and their weights, which sum to 1; of a task without chance level, 0 once."""
    of_chance, above, weight = FLOORS.T
    values, place = np.unique(of_chance * chance + above * (1 - chance), return_inverse=True)
    return values, np.bincount(place, weights=weight / weight.sum())


def _squared_errors(q: np.ndarray, y: np.ndarray, w: np.ndarray, floors: np.ndarray) -> np.ndarray:
    """Weighted squared error of c + (1 - c) q against y, (floors, curves, noises): a polynomial in the floor c whose
    coefficients are matrix products of `q` (curves, runs) and its square with the weights `w` (noises, runs)."""
    c = floors[:, None]
    q1, q2, qy = q @ w.T, (q * q) @ w.T, q @ (w * y).T  # (curves, noises)
    constant = (w * y * y).sum(axis=1) - 2 * c * (w * y).sum(axis=1) + c * c * w.sum(axis=1)  # (floors, noises)
    s = (1 - c)[..., None]
    return constant[:, None] - 2 * s * (qy - c[..., None] * q1) + s**2 * q2


def _heaviest(weights: np.ndarray) -> np.ndarray:
    """(kept, 2): place and weight of the heaviest that hold `KEPT` of them all, which sum to 1."""
    some = np.flatnonzero(weights > 1e-9)
    order = some[np.argsort(-weights[some], kind="stable")]
    count = int(np.searchsorted(np.cumsum(weights[order]), KEPT)) + 1
    return np.stack([order[:count], weights[order[:count]]], axis=1)


def _rows(grid: _Grid, floors: np.ndarray, levels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(places, 6): c, L, psi, b, phi and k of curves, floor by floor, and after them of the flat levels."""
    floor, curve = np.divmod(places, len(grid.q))
    sloped = floor < len(floors)
    rows = np.tile([0.0, 100.0, 1.0, 0.0, 0.0, 0.0], (len(places), 1))  # flat: nothing but c
    rows[sloped, 0], rows[sloped, 1:] = floors[floor[sloped]], grid.parameters[curve[sloped]]
    rows[~sloped, 0] = levels[places[~sloped] - len(floors) * len(grid.q)]
    return rows
