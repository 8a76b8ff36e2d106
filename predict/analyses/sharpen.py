"""`python -m predict sharpen`: how a forecast improves as its run goes on, on a finished run or in back-tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ladder.errors import UserError
from ladder.rungs.rung import Target
from ladder.words import count_of
from predict.analyses.following import Followed, add_run, follow, run_named, run_of, target_of
from predict.measured.ladder import Measured
from predict.methods.base import Estimate
from predict.methods.fits import Fits
from predict.methods.splits import splits
from predict.show import command_line
from predict.show.tables import Row, Table, fixed, share, whole

SHARES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A task's forecast after a share of the run, its last checkpoint until then (None before any), and the truth."""

    share: float
    forecast: Estimate
    last: float | None
    actual: float


def moments(followed: Followed, actual: dict[str, float]) -> list[Moment]:
    """Of each task that follows scale and each of `SHARES`; `actual` has the final accuracies."""
    forecasts = []
    for name, prediction in followed.predictions.items():
        if prediction.verdict.trendless or name not in actual:
            continue
        seen = followed.companion.ways[name].own.accuracy
        for at in SHARES:
            forecast = followed.companion.updated(name, prediction.accuracy, at) if at else prediction.accuracy
            until = seen.until(at).values
            last = float(until[-1]) if len(until) else None
            forecasts.append(Moment(share=at, forecast=forecast, last=last, actual=actual[name]))
    return forecasts


def on_finished_run(measured: Measured, followed: Followed) -> list[Moment]:
    """Raises UserError where the target was not measured."""
    truths = {}
    for name, way in followed.companion.ways.items():
        truth = measured.actual(followed.target, way.study.task, measured.smoothing.window)
        if truth is not None:
            truths[name] = truth
    forecasts = moments(followed, truths)
    if not forecasts:
        raise UserError(f"{measured.source} holds no finished run of {followed.target.name} to compare with")
    return forecasts


def in_back_tests(measured: Measured, tasks: Sequence[str]) -> tuple[list[Moment], list[str]]:
    """Every smaller ladder inside this one follows the dearest run beyond it. Returns the (ladder, run) pairs too.

    Raises:
        UserError: the ladder holds no smaller one with a run beyond it.
    """
    forecasts, names = [], []
    for split in splits(measured.rungs):
        smaller = replace(measured, rungs=tuple(measured.rungs[i] for i in split.train))
        run = max((measured.rungs[i] for i in split.test), key=lambda run: run.compute)
        followed = follow(Fits(smaller, Target(name=run.name, n=run.n, d=run.d), tasks), run)
        count = measured.smoothing.final_checkpoints
        truths = {name: float(way.own.accuracy.values[-count:].mean()) for name, way in followed.companion.ways.items()}
        forecasts += moments(followed, truths)
        names.append(f"{split.name} -> {run.name}")
    if not forecasts:
        raise UserError(
            f"{measured.source}: no smaller ladder of 5 with a dearer run among {count_of(len(measured.rungs), 'rung')}"
        )
    return forecasts, names


def sharpening_table(forecasts: Sequence[Moment], title: str, notes: Sequence[str]) -> Table:
    """A row per share of the run."""
    return Table(
        title=title,
        columns=(
            share("run seen"),
            whole("predictions"),
            fixed("mean error", 2, "points"),
            fixed("80% held", 0, "percent"),
            fixed("95% held", 0, "percent"),
            fixed("80% half-width", 2, "points"),
            fixed("last checkpoint: mean error", 2, "points"),
        ),
        rows=tuple(_row(at, [one for one in forecasts if one.share == at]) for at in SHARES),
        notes=(
            "mean error: of the final accuracy, absolute; last checkpoint: simply carried forward; 0%: the forecast",
            *notes,
        ),
    )


def _row(at: float, forecasts: Sequence[Moment]) -> Row:
    errors = [abs(one.forecast.value - one.actual) for one in forecasts]
    held = [
        [one.actual in interval for interval in (one.forecast.interval80, one.forecast.interval95) if interval]
        for one in forecasts
    ]
    widths = [one.forecast.interval80.width / 2 for one in forecasts if one.forecast.interval80]
    last = [abs(one.last - one.actual) for one in forecasts if one.last is not None]
    return (
        at,
        len(forecasts),
        100 * float(np.mean(errors)),
        *(100 * np.mean(held, axis=0)).tolist(),
        100 * float(np.mean(widths)),
        100 * float(np.mean(last)) if last else None,
    )


def main(argv: list[str]) -> None:
    options = command_line.parser("sharpen", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_target(options)
    add_run(options, required=False)
    command_line.add_format(options)
    given, overrides = command_line.parse(options, argv)
    measured = command_line.data_of(given, overrides)
    if not given.run and not given.target and given.n is None:
        forecasts, names = in_back_tests(measured, given.tasks)
        title = f"How forecasts sharpen: {len(names)} back-tests inside {measured.name}"
        notes = ["each smaller ladder and the dearest run beyond it: " + "; ".join(names)]
    else:
        run = run_named(given.run, measured, given.measured) if given.run else None
        target = target_of(given, measured, run)
        run = run or run_of(target, measured)
        if run is None:
            raise UserError(f"{measured.source} holds no finished run of {target.name}; name the run with --run NAME")
        followed = follow(Fits(measured, target, given.tasks), run)
        forecasts = on_finished_run(measured, followed)
        title = f"How the forecast of {target.name} sharpens with the checkpoints of {run.name}"
        notes = [f"forecast from {followed.source}; the method's choices were made by back-tests inside AI2's ladder"]
    command_line.show(given.form, sharpening_table(forecasts, title, notes))
