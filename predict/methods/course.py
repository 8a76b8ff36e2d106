"""The way of a measured quantity to the end of a run: its shape over a ladder's rungs, and how well that carries on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ladder.config.settings import Smoothing
from predict.fitting.drops import EARLIEST, DropLaw, fit_drops, interpolated, nodes
from predict.measured.progress import Trace, trace
from predict.measured.runs import Curve, Run, n_and_d
from predict.methods.slack import Slack, fit_slack
from predict.methods.splits import Split, decades, fit_weights

SHARES = (0.1, 0.25, 0.5, 0.75)  # of training, at which back-tests stop a run and carry it on
FIRST = SHARES[0]  # before it a run's own curve makes forecasts worse: in back-tests at 5%, 1.7 points for 1.1
YOUNGEST = 2 / 3  # of the share that a run has come to: older checkpoints say little
LEAST = Slack(noise=0.002, misfit=0.05)  # relative, of a loss
LEAST_WIGGLE = 1e-4  # relative: below it curves are smooth to rounding
LATE = 12  # checkpoints at the end of a run that show how much one differs from the next

SPIKE = 5.0  # standard deviations above its own course

CurveOf = Callable[[Run], Curve]


@dataclass(frozen=True, kw_only=True)
class Course:
    """One quantity over the rungs: `finals` (runs,), `drops` of all rungs and of each back-test's.

    `ends` has, by back-test and run beyond it, the final value that each of the run's checkpoints leads to.

    `slack` is relative, of a final value that was carried on from a run's own curve; the way to it is the relative drop
    that is left, times one more than the decades of N·D from what was fitted (in back-tests errors grow with both).
    `wiggle` is the relative standard deviation of one checkpoint.
    """

    traces: tuple[Trace, ...]
    finals: np.ndarray
    drops: DropLaw
    back_tests: tuple[DropLaw, ...]
    ends: Mapping[tuple[int, int], np.ndarray]
    slack: Slack
    wiggle: float
    count: int

    def latest(self, own: Trace, share: float) -> Trace:
        """The last checkpoints up to a share, none of them much older or of another phase of the schedule."""
        return latest(own, share, self.drops.knee, self.count)


def latest(own: Trace, share: float, knee: float, count: int) -> Trace:
    """The last `count` checkpoints up to `share`, none of them much older or of another phase of the schedule."""
    until = own.until(share)
    if not len(until.shares):
        return until
    come = float(until.shares[-1])
    oldest = max(YOUNGEST * come, knee if knee and come > knee * (1 + 1e-9) else 0.0)
    return until.after(oldest).last(count)


def spikes(course: Course, own: Trace, n: float, d: float) -> list[int]:
    """The places of checkpoints whose loss lies far above what the ones before them lead to, in order."""
    drops, places = course.drops, []
    ends = drops.end(own.values, own.shares, n, d)
    for i in range(1, len(ends)):
        oldest = YOUNGEST * own.shares[i - 1]
        if drops.knee and own.shares[i] > drops.knee * (1 + 1e-9):
            oldest = max(oldest, drops.knee)
        before = [j for j in range(max(i - course.count, 0), i) if own.shares[j] > oldest and np.isfinite(ends[j])]
        if before and np.isfinite(ends[i]):
            end = float(np.median(ends[before]))
            expected, earlier = drops.before(end, [own.shares[i], own.shares[before].mean()], n, d)
            if own.values[i] / expected - 1 > SPIKE * float(course.slack.sd((earlier - expected) / end)):
                places.append(i)
    return places


def course_of(
    runs: Sequence[Run],
    curve_of: CurveOf,
    splits: Sequence[Split],
    floors: np.ndarray,
    smoothing: Smoothing,
    knee: float,
) -> Course:
    """`floors` (1 + splits,) has the irreducible loss by the law of all rungs, and by that of each back-test.

    `knee` is the share of training at which a decay begins, 0 where none does.
    """
    curves = [curve_of(run) for run in runs]
    traces = tuple(trace(curve, run.d) for run, curve in zip(runs, curves, strict=True))
    finals = np.array([curve.final(smoothing.final_checkpoints) for curve in curves])
    scaled = [replace(one, values=one.values / final) for one, final in zip(traces, finals, strict=True)]
    noise = max(wiggle(scaled), LEAST_WIGGLE)
    drops, *back_tests = _drops(runs, traces, finals, splits, floors, noise, knee)
    course = Course(
        traces=traces,
        finals=finals,
        drops=drops,
        back_tests=tuple(back_tests),
        ends={
            (i, place): law.end(traces[place].values, traces[place].shares, runs[place].n, runs[place].d)
            for i, (split, law) in enumerate(zip(splits, back_tests, strict=True))
            for place in split.test
        },
        slack=LEAST,
        wiggle=noise,
        count=smoothing.window,
    )
    errors, ways = _carried_errors(course, runs, splits)
    carried = np.isfinite(errors)
    return replace(course, slack=fit_slack(errors[carried], ways[carried], LEAST)) if carried.any() else course


def _drops(
    runs: Sequence[Run],
    traces: Sequence[Trace],
    finals: np.ndarray,
    splits: Sequence[Split],
    floors: np.ndarray,
    noise: float,
    knee: float,
) -> list[DropLaw]:
    """The shape over all rungs, and over those of each back-test, from where three rungs have checkpoints."""
    third = np.sort([one.shares[0] for one in traces])[min(2, len(traces) - 1)]
    grid = nodes(float(max(third, EARLIEST)), knee)
    losses = np.array([interpolated(grid, one.shares, one.values, knee) for one in traces])
    weights = fit_weights(splits, len(runs))
    return fit_drops(*n_and_d(runs), grid, losses, finals, weights, floors, noise=noise, knee=knee)


def wiggle(traces: Sequence[Trace]) -> float:
    """From the differences between neighbouring checkpoints late in training, which hold little of the trend."""
    late = [np.diff(one.values[-LATE:]) for one in traces]
    sds = [float(np.std(steps)) / np.sqrt(2) for steps in late if len(steps) > 2]
    return float(np.median(sds)) if sds else 0.0


def _carried_errors(course: Course, runs: Sequence[Run], splits: Sequence[Split]) -> tuple[np.ndarray, np.ndarray]:
    """Relative errors of finals that back-tests carry on from their runs' own curves, and the ways there."""
    errors, ways = [], []
    for (i, place), ends in course.ends.items():
        run, own = runs[place], course.traces[place]
        far = decades_from([runs[j] for j in splits[i].train], run.n, run.d)
        for share in SHARES:
            seen, leads = course.latest(own, share), course.latest(replace(own, values=ends), share)
            if len(seen.shares):
                value = float(leads.values.mean())
                errors.append(value / course.finals[place] - 1)
                ways.append(float((seen.values / value - 1).mean()) * (1 + far))
    return np.array(errors, dtype=float), np.array(ways, dtype=float)


def decades_from(fitted: Sequence[Run], n: float, d: float) -> float:
    """Decades of N·D from what was fitted. A way is worth so much less the further off the run is: see `Course`."""
    return float(decades(np.array(n), np.array(d), fitted))
