"""Power laws with exponents drawn towards usual values, fitted to many subsets of runs at once.

For every pair of exponents on a grid the coefficients are a least-squares problem without negative solutions, solved in
closed form; the exponents are then chosen by least squares plus a penalty. There are no starts and no local optima.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from predict.fitting.forms import PowerLaw

EXPONENTS = np.geomspace(0.03, 1.2, 48)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """ln(exponent / centre) / width is taken as standard normal."""

    centre: float
    width: float

    def penalty(self, exponents: np.ndarray = EXPONENTS) -> np.ndarray:
        """(exponents, exponents) for alpha and beta together."""
        one = (np.log(exponents / self.centre) / self.width) ** 2
        return one[:, None] + one[None, :]


@dataclass(frozen=True, kw_only=True)
class PowerTerms:
    """z = A (N/N0)^-alpha + B (D/D0)^-beta + E; every coefficient has shape (fits,)."""

    A: np.ndarray
    alpha: np.ndarray
    B: np.ndarray
    beta: np.ndarray
    E: np.ndarray
    n0: float
    d0: float

    def __call__(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        """(fits, targets)"""
        first = self.A[:, None] * (n[None, :] / self.n0) ** -self.alpha[:, None]
        second = self.B[:, None] * (d[None, :] / self.d0) ** -self.beta[:, None]
        return first + second + self.E[:, None]

    def law(self, fit: int) -> PowerLaw:
        """One of the fits as a law in plain N and D."""
        alpha, beta = float(self.alpha[fit]), float(self.beta[fit])
        return PowerLaw(
            A=float(self.A[fit] * self.n0**alpha),
            alpha=alpha,
            B=float(self.B[fit] * self.d0**beta),
            beta=beta,
            E=float(self.E[fit]),
        )


def fit_ridge(
    n: np.ndarray, d: np.ndarray, z: np.ndarray, precision: np.ndarray, prior: Prior, *, offset: bool, log: bool
) -> PowerTerms:
    """Fits z (runs,) with weights `precision` (fits, runs), 0 where a fit leaves a run out.

    The objective over the exponents is m ln SSE + penalty with `log` (noise of unknown size, m runs), else
    SSE + penalty (weights are in units of the noise). Without `offset`, E = 0.
    """
    n0, d0 = float(np.exp(np.log(n).mean())), float(np.exp(np.log(d).mean()))
    first = (n / n0) ** -EXPONENTS[:, None]  # (exponents, runs)
    second = (d / d0) ** -EXPONENTS[:, None]
    moments = _moments(first, second, z, precision, offset)
    sse, solution = _non_negative(*moments, total=(precision * z**2).sum(axis=1))
    count = (precision > 0).sum(axis=1)[:, None, None]
    floor = 1e-12 * (precision * z**2).sum(axis=1)[:, None, None]  # exact data: the logarithm stays finite
    score = (count * np.log(sse + floor) if log else sse) + prior.penalty()
    best = score.reshape(len(precision), -1).argmin(axis=1)
    i, j = np.unravel_index(best, score.shape[1:])
    rows = np.arange(len(precision))
    values = [coefficient[rows, i, j] for coefficient in solution]
    constant = values[2] if offset else np.zeros(len(rows))
    return PowerTerms(A=values[0], alpha=EXPONENTS[i], B=values[1], beta=EXPONENTS[j], E=constant, n0=n0, d0=d0)


def least_squares_on(
    first: np.ndarray, second: np.ndarray, z: np.ndarray, precision: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Sum of squares (fits, alphas, betas) and A and B of that shape for z (fits, runs), none below 0.

    `first` (alphas, runs) and `second` (betas, runs) are the two terms with A = B = 1.
    """
    moments = _moments(first, second, z, precision, offset=False)
    return _non_negative(*moments, total=(precision * z**2).sum(axis=1))


def _moments(
    first: np.ndarray, second: np.ndarray, z: np.ndarray, w: np.ndarray, offset: bool
) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    """Gram matrix and right-hand side of the least squares, each entry broadcastable to (fits, alphas, betas)."""
    shape = (len(w), len(first), len(second))

    def over_n(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values[:, :, None], shape)

    def over_d(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values[:, None, :], shape)

    cross = ((w[:, None, :] * first[None]) @ second.T[None]).reshape(shape)
    gram = [[over_n(w @ (first**2).T), cross], [cross, over_d(w @ (second**2).T)]]
    right = [over_n((w * z) @ first.T), over_d((w * z) @ second.T)]
    if offset:
        by_n, by_d = over_n(w @ first.T), over_d(w @ second.T)
        one = np.broadcast_to(w.sum(axis=1)[:, None, None], shape)
        gram = [[*gram[0], by_n], [*gram[1], by_d], [by_n, by_d, one]]
        right.append(np.broadcast_to((w @ z)[:, None, None], shape))
    return gram, right


def _non_negative(
    gram: list[list[np.ndarray]], right: list[np.ndarray], total: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Least sum of squares with coefficients >= 0, and the coefficients: the best of all active sets."""
    size, shape = len(right), right[0].shape
    best = np.broadcast_to(total[:, None, None], shape).copy()
    solution = [np.zeros(shape) for _ in range(size)]
    for count in range(1, size + 1):
        for chosen in combinations(range(size), count):
            values = _solve([[gram[i][j] for j in chosen] for i in chosen], [right[i] for i in chosen])
            gain = sum(value * right[i] for value, i in zip(values, chosen, strict=True))
            sse = np.maximum(total[:, None, None] - gain, 0.0)
            better = (sse < best) & np.all([value >= 0 for value in values], axis=0)
            best = np.where(better, sse, best)
            for i in range(size):
                value = values[chosen.index(i)] if i in chosen else 0.0
                solution[i] = np.where(better, value, solution[i])
    return best, solution


def _solve(g: list[list[np.ndarray]], h: list[np.ndarray]) -> list[np.ndarray]:
    """Cramer's rule for symmetric systems of size 1 to 3; NaN where the system is singular."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if len(h) == 1:
            return [h[0] / g[0][0]]
        if len(h) == 2:
            determinant = g[0][0] * g[1][1] - g[0][1] ** 2
            determinant = np.where(determinant > 1e-12 * g[0][0] * g[1][1], determinant, np.nan)
            return [
                (h[0] * g[1][1] - h[1] * g[0][1]) / determinant,
                (h[1] * g[0][0] - h[0] * g[0][1]) / determinant,
            ]
        (a, b, c), (_, e, f), (_, _, i) = g
        ei, bi, bf = e * i - f * f, b * i - c * f, b * f - c * e
        determinant = a * ei - b * bi + c * bf
        determinant = np.where(determinant > 1e-14 * a * e * i, determinant, np.nan)
        ai, af, ae = a * i - c * c, a * f - b * c, a * e - b * b
        return [
            (h[0] * ei - h[1] * bi + h[2] * bf) / determinant,
            (-h[0] * bi + h[1] * ai - h[2] * af) / determinant,
            (h[0] * bf - h[1] * af + h[2] * ae) / determinant,
        ]
