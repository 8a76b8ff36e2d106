"""Step 1: fit the loss of a ladder's final checkpoints by a power law (section 3.1).

The published fit is a sum of Huber losses on log L, minimised by L-BFGS-B from one start. The objective is not convex,
whatever the paper says, so `fit_power_law_from_many` tries other starts to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predict.fitting.forms import ComputeLaw, PowerLaw, SingleStep, expit

HUBER_DELTA = 1e-3
STUCK = 0.5
LARGEST_LOG = 300.0
LOWEST = {"A": 1.0, "alpha": 0.0, "B": 1.0, "beta": 0.0, "E": 0.0}  # coefficients of a power law
PUBLISHED_START = (3.0, 6.0, 0.1, 0.2, 1.0)  # ln A, ln B, alpha, beta, E
COMPUTE_START = (3.0, 0.1, 1.0)  # ln A, alpha, E
SINGLE_START = (3.0, 5.0, 0.2, 0.3, 0.0)  # ln A, ln B, alpha, beta, E
OTHER_SINGLE_STARTS = ((8.0, 8.0, 0.4, 0.4, 0.0), (2.0, 8.0, 0.1, 0.4, 1.0), (6.0, 3.0, 0.3, 0.15, -1.0))
# Spread over exponents and offsets that fits of language models meet.
OTHER_STARTS = ((8.0, 4.0, 0.5, 0.2, 0.5), (2.0, 8.0, 0.2, 0.45, 0.1), (1.0, 1.0, 0.1, 0.1, 0.0))


@dataclass(frozen=True, kw_only=True)
class Fit:
    """An optimum: `parameters` in the order of its start, and the value of the objective there."""

    parameters: np.ndarray
    objective: float


def fit_power_law(
    n: np.ndarray, d: np.ndarray, loss: np.ndarray, start: tuple[float, ...] = PUBLISHED_START, *, settle: bool = True
) -> tuple[PowerLaw, float]:
    """The power law through `loss` at (n, d), each of shape (runs,), and the value of the objective.

    ln A, ln B, alpha, beta and E are bounded below by 0, as in the published code; the paper says A, B >= 0. The upper
    bounds only keep fits of fewer runs than coefficients finite.
    """
    log_n, log_d, log_loss = np.log(n), np.log(d), np.log(loss)

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        first, second = np.exp(p[0] - p[2] * log_n), np.exp(p[1] - p[3] * log_d)
        predicted = first + second + p[4]
        value, slope = huber(np.log(predicted) - log_loss)
        slope /= predicted
        by_first, by_second = slope * first, slope * second
        return value, np.array(
            [by_first.sum(), by_second.sum(), -(by_first @ log_n), -(by_second @ log_d), slope.sum()]
        )

    fit = minimise(
        objective, start, [(0.0, LARGEST_LOG), (0.0, LARGEST_LOG), (0.0, 10.0), (0.0, 10.0), (0.0, None)], settle
    )
    p = fit.parameters
    law = PowerLaw(A=float(np.exp(p[0])), alpha=float(p[2]), B=float(np.exp(p[1])), beta=float(p[3]), E=float(p[4]))
    return law, fit.objective


@dataclass(frozen=True, kw_only=True)
class StartsFit:
    """The `law` to use and its `objective`; the `best` law of all starts and the `lowest` objective."""

    law: PowerLaw
    objective: float
    best: PowerLaw
    lowest: float


def fit_power_law_from_many(n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> StartsFit:
    """The fit from the published start, beside the best from any start.

    The published start counts as stuck, and gives way, only where another start more than halves the objective: for the
    paper's own features it is then rounding noise that decides where it stops.
    """
    law, objective = fit_power_law(n, d, loss)
    best, lowest = min(
        (fit_power_law(n, d, loss, start, settle=False) for start in OTHER_STARTS), key=lambda pair: pair[1]
    )
    if lowest > objective:
        best, lowest = law, objective
    if lowest < STUCK * objective:
        law, objective = best, lowest
    return StartsFit(law=law, objective=objective, best=best, lowest=lowest)


def fit_compute_law(compute: np.ndarray, loss: np.ndarray) -> ComputeLaw:
    """The law in FLOPs alone (section 6.1); alpha in [0, 1]."""
    log_c, log_loss = np.log(compute), np.log(loss)

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        term = np.exp(p[0] - p[1] * log_c)
        predicted = term + p[2]
        value, slope = huber(np.log(predicted) - log_loss)
        slope /= predicted
        return value, np.array([slope @ term, -(slope * term) @ log_c, slope.sum()])

    p = minimise(objective, COMPUTE_START, [(0.0, None), (0.0, 1.0), (0.0, None)]).parameters
    return ComputeLaw(A=float(np.exp(p[0])), alpha=float(p[1]), E=float(p[2]))


def fit_single_step(
    n: np.ndarray, d: np.ndarray, accuracy: np.ndarray, chance: float, *, other_starts: bool = True
) -> SingleStep:
    """Accuracy from (N, D) at once (section 6.4); where the published start is stuck, the best of other starts.

    That is so for CommonsenseQA, and with SciPy before 1.15 for HellaSwag.
    """
    log_n, log_d, log_accuracy = np.log(n), np.log(d), np.log(accuracy)

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        first, second = np.exp(p[0] - p[2] * log_n), np.exp(p[1] - p[3] * log_d)
        gate = expit(first + second + p[4])
        raw = p[5] * gate + p[6]
        predicted = np.maximum(raw, 1e-6)
        value, slope = huber(np.log(predicted) - log_accuracy)
        slope = np.where(raw > 1e-6, slope / predicted, 0.0)
        inner = slope * p[5] * gate * (1 - gate)
        by_first, by_second = inner * first, inner * second
        return value, np.array(
            [
                by_first.sum(),
                by_second.sum(),
                -(by_first @ log_n),
                -(by_second @ log_d),
                inner.sum(),
                slope @ gate,
                slope.sum(),
            ]
        )

    bounds = [(0.0, LARGEST_LOG), (0.0, LARGEST_LOG), (0.0, 10.0), (0.0, 10.0), (None, None), (-1.0, 0.0), (0.0, 1.0)]
    end = (chance - 1.0, 1.0)
    published = minimise(objective, (*SINGLE_START, *end), bounds)
    starts = OTHER_SINGLE_STARTS if other_starts else ()
    others = [minimise(objective, (*start, *end), bounds, settle=False) for start in starts]
    best = min([published, *others], key=lambda fit: fit.objective)
    p = (best if best.objective < STUCK * published.objective else published).parameters
    A, B = np.exp(p[:2])
    alpha, beta, offset, a, b = map(float, p[2:])
    return SingleStep(A=float(A), alpha=alpha, B=float(B), beta=beta, E=offset, a=a, b=b)


def huber(residual: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of Huber losses with delta = 1e-3 (Hoffmann et al. 2022), and its derivative by each residual."""
    size = np.abs(residual)
    inside = size <= HUBER_DELTA
    value = np.where(inside, 0.5 * residual**2, HUBER_DELTA * (size - 0.5 * HUBER_DELTA)).sum()
    return float(value), np.clip(residual, -HUBER_DELTA, HUBER_DELTA)


def minimise(objective, start, bounds, settle: bool = True) -> Fit:
    """L-BFGS-B with the published tolerances; to `settle`, started again where it stopped until that gains nothing.

    With ftol = 0 the solver may give up in a line search far from the optimum, depending on rounding noise.
    """
    from scipy.optimize import minimize

    options = {"ftol": 0.0, "gtol": 1e-10, "maxiter": 1_000_000, "maxfun": 1_000_000}
    best = Fit(parameters=np.array(start), objective=np.inf)
    for _ in range(20 if settle else 1):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            optimum = minimize(objective, best.parameters, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        settled = optimum.fun >= best.objective * (1 - 1e-9)
        if optimum.fun < best.objective:
            best = Fit(parameters=optimum.x, objective=float(optimum.fun))
        if settled:
            break
    return best
