"""Step 1 as a posterior: every power law of N and D, weighed by how well it fits a loss, so that few runs give a broad
average in place of an arbitrary optimum.

    L(N, D) = A / N^alpha + B / D^beta + E                                              (equation 1)

E is a share of the least loss, and few rungs say little of it: of the same losses, steep laws make a floor, and flat
ones none. So for every share and pair of exponents on a grid A and B are least squares of the relative residuals
without negative solutions. The noise is unknown, so a point's weight is its prior's times that of a Student t with
`FREEDOM` runs' worth of prior noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from predict.fitting.ridge import Prior, least_squares_on

EXPONENTS = np.geomspace(0.03, 1.2, 24)
FLOORS = np.arange(10) / 10  # E as a share of the least loss, equally likely
# Chosen among some ten settings by the errors on AI2's, Cerebras-GPT's and Pythia's losses, none of them left out:
# smaller exponents than task losses have. Cerebras-GPT's are smaller still, which the other two do not tell.
PRIOR = Prior(centre=0.22, width=0.8)
NOISE, FREEDOM = 0.015, 3.0  # relative, of a run's loss about its law; the weight of that knowledge in runs


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Means over the laws: of A (fits, alphas), B (fits, betas), E (fits,) and of their products, by exponent."""

    a: np.ndarray
    aa: np.ndarray
    ae: np.ndarray
    b: np.ndarray
    bb: np.ndarray
    be: np.ndarray
    e: np.ndarray
    ee: np.ndarray
    ab: np.ndarray  # (fits, alphas, betas)


@dataclass(frozen=True, kw_only=True)
class LossLaws:
    """One posterior per fit: `weights`, `A` and `B` have shape (fits, floors, alphas, betas), `E` (fits, floors),
    `noise` (fits,).

    Coefficients are in units of `n0` and `d0`, the middle of the ladder; `noise` is relative.
    """

    weights: np.ndarray
    A: np.ndarray
    B: np.ndarray
    E: np.ndarray
    noise: np.ndarray
    n0: float
    d0: float

    def __call__(self, n: Any, d: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean, and standard deviation over the laws as a share of it, each (fits, targets)."""
        n, d = np.atleast_1d(np.asarray(n, dtype=float)), np.atleast_1d(np.asarray(d, dtype=float))
        by_n, by_d = (n / self.n0) ** -EXPONENTS[:, None], (d / self.d0) ** -EXPONENTS[:, None]
        m = self._moments
        mean = m.a @ by_n + m.b @ by_d + m.e[:, None]
        square = (m.aa @ by_n**2 + 2 * m.ae @ by_n) + (m.bb @ by_d**2 + 2 * m.be @ by_d)
        square += m.ee[:, None] + 2 * (by_n * (m.ab @ by_d)).sum(axis=1)
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0)) / mean

    @cached_property
    def _moments(self) -> _Moments:
        w, A, B, E = self.weights, self.A, self.B, self.E[:, :, None, None]
        (a, aa, ae), (b, bb, be) = (
            [(w * term).sum(axis=(1, axis)) for term in (x, x**2, x * E)] for x, axis in ((A, 3), (B, 2))
        )
        e, ee = ((w * term).sum(axis=(1, 2, 3)) for term in (E, E**2))
        return _Moments(a=a, aa=aa, ae=ae, b=b, bb=bb, be=be, e=e, ee=ee, ab=(w * A * B).sum(axis=1))

    @property
    def irreducible(self) -> np.ndarray:
        """The mean of E over the laws of each fit, (fits,)."""
        return self._moments.e

    def formula(self) -> str:
        """The heaviest law of the first fit."""
        floor, i, j = np.unravel_index(int(self.weights[0].argmax()), self.weights[0].shape)
        alpha, beta = EXPONENTS[i], EXPONENTS[j]
        A, B = self.A[0, floor, i, j] * self.n0**alpha, self.B[0, floor, i, j] * self.d0**beta
        laws = int((self.weights[0] > 1e-3).sum())
        return (
            f"L(N,D) = {A:.4g}/N^{alpha:.3f} + {B:.4g}/D^{beta:.3f} + {self.E[0, floor]:.3f}, heaviest of {laws} laws"
        )


def fit_loss_laws(n: np.ndarray, d: np.ndarray, loss: np.ndarray, used: np.ndarray) -> LossLaws:
    """`n`, `d`, `loss` (runs,); `used` (fits, runs) is 1 where a fit uses a run, else 0."""
    n0, d0 = float(np.exp(np.log(n).mean())), float(np.exp(np.log(d).mean()))
    first, second = (n / n0) ** -EXPONENTS[:, None], (d / d0) ** -EXPONENTS[:, None]
    E = FLOORS * np.where(used > 0, loss, np.inf).min(axis=1)[:, None]  # (fits, floors)
    precision = np.repeat(used / loss**2, len(FLOORS), axis=0)
    sse, (A, B) = least_squares_on(first, second, loss - E.reshape(-1, 1), precision)
    sse, A, B = (array.reshape(*E.shape, *sse.shape[1:]) for array in (sse, A, B))
    count = used.sum(axis=1)[:, None, None, None]
    score = (count + FREEDOM) * np.log(sse + FREEDOM * NOISE**2) + PRIOR.penalty(EXPONENTS)
    weights = np.exp(-0.5 * (score - score.min(axis=(1, 2, 3), keepdims=True)))
    weights /= weights.sum(axis=(1, 2, 3), keepdims=True)
    noise = np.sqrt((sse.min(axis=(1, 2, 3)) + FREEDOM * NOISE**2) / (count[:, 0, 0, 0] + FREEDOM))
    return LossLaws(weights=weights, A=A, B=B, E=E, noise=noise, n0=n0, d0=d0)
