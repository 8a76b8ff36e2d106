"""Which run is followed beside which forecast: what `track` and `sharpen` share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ladder.errors import UserError, unknown
from ladder.rungs.rung import Target
from ladder.words import count_of
from predict.measured.finished import runs_at
from predict.measured.ladder import Measured, is_variant
from predict.measured.runs import Run
from predict.measured.same import same
from predict.methods import DEFAULT
from predict.methods.base import Estimate, Prediction
from predict.methods.companion import Companion
from predict.methods.fits import Fits
from predict.methods.forecast_file import Forecast, load
from predict.show import command_line


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A run, the predictions of its end that were made from the ladder alone, and the ladder's shapes."""

    run: Run
    target: Target
    companion: Companion
    predictions: Mapping[str, Prediction]
    lm_loss: Estimate | None
    source: str


def add_run(options: argparse.ArgumentParser, required: bool) -> None:
    options.add_argument("--run", required=required, metavar="NAME", help="the run, by the name it was measured under")
    options.add_argument("--measured", type=Path, metavar="PATH", help="where the run was measured, if not in --ladder")


def follow(fits: Fits, run: Run, record: Path | None = None) -> Followed:
    """The run beside what the ladder predicts of the target, or what the forecast at `record` says.

    Raises:
        UserError: a run without any task that is predicted; a forecast without intervals.
    """
    fits.needs_tasks("a run's band")
    if not same(run.n, fits.target.n):
        raise UserError(
            f"run {run.name} has N = {run.n:.4g}, and target {fits.target.name} {fits.target.n:.4g}: it is no run of it"
        )
    if not begun(run):
        raise UserError(f"run {run.name} was measured at no checkpoint after its start")
    fitted, target = fits.ensemble, fits.target
    companion = Companion(fits.below, fitted, target, run)
    text = companion.text_loss
    predictions, lm_loss = fitted.predict(target), text.predict(target) if text else None
    if record is not None:
        forecast = load(record)
        predictions, lm_loss = forecast.predictions(), _lm_loss(forecast)
        _check_intervals(predictions, lm_loss, record)
    followed = {p.task: p for p in predictions if p.task in companion.ways}
    if not followed:
        raise UserError(f"run {run.name} was measured on none of the tasks that are predicted")
    source = str(record) if record else f"{count_of(len(fits.below.rungs), 'run')} of {fits.below.source}"
    return Followed(run=run, target=target, companion=companion, predictions=followed, lm_loss=lm_loss, source=source)


def begun(run: Run) -> bool:
    """Whether something was measured of it after its start."""
    return run.last_tokens > 0


def _lm_loss(forecast: Forecast) -> Estimate | None:
    return forecast.lm_loss.loss.estimate if forecast.lm_loss else None


def _check_intervals(predictions: Sequence[Prediction], lm_loss: Estimate | None, record: Path) -> None:
    estimates = [one for p in predictions for one in (p.accuracy, p.loss)] + [lm_loss]
    if any(one and (one.interval80 is None or one.interval95 is None) for one in estimates):
        raise UserError(f"{record} has no intervals, so nothing can leave them; register it with --method {DEFAULT}")


def run_named(name: str, measured: Measured, elsewhere: Path | None) -> Run:
    """Raises UserError where there is no run of that name."""
    where = runs_at(elsewhere, measured.smoothing) if elsewhere else measured
    for run in where.runs:
        if run.name == name:
            return run
    raise unknown(f"run of {where.source}", name, [run.name for run in reversed(where.runs)])


def run_of(target: Target, measured: Measured) -> Run | None:
    """The finished run that is the target; where that has its end alone, as an anneal has, the variant of it that has
    the most checkpoints."""
    own = measured.at(target)
    if own is None or own.checkpoints > 1:
        return own
    variants = [run for run in measured.runs if is_variant(run, target) and run.finished and not run.tag]
    return max([own, *variants], key=lambda run: run.checkpoints)


def target_of(options: argparse.Namespace, measured: Measured, run: Run | None, record: Path | None = None) -> Target:
    """The target that the options name, else the one of the forecast, else what the run is planned to be."""
    if options.target or options.n is not None or options.d is not None or (run is None and record is None):
        return command_line.target_of(options, measured)
    if record is not None:
        return load(record).as_target
    assert run is not None
    return Target(name=run.name, n=run.n, d=run.d)
