"""Whether a ladder's rungs lie on one law and share one curve: each judged by a fit that leaves it out.

A rung whose final loss is off the law of the others, or whose way there has another shape, was trained in another way:
on other data, at another rate, from a bad start. The law is taken to second order about the ladder's middle,

    ln L = c0 + c1 x + c2 y + c3 xy + c4 x² + c5 y²,    x = ln N, y = ln D/N,

of which every smooth law is one inside the ladder: a power law that does not quite hold would lend its own error to the
rungs (on AI2's it is 0.4% off where their reruns differ by 0.1%). How far off is still chance is known from the other
rungs alone, so that limits are those of Student's t. What is beyond them is left out and the rest judged again, since
one bad rung makes the noise of all others look larger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ladder.config.settings import Smoothing
from predict.fitting.loss_grid import fit_loss_laws
from predict.measured.runs import Run, n_and_d
from predict.measured.same import levels
from predict.methods.course import Course, CurveOf, course_of
from predict.methods.splits import Split
from predict.methods.student import limit

LOOK, BAD = 0.02, 0.001  # the chance that some run of a ladder without a bad one is beyond a limit
USUAL, WEIGHT = 0.002, 3  # noise of a final loss, relative, where no reruns tell it, and for how many runs that counts
SHAPE_FREEDOM = 3  # coefficients of the shape at each share of training
FEWEST_LEFT = 2  # degrees of freedom of the noise, at least
MOST_LEFT_OUT = 4  # one rung in so many: beyond that it is the law, not the rungs
FROM = 0.25  # share of training: before it the start of a run rules its curve
MISFIT = 0.05  # of what a run had left to fall: what the shape that runs share leaves unexplained
LEAST_SPREAD = 0.5  # of the ways, in units of what the shape leaves unexplained


@dataclass(frozen=True, kw_only=True)
class Deviations:
    """Each run's, (runs,): `relative` (a share of the loss), `sigmas` in standard deviations of what chance explains.

    `sound` is whether a run was kept in what the others are judged by; `freedom` the degrees of freedom of the noise.
    """

    relative: np.ndarray
    sigmas: np.ndarray
    sound: np.ndarray
    noise: float
    freedom: int

    def limits(self) -> tuple[float, float]:
        """Standard deviations that are worth a look, and that are bad."""
        runs = len(self.sigmas)
        look, bad = (limit(chance / runs, self.freedom) for chance in (LOOK, BAD))
        return look, bad


def law_deviations(n: np.ndarray, d: np.ndarray, losses: np.ndarray, noise: float | None = None) -> Deviations | None:
    """Of final losses (runs,) from the law of the other rungs; `noise` is a run's, relative, where reruns tell it.

    None where the rungs are too few to hold one of them against a law.
    """
    x, usual = _terms(n, d), noise or USUAL
    if len(n) - 1 - x.shape[1] < FEWEST_LEFT:
        return None

    def judge(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        rows = [
            _left_out(x, np.log(losses), np.flatnonzero(sound * (np.arange(len(n)) != i)), i, usual)
            for i in range(len(n))
        ]
        residuals, sds, noises = np.array(rows).T
        return residuals, residuals / sds, float(np.median(noises))

    return _sequentially(judge, len(n), x.shape[1] - WEIGHT)


def _terms(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """(runs, coefficients): those that the ladder's sizes and multiples determine."""
    x, y = np.log(n / np.exp(np.log(n).mean())), np.log(d / n)
    y = y - y.mean()
    sizes, multiples = len(levels(n)), len(levels(d / n))
    columns = [np.ones_like(x)] + [x] * (sizes > 1) + [y] * (multiples > 1) + [x * y] * (sizes > 1 and multiples > 1)
    return np.stack(columns + [x**2] * (sizes > 2) + [y**2] * (multiples > 2), axis=1)


def _left_out(
    x: np.ndarray, logs: np.ndarray, fitted: np.ndarray, place: int, usual: float
) -> tuple[float, float, float]:
    """A run's residual by the fit to others, its standard deviation, and the noise of a run by that fit."""
    coefficients, *_ = np.linalg.lstsq(x[fitted], logs[fitted], rcond=None)
    rest = logs[fitted] - x[fitted] @ coefficients
    freedom = len(fitted) - x.shape[1]
    noise = float(np.sqrt((rest @ rest + WEIGHT * usual**2) / (freedom + WEIGHT)))
    leverage = float(x[place] @ np.linalg.pinv(x[fitted].T @ x[fitted]) @ x[place])
    return float(logs[place] - x[place] @ coefficients), noise * (1 + leverage) ** 0.5, noise


def shape_deviations(
    runs: Sequence[Run], curve_of: CurveOf, law: Deviations, smoothing: Smoothing, knee: float
) -> Deviations:
    """Of each run's way to its final loss from the way that the other runs share.

    In the mean over its checkpoints from a quarter of training on; above 0 it falls later than the others.
    """
    n, d = n_and_d(runs)
    finals = np.array([curve_of(run).final(smoothing.final_checkpoints) for run in runs])
    floor = float(fit_loss_laws(n, d, finals, law.sound[None].astype(float)).irreducible[0])

    def judge(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        splits = [_without(i, sound) for i in range(len(runs))]
        course = course_of(runs, curve_of, splits, np.full(len(runs) + 1, floor), smoothing, knee)
        ways = np.array([_way_off(course, i, run) for i, run in enumerate(runs)])
        relative, off = ways.T
        others = sound * (1 - np.eye(len(runs))) * np.isfinite(off)
        spread = np.sqrt((others * np.nan_to_num(off) ** 2).sum(axis=1) / np.maximum(others.sum(axis=1), 1))
        return relative, np.nan_to_num(off / np.maximum(spread, LEAST_SPREAD)), float(np.median(spread)) * MISFIT

    return _sequentially(judge, len(runs), SHAPE_FREEDOM)


def _without(place: int, sound: np.ndarray) -> Split:
    train = tuple(i for i in np.flatnonzero(sound).tolist() if i != place)
    return Split(name="", train=train, test=(place,))


def _way_off(course: Course, place: int, run: Run) -> tuple[float, float]:
    """The mean difference of a run's checkpoints from what the others' shape expects: relative, and in units of what it
    leaves unexplained. NaN where the run has no checkpoint between a quarter of its training and its end."""
    own, drops = course.traces[place], course.back_tests[place]
    kept = (own.shares >= max(FROM, drops.start)) & (own.shares < 1 - 1e-6)
    if not kept.any():
        return np.nan, np.nan
    final = course.finals[place]
    expected = drops.before(final, own.shares[kept], run.n, run.d)
    off = np.log(own.values[kept] / expected)
    return float(off.mean()), float((off / np.hypot(USUAL, MISFIT * (expected / final - 1))).mean())


Judge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, float]]


def _sequentially(judge: Judge, runs: int, coefficients: int) -> Deviations:
    """Leaves out the run that is furthest off, while it is beyond the limit, and judges all again without it."""
    sound = np.ones(runs)
    while True:
        relative, sigmas, noise = judge(sound)
        deviations = Deviations(
            relative=relative,
            sigmas=sigmas,
            sound=sound > 0,
            noise=noise,
            freedom=max(int(sound.sum()) - 1 - coefficients, 1),
        )
        furthest = int(np.argmax(np.abs(sigmas) * sound))
        left_out = runs - int(sound.sum())
        if abs(sigmas[furthest]) <= deviations.limits()[0] or left_out >= runs // MOST_LEFT_OUT:
            return deviations
        sound = np.where(np.arange(runs) == furthest, 0.0, sound)
