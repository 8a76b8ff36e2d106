"""Accuracy as one family of curves in N and D, averaged over a grid of its parameters: no starts, no local optima.

    accuracy = c + (1 - c) exp(-L [psi + (1 - psi) (phi (N/N0)^-2k' + (1 - phi) (D/D0)^-2k')]),   k' = k / ln 10

N0, D0 are those of the largest rung. This is the direct form of arXiv 2512.08894 with one exponent for N and D, a floor
c near chance and a share psi of the error that no scale removes. Every point of the grid is weighted by its prior and
its likelihood, so few rungs give a broad average in place of an arbitrary optimum. That accuracy is constant is one
hypothesis more, which the weight goes to where a task shows no trend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

UNKNOWN_ITEMS = 1000
FLAT_LEVELS = (0.01, 0.99, 197)  # accuracies of a flat task: from, to, how many
KEPT = 0.99  # of the posterior: the lightest curves beyond are dropped
DIGITS = 7  # decimals of a stored curve, so that a file of them stays small


@dataclass(frozen=True, kw_only=True)
class CurvePrior:
    """The grid and its prior weights; chosen on other people's ladders by `scripts/choose_constants.py`."""

    levels: tuple[float, ...] = tuple(np.geomspace(0.02, 6.0, 28).round(4).tolist())  # L, equal
    exponents: tuple[float, ...] = tuple(
        np.arange(-0.05, 0.951, 0.05).round(2).tolist()
    )  # k: error falls by exp(-2k) a decade
    exponent_centre: float = 0.42
    exponent_width: float = 0.18
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)  # phi, of N
    share_centre: float = 0.4
    share_width: float = 0.3
    remaining: tuple[tuple[float, float], ...] = ((0.0, 0.5), (0.1, 0.2), (0.25, 0.2), (0.45, 0.1))  # psi, weight
    floors: tuple[float, ...] = (1.1, 1.0, 0.85, 0.7, 0.5)  # of chance, equal
    noises: tuple[tuple[float, float], ...] = ((0.004, 0.25), (0.012, 0.5), (0.03, 0.25))  # of a run's accuracy, weight
    flat: float = 0.1  # that accuracy does not depend on scale


PRIOR = CurvePrior()


Part = Annotated[float, Field(ge=0, le=1)]
Curve = tuple[
    Part,  # weight
    Annotated[float, Field(ge=0, le=1.5)],  # c
    Annotated[float, Field(ge=0, le=1000)],  # L
    Part,  # psi
    Part,  # phi
    Annotated[float, Field(ge=-1, le=2)],  # k
]


