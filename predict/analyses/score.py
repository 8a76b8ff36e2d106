"""`python -m predict score`: registered forecasts beside what was measured since, and how often intervals held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ladder.errors import UserError, shortened
from ladder.words import count_of
from predict.measured.finished import measured_target
from predict.methods.base import Held, Interval, Prediction, errors_of, intervals_held, mean_error
from predict.methods.forecast_file import Forecast, load
from predict.methods.losses import LossPrediction
from predict.show import command_line
from predict.show.predictions import loss_cells, loss_table, percent, percent_range
from predict.show.tables import Column, Row, Table, fixed, flags, whole, words
from predict.show.verdicts import flag_texts


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A forecast with what was measured on its target; what was not measured there has no actual value."""

    path: Path
    forecast: Forecast
    predictions: tuple[Prediction, ...]
    losses: tuple[LossPrediction, ...]
    lm_loss: float | None

    @property
    def name(self) -> str:
        return f"{self.forecast.target.name} by {self.forecast.method}"


def scored(path: Path, measured: Path, mapping: Path | None = None) -> Scored:
    """Raises UserError: `path` is no forecast, or `measured` has no finished run of its target or nothing predicted."""
    forecast = load(path)
    target = measured_target(measured, forecast.as_target, forecast.ladder.smoothing, mapping)
    predictions = tuple(
        replace(p, actual=target.accuracy(p.task), actual_loss=target.loss(p.task, loss.metric) if loss else None)
        for p, loss in zip(forecast.predictions(), [task.loss for task in forecast.tasks.values()], strict=True)
    )
    lm_loss = target.lm_loss(forecast.lm_loss.texts) if forecast.lm_loss else None
    count = forecast.ladder.smoothing.final_checkpoints
    losses = tuple(
        replace(p, actual=p.task.final(target.run, count)) if p.task.measured(target.run) else p
        for p in forecast.loss_predictions()
    )
    if all(actual is None for actual in [*(p.actual for p in predictions), *(p.actual for p in losses)]):
        what = "accuracy of any task" if predictions else "loss"
        names = shortened(", ".join([*forecast.tasks, *forecast.losses]), 80)
        raise UserError(f"{measured} has no {what} that {path} predicts ({names})")
    return Scored(path=path, forecast=forecast, predictions=predictions, losses=losses, lm_loss=lm_loss)


def score_tables(one: Scored) -> list[Table]:
    """Of what has an accuracy, and of losses alone; where the forecast comes from stands below the last."""
    title, basis = f"{one.name}, registered {one.forecast.registered}", one.forecast.ladder
    origin = (
        f"{one.path}: from {count_of(len(basis.runs), 'run')}, {basis.share:.2%} of the target's compute; "
        f"code {one.forecast.code}; measurements {basis.measurements_sha256}"
    )
    if not one.losses:
        return [score_table(one, title, origin)]
    alone = "Losses of tasks without an accuracy"
    first = [score_table(one, title)] if one.predictions else []
    held = Held.of((p.loss, p.actual) for p in one.losses)
    notes = [*([_held_text(held)] if held else []), origin]
    return [*first, loss_table(one.losses, alone if first else f"{title}: {alone[0].lower()}{alone[1:]}", notes)]


def _held_text(held: Held) -> str:
    return f"80% intervals hold {held.in80} of {held.count}, 95% intervals {held.in95}"


def score_table(one: Scored, title: str, *notes: str) -> Table:
    """A row per task, and the summary that a paper would print."""
    columns: tuple[Column, ...] = (
        words("task"),
        fixed("predicted", 2, "percent"),
        fixed("80% interval", 1, "percent"),
        fixed("95% interval", 1, "percent"),
        fixed("measured", 2, "percent"),
        fixed("error", 2, "points", signed=True),
        words("80%"),
        words("95%"),
        fixed("loss", 4),
        fixed("LM loss", 4, "nats per token"),
        fixed("measured loss", 4),
        fixed("loss error %", 2, "percent", signed=True),
        flags(),
    )
    return Table(
        title=title,
        columns=columns,
        rows=tuple(_row(p) for p in one.predictions),
        notes=(summary(one), *_lm_loss(one), *notes),
    ).without_empty_columns()


