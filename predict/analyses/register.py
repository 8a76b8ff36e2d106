"""`python -m predict register`: puts a forecast on record, in one file that is never overwritten."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ladder.files.bind import Text, bind
from ladder.files.reading import parse_json
from ladder.jobs.forecast import FORECAST_SCHEMA
from ladder.process.provenance import git_revision
from ladder.rungs.rung import Target
from predict.analyses.fit import provenance, rungs
from predict.methods import DEFAULT
from predict.methods.fits import Fits, method_named
from predict.methods.forecast_file import (
    Forecast,
    ForecastLadder,
    ForecastTarget,
    LmForecast,
    measurements_sha256,
    now,
    stored,
    stored_losses,
    stored_tasks,
    write_new,
)
from predict.methods.law_file import LawFile
from predict.methods.text_loss import fit_text_loss
from predict.show import command_line
from predict.show.predictions import Answer


def forecast_of(fits: Fits, method: str, inputs: Mapping[str, str] | None = None) -> Forecast:
    """What the method predicts from the ladder in `fits`, with everything that a record needs.

    Raises:
        UserError: as `predict_target`.
    """
    measured, target = fits.below, fits.target
    predictions = [dataclasses.replace(p, actual=None, actual_loss=None) for p in fits.predict(method)]
    flops = sum(run.compute for run in measured.rungs)
    lm_loss = _lm_loss(fits) if fits.tasks and method == DEFAULT else None
    losses = stored_losses(fits.fitted_losses, target)
    return Forecast(
        schema=FORECAST_SCHEMA,
        target=ForecastTarget(name=target.name, n=target.n, d=target.d),
        method=method,
        registered=now(),
        code=git_revision(),
        ladder=ForecastLadder(
            name=measured.name,
            measurements=measured.origin,
            runs=tuple(run.name for run in measured.rungs),
            smoothing=method_named(method).smoothing(measured),
            measurements_sha256=measurements_sha256(measured.rungs),
            flops=flops,
            share=flops / target.flops_6nd,
        ),
        tasks=stored_tasks(predictions),
        lm_loss=lm_loss,
        notes=tuple(fits.notes(method)),
        laws=dataclasses.asdict(_law_file(fits)) if fits.tasks else {},
        inputs=dict(inputs or {}),
        losses={name: one for name, one in losses.items() if not lm_loss or name not in lm_loss.texts},
    )


def _law_file(fits: Fits) -> LawFile:
    return LawFile.of(provenance(fits.below), rungs(fits.below), fits.paper, fits.ensemble, {})


def _lm_loss(fits: Fits) -> LmForecast | None:
    fitted = fit_text_loss(fits.below)
    return LmForecast(texts=fitted.texts, loss=stored(fitted.predict(fits.target))) if fitted else None


def _hashes(text: str) -> dict[str, str]:
    return bind(dict[Text, Text], parse_json(text, "--inputs"), "--inputs")


def main(argv: list[str]) -> None:
    options = command_line.parser("register", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_target(options)
    options.add_argument("--name", type=command_line.name, help="what to call a target that is given by --n and --d")
    options.add_argument("--method", default=DEFAULT, help="default, paper, or a variant of it")
    output = command_line.file_named(".json")
    options.add_argument("--output", type=output, required=True, metavar="FILE", help="the .json file to write")
    options.add_argument(
        "--inputs", type=_hashes, help="hashes of what python -m ladder made it from, kept in the file"
    )
    given, overrides = command_line.parse(options, argv)
    method_named(given.method)
    measured = command_line.data_of(given, overrides)
    target = command_line.target_of(given, measured)
    if given.name:
        target = Target(name=given.name, n=target.n, d=target.d)
    forecast = forecast_of(Fits(measured, target, given.tasks), given.method, given.inputs)
    sha256 = write_new(forecast, given.output)
    answer = Answer(
        target=target,
        method=given.method,
        predictions=forecast.predictions(),
        notes=list(forecast.notes),
        losses=forecast.loss_predictions(),
    )
    command_line.show("text", *answer.tables())
    print(f"wrote {given.output}, registered {forecast.registered} by code {forecast.code}; its SHA-256:\n{sha256}")
