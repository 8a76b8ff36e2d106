"""A sweep's points as checks: the optimum of rate and batch against the recipe's rule, its drift, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ladder.records.checks import Check, Finding, Subject, Verdict, by_limits
from predict.analyses.checked_ladder import CheckedLadder
from predict.fitting.loss_grid import fit_loss_laws
from predict.measured.ladder import MINIMUM_RUNGS
from predict.measured.same import same
from predict.methods.rate_sweep import Drift, Optimum, Parabola, Sweep, drift, sweeps_of

DEAR, TOO_DEAR = 2.0, 4.0  # times the noise of a run: what a setting that is off its optimum costs

Drifts = Mapping[Subject, tuple[Sweep, Drift]]


def sweep_checks(one: CheckedLadder) -> list[Check]:
    """None where no point of a sweep was measured."""
    sweeps = sweeps_of(one.measured.runs, one.swept_losses)
    if not sweeps:
        return []
    rates = {sweep.rung: parabola for sweep in sweeps if (parabola := sweep.parabola(1.0, one.noise))}
    drifts = _drifts([sweep for sweep in sweeps if sweep.rung in rates], rates)
    optimum = _optimum(sweeps, rates, drifts) if rates else None
    rate = Check(
        subject=Subject.RATE,
        findings=tuple(_rate_finding(sweep.rung, rates.get(sweep.rung), one.noise) for sweep in sweeps),
        values=_consequences(one, optimum) if optimum else {},
    )
    batch = Check(
        subject=Subject.BATCH,
        findings=tuple(_batch_finding(sweep, one.noise) for sweep in sweeps if len(sweep.batches) > 1),
    )
    drift_checks = [
        _drift_check(one, subject, sweep.rung, parabola, optimum)
        for subject, (sweep, parabola) in drifts.items()
        if optimum
    ]
    return [rate, batch, *drift_checks]


def _rate_finding(rung: str, parabola: Parabola | None, noise: float) -> Finding:
    """Off the rule where the optimum lies beyond the points, or clearly elsewhere at a cost."""
    if parabola is None:
        return Finding(run=rung, verdict=Verdict.UNKNOWN)
    cost = by_limits(parabola.penalty / noise, DEAR, TOO_DEAR) if parabola.clear else Verdict.OK
    return Finding(
        run=rung,
        verdict=cost if parabola.inside else Verdict.BAD,
        values={
            "optimum": float(2**parabola.optimum),
            "octaves_sd": parabola.sd,
            "penalty": parabola.penalty,
            "inside": float(parabola.inside),
        },
    )


def _batch_finding(sweep: Sweep, noise: float) -> Finding:
    """The best batch, each at its own best rate, and what the rule's loses to it."""
    lowest = {batch: parabola.lowest for batch in sweep.batches if (parabola := sweep.parabola(batch, noise))}
    if 1.0 not in lowest or len(lowest) < 2:
        return Finding(run=sweep.rung, verdict=Verdict.UNKNOWN)
    best = min(lowest, key=lambda batch: lowest[batch])
    penalty = lowest[1.0] - lowest[best]
    return Finding(
        run=sweep.rung, verdict=by_limits(penalty / noise, DEAR, TOO_DEAR), values={"optimum": best, "penalty": penalty}
    )


def _drifts(sweeps: Sequence[Sweep], rates: Mapping[str, Parabola]) -> Drifts:
    """From the smallest rung's sweep to that of a larger model on as many times its N, and to that of a longer run."""
    drifts: dict[Subject, tuple[Sweep, Drift]] = {}
    for other in sweeps[1:]:
        first = sweeps[0]
        larger = not same(other.n, first.n)  # sweeps are in order of N
        doublings = float(np.log2(other.n / first.n if larger else other.d / first.d))
        subject = Subject.DRIFT_N if larger else Subject.DRIFT_D
        drifts.setdefault(subject, (other, drift(rates[first.rung], rates[other.rung], doublings)))
    return drifts


def _optimum(sweeps: Sequence[Sweep], rates: Mapping[str, Parabola], drifts: Drifts) -> Optimum:
    """Drifts that are not clear are taken for none."""
    first = next(sweep for sweep in sweeps if sweep.rung in rates)
    slopes = {subject: moved.slope if moved.clear else 0.0 for subject, (_, moved) in drifts.items()}
    return Optimum(
        at=rates[first.rung].optimum,
        n0=first.n,
        d0=first.d,
        by_n=slopes.get(Subject.DRIFT_N, 0.0),
        by_d=slopes.get(Subject.DRIFT_D, 0.0),
        curvature=float(np.median([parabola.curvature for parabola in rates.values()])),
    )


def _drift_check(one: CheckedLadder, subject: Subject, rung: str, moved: Drift, optimum: Optimum) -> Check:
    """By what the rule costs at the ladder's largest rung, if the optimum goes on as it moved."""
    largest = max(one.measured.rungs, key=lambda run: run.compute)
    penalty = float(optimum.penalty(largest.n, largest.d))
    verdict = by_limits(penalty / one.noise, DEAR, TOO_DEAR) if moved.clear else Verdict.OK
    values = {"octaves": moved.slope, "octaves_sd": moved.sd, "penalty_at_top": penalty}
    return Check(subject=subject, findings=(Finding(run=rung, verdict=verdict, values=values),))


def _consequences(one: CheckedLadder, optimum: Optimum) -> dict[str, float]:
    """`target_penalty`: what the rule costs the target itself. `target_shift`: by how much the law of the rungs as they
    are predicts a higher loss there than that of rungs at their optima would, relative."""
    if one.target is None:
        return {}
    n, d = one.target.n, one.target.d
    values = {"target_penalty": float(optimum.penalty(n, d))}
    if len(one.rungs) < MINIMUM_RUNGS:
        return values
    tuned = one.finals * np.exp(-optimum.penalty(one.n, one.d))
    used = np.ones((1, len(one.rungs)))
    as_is, better = (float(fit_loss_laws(one.n, one.d, losses, used)(n, d)[0][0, 0]) for losses in (one.finals, tuned))
    return values | {"target_shift": as_is / better - 1}
