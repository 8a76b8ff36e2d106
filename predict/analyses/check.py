"""`python -m predict check`: whether the rungs of a ladder, by what was measured of them, can carry a law.

Each rung is held against the others: its final loss against their law, its way there against the shape that their
curves share. Where points of a sweep were measured (`python -m ladder check --sweep`), the best learning rate and batch
are held against the recipe's rule. Ends with code 3 where something is bad, with 1 where something is worth a look.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ladder.check.logs import log_of
from ladder.check.training import training_checks
from ladder.records.checks import Check, Finding, Subject, Verdict, by_limits, checks_json, exit_code
from ladder.rungs.rung import Target
from ladder.words import count_of
from predict.analyses.check_sweep import sweep_checks
from predict.analyses.checked_ladder import CheckedLadder
from predict.measured.ladder import Measured
from predict.measured.load import load_ladder
from predict.measured.runs import Run
from predict.methods.companion import schedule_knee
from predict.methods.soundness import Deviations, shape_deviations
from predict.show import command_line


def checks(one: CheckedLadder) -> list[Check]:
    return [*curve_checks(one), law_check(one), collapse_check(one), *sweep_checks(one)]


def curve_checks(one: CheckedLadder) -> list[Check]:
    """What the checkpoints say of divergence and spikes; a run's log, where there is one, says it finer."""
    curves = {run.name: one.curve(run) for run in one.measured.rungs}
    return training_checks({name: log_of(curve.steps, curve.values) for name, curve in curves.items()}, {})


def law_check(one: CheckedLadder) -> Check:
    """`at_target`: by how much the predicted loss at the target changes, relative, where the run is left out.

    `power_law` is how far the power laws that are fitted to predict are off the rungs, relative.
    """
    if one.law is None:
        return _unknown(Subject.LAW, one.measured.rungs)
    extra: list[dict[str, float]] = [{}] * len(one.rungs)
    if one.target:
        at, _ = one.laws(one.target.n, one.target.d)
        extra = [{"at_target": float(moved / at[0, 0] - 1)} for moved in at[1:, 0]]
    check = _judged(Subject.LAW, one.rungs, one.law, extra)
    off = np.log(one.finals / one.laws(one.n, one.d)[0][0])[one.law.sound]
    return replace(check, values=check.values | {"power_law": float(np.sqrt((off**2).mean()))})


def collapse_check(one: CheckedLadder) -> Check:
    several = one.curve_of and all(len(one.curve_of(run).steps) > 1 for run in one.rungs)
    if one.law is None or one.curve_of is None or not several:
        return _unknown(Subject.COLLAPSE, one.measured.rungs)
    knee = schedule_knee(one.measured)
    return _judged(
        Subject.COLLAPSE, one.rungs, shape_deviations(one.rungs, one.curve_of, one.law, one.measured.smoothing, knee)
    )


def _judged(
    subject: Subject, rungs: Sequence[Run], deviations: Deviations, extra: Sequence[dict[str, float]] | None = None
) -> Check:
    look, bad = deviations.limits()
    findings = tuple(
        Finding(
            run=run.name,
            verdict=by_limits(abs(float(sigmas)), look, bad),
            values={"relative": float(relative), "sigmas": float(sigmas)} | (extra[i] if extra else {}),
        )
        for i, (run, relative, sigmas) in enumerate(zip(rungs, deviations.relative, deviations.sigmas, strict=True))
    )
    return Check(subject=subject, findings=findings, values={"noise": deviations.noise, "look": look, "bad": bad})


def _unknown(subject: Subject, runs: Sequence[Run]) -> Check:
    return Check(subject=subject, findings=tuple(Finding(run=run.name, verdict=Verdict.UNKNOWN) for run in runs))


def main(argv: list[str]) -> int:
    options = command_line.parser("check", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_target(options)
    options.add_argument("--json", action="store_true", help="as JSON")
    given, overrides = command_line.parse(options, argv)
    measured = load_ladder(
        given.ladder,
        sizes=given.sizes,
        multiples=given.multiples,
        overrides=overrides,
        corpus=given.corpus,
        mapping=given.mapping,
        at_least=1,
    )
    judged = checks(CheckedLadder(measured=measured, target=_target(given, measured)))
    if given.json:
        print(checks_json(judged))
    else:
        from ladder.check.page import print_page  # what draws it takes a while to load

        print_page(f"{measured.source}: {count_of(len(measured.rungs), 'rung')}", judged)
    return exit_code(judged)


def _target(options: argparse.Namespace, measured: Measured) -> Target | None:
    """The one that the options name, else the ladder's own, if it has one."""
    named = options.target or options.n is not None or options.d is not None
    own = measured.ladder is not None and measured.target is not None
    return command_line.target_of(options, measured) if named or own else None