def _row(p: Prediction) -> Row:
    return (
        p.title,
        percent(p.accuracy.value),
        percent_range(p.accuracy.interval80),
        percent_range(p.accuracy.interval95),
        percent(p.actual),
        p.error_points,
        _hit(p.accuracy.interval80, p.actual),
        _hit(p.accuracy.interval95, p.actual),
        *loss_cells(p),
        p.actual_loss,
        p.loss_error_percent,
        flag_texts(p),
    )


def _hit(interval: Interval | None, actual: float | None) -> str | None:
    if interval is None or actual is None:
        return None
    return "hit" if actual in interval else "miss"


def summary(one: Scored) -> str:
    """Errors over the tasks that follow scale, intervals over all."""
    error, errors = mean_error(one.predictions), errors_of(one.predictions)
    parts = []
    if error is not None:
        worst = max(errors, key=abs)
        parts.append(
            f"mean absolute error {error:.2f} points over {count_of(len(errors), 'task')}, largest {worst:+.2f}"
        )
    if held := intervals_held(one.predictions):
        parts.append(_held_text(held))
    if missing := [p.title for p in one.predictions if p.actual is None]:
        parts.append(f"not measured: {shortened(', '.join(missing), 80)}")
    return "; ".join(parts)


def _lm_loss(one: Scored) -> list[str]:
    """The language-modelling loss in a line, where it was predicted and measured."""
    predicted = one.forecast.lm_loss
    if predicted is None or one.lm_loss is None:
        return []
    value, interval = predicted.loss.value, predicted.loss.interval80
    ends = f" ({interval.low:.4f}–{interval.high:.4f}: {_hit(interval, one.lm_loss)})" if interval else ""
    texts = f"{len(predicted.texts)} texts" if len(predicted.texts) > 1 else predicted.texts[0]
    return [f"LM loss on {texts} {value:.4f}{ends}, measured {one.lm_loss:.4f}, {value / one.lm_loss - 1:+.2%}"]


def calibration_table(forecasts: Sequence[Scored]) -> Table:
    """How often the intervals of several forecasts held; the last row is over all of them."""
    rows = [_calibration_row(one.name, one.predictions) for one in forecasts]
    everything = [p for one in forecasts for p in one.predictions]
    return Table(
        title=f"Calibration of {count_of(len(forecasts), 'forecast')}",
        columns=(
            words("forecast"),
            whole("tasks"),
            fixed("mean error", 2, "points"),
            fixed("bias", 2, "points", signed=True),
            fixed("80% held", 0, "percent"),
            fixed("95% held", 0, "percent"),
            fixed("mean 80% half-width", 2, "points"),
        ),
        rows=(*rows, _calibration_row("all", everything)),
        notes=("errors over tasks that follow scale, intervals over all; tasks of one target err together",),
    ).without_empty_columns()


def _calibration_row(name: str, predictions: Sequence[Prediction]) -> Row:
    measured = [p for p in predictions if p.actual is not None]
    errors, held = errors_of(measured), intervals_held(measured)
    widths = [p.accuracy.interval80.width for p in measured if p.accuracy.interval80]
    return (
        name,
        len(measured),
        mean_error(measured),
        sum(errors) / len(errors) if errors else None,
        100 * held.in80 / held.count if held else None,
        100 * held.in95 / held.count if held else None,
        50 * sum(widths) / len(widths) if widths else None,
    )


def main(argv: list[str]) -> None:
    options = command_line.parser("score", __doc__ or "")
    options.add_argument(
        "forecasts", type=command_line.place, nargs="+", metavar="FORECAST", help="files of predict register"
    )
    options.add_argument(
        "--measured",
        type=command_line.place,
        required=True,
        metavar="PATH",
        help="runs or measurements that hold the targets",
    )
    command_line.add_mapping(options)
    command_line.add_format(options)
    given = options.parse_args(argv)
    forecasts = [scored(path, given.measured, given.mapping) for path in dict.fromkeys(given.forecasts)]
    tables = [table for one in forecasts for table in score_tables(one)]
    several = [one for one in forecasts if one.predictions]
    command_line.show(given.form, *tables, *([calibration_table(several)] if len(several) > 1 else []))
