"""Step 2: fit accuracy as a function of loss, on all checkpoints of all runs (section 3.2)."""

from __future__ import annotations

import numpy as np

from predict.fitting.forms import LogSigmoid, Sigmoid, expit

SIGMOID_BOUNDS = ((-1.0, 0.0, 0.0, 0.0), (0.0, np.inf, np.inf, 1.0))  # a, L0, k, b


def fit_sigmoid(
    loss: np.ndarray,
    accuracy: np.ndarray,
    chance: float,
    *,
    anchor: bool = True,
    bounds: tuple[tuple[float, ...], tuple[float, ...]] = SIGMOID_BOUNDS,
) -> Sigmoid:
    """Least squares through points (loss, accuracy), each of shape (points,).

    `anchor` adds the point (0, 1) once: a model without loss makes no mistakes. `chance` is used in the start only.
    """
    if anchor:
        loss, accuracy = np.append(loss, 0.0), np.append(accuracy, 1.0)

    def residual(p: np.ndarray) -> np.ndarray:
        return p[0] * expit(p[2] * (loss - p[1])) + p[3] - accuracy

    def jacobian(p: np.ndarray) -> np.ndarray:
        gate = expit(p[2] * (loss - p[1]))
        slope = p[0] * gate * (1 - gate)
        return np.stack([gate, -slope * p[2], slope * (loss - p[1]), np.ones_like(gate)], axis=1)

    a, middle, k, b = least_squares(residual, jacobian, (chance - 1.0, 0.9, 3.0, 1.0), bounds)
    return Sigmoid(a=a, k=k, L0=middle, b=b)


def fit_log_sigmoid(loss: np.ndarray, accuracy: np.ndarray) -> LogSigmoid:
    """The form for task cross-entropy (appendix C.2); no anchor.

    a and k are hardly determined apart on the paper's ladder (halving one and doubling the other changes the sum of
    squares by 0.06%), so the published numbers depend on where the solver stops. Formula, solver and tolerances here
    are those that reproduce them; a tighter fit moves single predictions by up to 0.4 points.
    """
    from scipy.optimize import curve_fit

    def published(x: np.ndarray, a: float, middle: float, k: float) -> np.ndarray:
        return 1 - a * np.log(1 - 1 / (1 + np.exp(-k * (x - middle))))

    def stable(x: np.ndarray, a: float, middle: float, k: float) -> np.ndarray:
        return 1 + a * np.logaddexp(0.0, k * (x - middle))

    start, bounds = (-0.1, 0.9, 3.0), ((-np.inf, 0.0, 0.0), (0.0, np.inf, np.inf))
    with np.errstate(over="ignore", divide="ignore"):
        form = published if np.isfinite(published(loss, *start)).all() else stable  # from 13 nats on it is not
        (a, middle, k), _ = curve_fit(form, loss, accuracy, p0=start, bounds=bounds, maxfev=1_000_000)
    return LogSigmoid(a=float(a), k=float(k), L0=float(middle))


def least_squares(residual, jacobian, start, bounds) -> tuple[float, ...]:
    """Trust-region reflective least squares, run to the precision of the data."""
    from scipy.optimize import least_squares as solve

    result = solve(
        residual, start, jac=jacobian, bounds=bounds, method="trf", ftol=1e-12, xtol=1e-12, gtol=1e-12, max_nfev=2000
    )
    return tuple(float(value) for value in result.x)
