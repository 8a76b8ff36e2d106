"""`python -m predict track`: a big run as it goes, against the band that the ladder gives for each moment of it.

Ends with code 3 where the run has left its course: several checkpoints in a row (as many as the ladder averages) lie
outside the 95% band, in the language-modelling loss, a task's loss or an accuracy (tasks that do not follow scale are
shown and do not count), or a loss spikes above what the run's own checkpoints before it lead to. Else with 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ladder.errors import UserError
from predict.analyses.following import Followed, add_run, follow, run_named, target_of
from predict.analyses.quantities import Excursion, Quantity, quantities
from predict.analyses.track_plot import track_plot
from predict.measured.counts import short_number
from predict.methods.base import Estimate, Interval
from predict.methods.fits import Fits
from predict.methods.slack import Weighing
from predict.show import command_line
from predict.show.predictions import percent, percent_range
from predict.show.tables import Range, Row, Table, fixed, flags, share, significant, words
from predict.show.verdicts import flag_texts, uncounted_text

EXIT_OUTSIDE = 3
MOST_LISTED = 12  # checkpoints outside


def track_tables(followed: Followed, quantities: Sequence[Quantity], since: float = 0.0) -> list[Table]:
    """Where the run stands, what its forecast has become, and where it was off its course, if anywhere."""
    come = max(float(one.own.shares[-1]) for one in quantities if len(one.own.shares))
    cells = excursions(quantities, since)
    off = [outside_table(cells)] if cells else []
    return [now_table(followed, quantities, since), forecast_table(followed, come), *off]


def now_table(followed: Followed, quantities: Sequence[Quantity], since: float) -> Table:
    """Where each quantity stands at the run's newest checkpoint, and how many checkpoints were outside."""
    rows = [row for one in quantities if len(one.own.shares) for row in [_now_row(one, since)]]
    come = max(float(one.own.shares[-1]) for one in quantities if len(one.own.shares))
    tokens = f"{short_number(come * followed.target.d)} of {short_number(followed.target.d)} tokens"
    return Table(
        title=f"{followed.run.name} at {come:.1%} of its training ({tokens}), beside the forecast of {followed.source}",
        columns=(
            words("quantity"),
            significant("measured", 4),
            significant("expected", 4),
            significant("80% band", 4),
            significant("95% band", 4),
            words("now"),
            words("outside 95%"),
            flags(),
        ),
        rows=tuple(rows),
        notes=("accuracies in percent; LM loss in nats per token, task losses in bits per byte",),
    )


def _now_row(one: Quantity, since: float) -> Row:
    band, value, scale = one.bands[-1], float(one.own.values[-1]), one.scale
    banded = [i for i, each in enumerate(one.bands) if each and one.own.shares[i] >= since]
    out = [i for i in one.outside if i in banded]
    return (
        one.name,
        scale * value,
        scale * band.value if band else None,
        _range(band.interval80, scale) if band else None,
        _range(band.interval95, scale) if band else None,
        _standing(band, value),
        f"{len(out)} of {len(banded)}",
        flag_texts(one.prediction) if one.prediction else (),
    )


def _range(interval: Interval | None, scale: float) -> Range | None:
    return Range(low=scale * interval.low, high=scale * interval.high) if interval else None


def _standing(band: Estimate | None, value: float) -> str:
    if band is None or band.interval80 is None or band.interval95 is None:
        return "no band yet"
    return "inside" if value in band.interval80 else "in the 95% band" if value in band.interval95 else "OUTSIDE"


def forecast_table(followed: Followed, come: float) -> Table:
    """The forecast of each final accuracy, as it was and as the run's own checkpoints make it."""
    rows: list[Row] = []
    for name, p in followed.predictions.items():
        new = followed.companion.updated(name, p.accuracy, come)
        before, after = percent_range(p.accuracy.interval80), percent_range(new.interval80)
        rows.append(
            (p.title, percent(p.accuracy.value), before, percent(new.value), after, percent_range(new.interval95))
        )
    return Table(
        title=f"Final accuracy of {followed.target.name}",
        columns=(
            words("task"),
            fixed("forecast", 2, "percent"),
            fixed("80% interval", 1, "percent"),
            fixed("now", 2, "percent"),
            fixed("now 80%", 1, "percent"),
            fixed("now 95%", 1, "percent"),
        ),
        rows=tuple(rows),
        notes=(
            "now: the forecast, weighed against where the run's own checkpoints lead (python -m predict sharpen)",
            _weighing_note(followed.companion.weighing),
        ),
    )


def _weighing_note(weighing: Weighing) -> str:
    slack = f"{100 * weighing.slack.noise:.1f} points and {weighing.slack.misfit:.0%} of the way"
    if not weighing.cells:
        return f"too few back-tests: off by {slack} is borrowed from AI2's ladder"
    return f"where checkpoints lead was off by {slack} in {weighing.cells} back-test predictions inside the ladder"


def excursions(quantities: Sequence[Quantity], since: float) -> list[Excursion]:
    """From the share `since` on, the newest first."""
    cells = [each for one in quantities for each in one.excursions if each.share >= since]
    return sorted(cells, key=lambda each: -each.share)


def outside_table(cells: Sequence[Excursion]) -> Table:
    more = (f"and {len(cells) - MOST_LISTED} earlier ones",) if len(cells) > MOST_LISTED else ()
    return Table(
        title="Outside the band",
        columns=(
            words("quantity"),
            share("run seen", 1),
            significant("measured", 4),
            significant("95% band", 4),
            words("what"),
            flags(),
        ),
        rows=tuple(_outside_row(each) for each in cells[:MOST_LISTED]),
        notes=more,
    )


WHAT = {"band": "outside the band", "spike": "a spike above its own course"}


def _outside_row(each: Excursion) -> Row:
    one, band = each.quantity, each.quantity.bands[each.place]
    uncounted = uncounted_text(one.prediction.verdict) if one.prediction else ""
    measured = one.scale * float(one.own.values[each.place])
    band95 = _range(band.interval95 if band else None, one.scale)
    return one.name, each.share, measured, band95, WHAT[each.kind], (uncounted,) if uncounted else ()


def main(argv: list[str]) -> int:
    options = command_line.parser("track", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_target(options)
    add_run(options, required=True)
    options.add_argument("--forecast", type=Path, metavar="FILE", help="of `predict register`; default: the ladder now")
    options.add_argument(
        "--since", type=_share, default=0.0, metavar="SHARE", help="only checkpoints from this share of training count"
    )
    command_line.add_format(options)
    command_line.add_plot(options)
    given, overrides = command_line.parse(options, argv)
    measured = command_line.data_of(given, overrides)
    run = run_named(given.run, measured, given.measured)
    target = target_of(given, measured, run, given.forecast)
    followed = follow(Fits(measured, target, given.tasks), run, given.forecast)
    shown = quantities(followed)
    cells = excursions(shown, given.since)
    command_line.show(given.form, *track_tables(followed, shown, given.since))
    if given.plot:
        track_plot(followed.run.name, shown, followed.target.d).save(given.plot)
    return EXIT_OUTSIDE if any(each.quantity.counts for each in cells) else 0


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise UserError(f"--since {text}: must be a share of training, from 0 to 1")
    return value
