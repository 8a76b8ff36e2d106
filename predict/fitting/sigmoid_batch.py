"""The paper's sigmoid (equation 2) fitted to many subsets of runs at once, by damped Gauss-Newton within its bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predict.fitting.forms import Sigmoid, expit

LOWEST = np.array([-1.0, 0.0, 0.0, 0.0])  # a, L0, k, b
HIGHEST = np.array([0.0, np.inf, np.inf, 1.0])
ITERATIONS = 200
TOLERANCE = 1e-9  # relative gain of an accepted step at which a fit counts as settled


@dataclass(frozen=True, kw_only=True)
class Sigmoids:
    """Coefficients (fits, 4) in the order a, L0, k, b."""

    coefficients: np.ndarray

    def __call__(self, loss: np.ndarray) -> np.ndarray:
        """Accuracy (fits, targets) at losses of that shape."""
        a, middle, k, b = self.coefficients.T[:, :, None]
        return a * expit(k * (loss - middle)) + b

    def law(self, fit: int) -> Sigmoid:
        a, middle, k, b = (float(value) for value in self.coefficients[fit])
        return Sigmoid(a=a, k=k, L0=middle, b=b)


def fit_sigmoids(x: np.ndarray, y: np.ndarray, weights: np.ndarray, chance: float) -> Sigmoids:
    """Least squares through (x, y), both (points,), with `weights` (fits, points) and the anchor (0, 1)."""
    x, y = np.append(x, 0.0), np.append(y, 1.0)
    weights = np.concatenate([weights, np.ones((len(weights), 1))], axis=1)
    p = np.tile([chance - 1.0, 0.9, 3.0, 1.0], (len(weights), 1))
    damping = np.full(len(p), 1e-3)
    active = np.arange(len(p))
    sse, gradient, curvature = _evaluate(p, x, y, weights)
    for _ in range(ITERATIONS):
        step = _step(p[active], gradient[active], curvature[active], damping[active])
        trial = np.clip(p[active] + step, LOWEST, HIGHEST)
        new_sse, new_gradient, new_curvature = _evaluate(trial, x, y, weights[active])
        gain = sse[active] - new_sse
        better = gain > 0
        accepted = active[better]
        settled = better & (gain < TOLERANCE * sse[active])
        p[accepted], sse[accepted] = trial[better], new_sse[better]
        gradient[accepted], curvature[accepted] = new_gradient[better], new_curvature[better]
        damping[active] = np.where(better, damping[active] / 5, damping[active] * 4)
        active = active[~settled & (damping[active] < 1e8)]
        if not len(active):
            break
    return Sigmoids(coefficients=p)


def _evaluate(p: np.ndarray, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum of squares (fits,), its gradient / 2 (fits, 4) and Gauss-Newton curvature (fits, 4, 4)."""
    a, middle, k, b = p.T[:, :, None]
    distance = x - middle
    gate = expit(k * distance)
    residual = a * gate + b - y
    slope = a * gate * (1 - gate)
    jacobian = np.stack([gate, -slope * k, slope * distance, np.ones_like(gate)], axis=1)  # (fits, 4, points)
    weighted = jacobian * w[:, None, :]
    return (
        (w * residual**2).sum(axis=1),
        (weighted @ residual[:, :, None])[:, :, 0],
        weighted @ jacobian.transpose(0, 2, 1),
    )


def _step(p: np.ndarray, gradient: np.ndarray, curvature: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """The damped step; a coefficient at a bound that the gradient pushes against stays where it is."""
    stuck = ((p <= LOWEST) & (gradient > 0)) | ((p >= HIGHEST) & (gradient < 0))
    free = ~stuck
    matrix = curvature * (free[:, :, None] & free[:, None, :])
    diagonal = np.einsum("fii->fi", matrix)
    matrix = matrix + np.einsum("fi,ij->fij", damping[:, None] * diagonal + 1e-12, np.eye(4))
    matrix = matrix + np.einsum("fi,ij->fij", stuck.astype(float), np.eye(4))
    return -np.linalg.solve(matrix, (gradient * free)[:, :, None])[:, :, 0]