@dataclass(frozen=True, kw_only=True)
class CurveLaw:
    """The posterior of one task: a row per curve (weight, c, L, psi, phi, k); the heaviest first.

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
        weight, c, level, psi, phi, k = np.array(self.curves).T
        weight = weight / weight.sum()
        by_n, by_d = np.multiply.outer(np.log10(n / self.n0), -2 * k), np.multiply.outer(np.log10(d / self.d0), -2 * k)
        error = phi * np.exp(by_n) + (1 - phi) * np.exp(by_d)
        values = c + (1 - c) * np.exp(-level * (psi + (1 - psi) * error))
        mean = values @ weight
        return mean, np.sqrt((values - mean[..., None]) ** 2 @ weight)

    def formula(self) -> str:
        """The heaviest curve."""
        _, c, level, psi, phi, k = self.curves[0]
        power = 2 * k / np.log(10)
        by_n, by_d = f"{phi:.1f} (N/{self.n0:.3g})^-{power:.3f}", f"{1 - phi:.1f} (D/{self.d0:.3g})^-{power:.3f}"
        return (
            f"Acc(N,D) = {c:.3f} + {1 - c:.3f} exp(-{level:.3g} [{psi:.2f} + {1 - psi:.2f} ({by_n} + {by_d})]), "
            f"the heaviest of {len(self.curves)} curves"
        )


def fit_curves(
    n: np.ndarray,
    d: np.ndarray,
    accuracy: np.ndarray,
    chance: np.ndarray,
    items: np.ndarray,
    prior: CurvePrior = PRIOR,
) -> list[CurveLaw]:
    """A law per task. `n`, `d` (runs,), `accuracy` (tasks, runs) in [0, 1], NaN where a run was not measured, `chance`
    and `items` (tasks,)."""
    top = int(np.argmax(n * d))
    grid = _Grid.of(np.log10(n / n[top]), np.log10(d / d[top]), prior)
    return [
        _law(grid, values, float(chance[task]), float(items[task]) or UNKNOWN_ITEMS, float(n[top]), float(d[top]))
        for task, values in enumerate(accuracy)
    ]


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Chance-corrected accuracies `q` (curves, runs), the log prior and the parameters (L, psi, phi, k) of each."""

    q: np.ndarray
    log_prior: np.ndarray
    parameters: np.ndarray
    prior: CurvePrior

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray, prior: CurvePrior) -> _Grid:
        """`a` and `b` (runs,): decades of N and of D from the largest rung."""
        psi, psi_weight = np.array(prior.remaining).T
        axes = np.meshgrid(prior.levels, psi, prior.shares, prior.exponents, indexing="ij")
        level, psi, phi, k = (axis.ravel() for axis in axes)
        exponents = np.array(prior.exponents)
        falls = np.searchsorted(exponents, k)  # so that exponentials are taken once an exponent
        by_n, by_d = np.exp(-2 * np.outer(exponents, a))[falls], np.exp(-2 * np.outer(exponents, b))[falls]
        error = phi[:, None] * by_n + (1 - phi[:, None]) * by_d
        q = np.exp(-level[:, None] * (psi[:, None] + (1 - psi[:, None]) * error))
        log_prior = (
            np.log(psi_weight)[:, None, None]
            - 0.5 * ((np.array(prior.shares) - prior.share_centre)[:, None] / prior.share_width) ** 2
            - 0.5 * ((exponents - prior.exponent_centre) / prior.exponent_width) ** 2
        ).ravel()
        log_prior = np.tile(log_prior - np.log(np.exp(log_prior).sum() * len(prior.levels)), len(prior.levels))
        return cls(q=q, log_prior=log_prior, parameters=np.stack([level, psi, phi, k], axis=1), prior=prior)


def _law(grid: _Grid, accuracy: np.ndarray, chance: float, items: float, n0: float, d0: float) -> CurveLaw:
    """Weighs every curve, with every floor and noise, and every flat level by its likelihood."""
    seen = ~np.isnan(accuracy)
    y, prior = accuracy[seen], grid.prior
    inside = np.clip(y, 0.02, 0.98)
    noise, noise_weight = np.array(prior.noises).T
    variance = inside * (1 - inside) / items + noise[:, None] ** 2  # (noises, runs)
    base = np.log(noise_weight) - 0.5 * np.log(variance).sum(axis=1)
    floors, levels = np.array(prior.floors) * chance, np.linspace(*FLAT_LEVELS)
    log_curve = base + np.log((1 - prior.flat) / len(floors)) + grid.log_prior[:, None]
    log_curve = log_curve - 0.5 * _squared_errors(grid.q[:, seen], y, 1 / variance, floors)
    log_flat = base + np.log(prior.flat / len(levels))
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
    """(places, 5): c, L, psi, phi and k of curves, floor by floor, and after them of the flat levels."""
    floor, curve = np.divmod(places, len(grid.q))
    sloped = floor < len(floors)
    rows = np.tile([0.0, 100.0, 1.0, 0.0, 0.0], (len(places), 1))  # flat: nothing but c, as exp(-100) leaves it
    rows[sloped, 0], rows[sloped, 1:] = floors[floor[sloped]], grid.parameters[curve[sloped]]
    rows[~sloped, 0] = levels[places[~sloped] - len(floors) * len(grid.q)]
    return rows
