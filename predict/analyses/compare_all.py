"""Every pair of several recipes at one target: their ranking, each pair, and how reliable its probability was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ladder.errors import shortened
from ladder.rungs.rung import Target
from ladder.words import count_of
from predict.analyses.recipes import Pair, Recipes
from predict.show.plots import BLUE, GREY, INK, Plot, label, widen_left
from predict.show.tables import Column, Plain, Range, Row, Table, fixed, share, significant, whole, words

MOST_SHOWN = 150  # pairs on a terminal
MOST_DRAWN = 50  # recipes in a figure
LONGEST = 36  # characters of a recipe's name on a terminal
BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the probability that the recipe called better is so


@dataclass(frozen=True, kw_only=True)
class RankedName:
    """A recipe by its rank and its name, which is whole in CSV and JSON and short where it is shown."""

    rank: int
    value: str

    def text(self, column: Column) -> str:
        return f"{self.rank}. {shortened(self.value, LONGEST)}"

    def parts(self) -> dict[str, Plain]:
        return {"": self.value, " rank": self.rank}


@dataclass(frozen=True, kw_only=True)
class Rank:
    """A recipe's place among the others: `lead` is its mean difference from them, `better` its mean probability of
    being better than one of them, `speed_up` what it is worth over their average."""

    place: int
    lead: float
    better: float
    speed_up: float


def ranking(pairs: Sequence[Pair]) -> list[Rank]:
    """Best first."""
    leads: dict[int, list[tuple[float, float, float]]] = {}
    for pair in pairs:
        mean = pair.mean
        leads.setdefault(pair.first, []).append((mean.value, mean.probability, mean.value / mean.slope))
        leads.setdefault(pair.second, []).append((-mean.value, 1 - mean.probability, -mean.value / mean.slope))
    rows = []
    for place, values in leads.items():
        lead, better, shift = (float(value) for value in np.mean(values, axis=0))
        rows.append(Rank(place=place, lead=lead, better=better, speed_up=float(10 ** np.clip(shift, -6, 6))))
    return sorted(rows, key=lambda one: -one.lead)


def ranked(compared: Recipes, order: Sequence[Rank]) -> dict[int, RankedName]:
    """By place."""
    return {one.place: RankedName(rank=rank, value=compared.names[one.place]) for rank, one in enumerate(order, 1)}


def all_pairs_tables(compared: Recipes, target: Target, *, every: bool) -> list[Table]:
    """The ranking, the pairs (where they are few, or `every` one is wanted), and their reliability if it is known."""
    pairs = compared.pairs
    tables = [ranking_table(compared, pairs, target)]
    if every or len(pairs) <= MOST_SHOWN:
        tables.append(pair_table(compared, pairs, target))
    if any(pair.actual is not None for pair in pairs):
        tables.append(reliability_table(pairs, target))
    return tables


def ranking_table(compared: Recipes, pairs: Sequence[Pair], target: Target) -> Table:
    rows: list[Row] = []
    order = ranking(pairs)
    names = ranked(compared, order)
    for one in order:
        has = ~np.isnan(compared.values[one.place]).any(axis=1)
        actual = float(compared.actual[one.place].mean())
        scales = [name for name, here in zip(compared.point_names, has, strict=True) if here]
        rows.append(
            (
                names[one.place],
                ", ".join(scales),
                100 * one.lead,
                one.better,
                one.speed_up,
                100 * actual,
            )
        )
    left_out = len(pairs) > MOST_SHOWN
    return Table(
        title=f"{count_of(len(rows), 'recipe')} at {target.name}, best first, "
        f"by the mean over {count_of(len(compared.tasks), 'task')}",
        columns=(
            words("recipe"),
            words("measured at"),
            fixed("lead", 2, "points", signed=True),
            share("better than"),
            significant("speed-up", 3),
            fixed("actual", 2, "percent"),
        ),
        rows=tuple(rows),
        notes=(
            "lead, better than, speed-up: against the average of the others that share a scale",
            f"tasks: {shortened(', '.join(task.name for task in compared.tasks), 400)}",
            *(note.text for note in compared.notes),
            *((f"{count_of(len(pairs), 'pair')}: --csv, --json and --markdown have them",) if left_out else ()),
        ),
    ).without_empty_columns()


PAIR_COLUMNS = (
    words("A"),
    words("B"),
    fixed("A - B", 2, "points", signed=True),
    fixed("80% interval", 1, "points", signed=True),
    fixed("P(A > B)", 2),
    significant("speed-up", 3),
    significant("speed-up, 80%", 2),
    significant("FLOPs for B", 3, "FLOPs"),
    fixed("single scale", 2, "points", signed=True),
    words("at"),
    fixed("actual", 2, "points", signed=True),
)


def pair_table(compared: Recipes, pairs: Sequence[Pair], target: Target) -> Table:
    rows: list[Row] = []
    names = ranked(compared, ranking(pairs))
    for pair in sorted(pairs, key=lambda pair: -pair.mean.probability):
        mean, worth = pair.mean, pair.mean.speed_up80
        rows.append(
            (
                names[pair.first],
                names[pair.second],
                100 * mean.value,
                Range(low=100 * mean.interval80.low, high=100 * mean.interval80.high),
                mean.probability,
                mean.speed_up,
                Range(low=worth.low, high=worth.high),
                target.flops_6nd * mean.speed_up,
                100 * float(pair.single.mean()),
                pair.single_at,
                None if pair.actual is None else 100 * float(pair.actual.mean()),
            )
        )
    return Table(
        title=f"Every pair at {target.name}: A is predicted the better one",
        columns=PAIR_COLUMNS,
        rows=tuple(rows),
        notes=(
            "speed-up: times the target's compute with which B reaches A's accuracy, in all FLOPs for B; "
            "single scale: A - B at the dearest scale that both have",
        ),
    ).without_empty_columns()


def reliability_table(pairs: Sequence[Pair], target: Target) -> Table:
    """By the probability given to the recipe called better: how often it was so, and that of the single scale."""
    measured = [pair for pair in pairs if pair.actual is not None]
    bins = [((f"{one.low:.0%} to {one.high:.0%}"), one) for one in reliability(measured)]
    rows = [
        (name, one.pairs, one.stated, one.right, one.single_right, one.in80)
        for name, one in (*bins, ("all", _reliability(measured, BINS[0], BINS[-1])))
    ]
    return Table(
        title=f"How often the recipe called better was so at {target.name}",
        columns=(
            words("probability"),
            whole("pairs"),
            share("stated"),
            share("right"),
            share("single scale right"),
            share("in 80%"),
        ),
        rows=tuple(rows),
        notes=(
            "stated: mean probability given to the recipe called better; in 80%: measured differences inside the "
            "interval; pairs of the same recipes are not independent",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Of pairs whose stated probability lies from `low` to `high`: how many, its mean, and the shares in which the
    recipe called better was so, the single scale's was so, and the measured difference lay in the 80% interval."""

    low: float
    high: float
    pairs: int
    stated: float
    right: float
    single_right: float
    in80: float


def reliability(pairs: Sequence[Pair]) -> list[Reliability]:
    """Of each of the `BINS` that has pairs; all of them were measured at the target."""
    bins = []
    for low, high in pairwise(BINS):
        here = [pair for pair in pairs if low <= pair.mean.probability < high or pair.mean.probability == high == 1]
        bins += [_reliability(here, low, high)] if here else []
    return bins


def _reliability(pairs: Sequence[Pair], low: float, high: float) -> Reliability:
    inside = [pair.actual is not None and float(pair.actual.mean()) in pair.mean.interval80 for pair in pairs]
    return Reliability(
        low=low,
        high=high,
        pairs=len(pairs),
        stated=float(np.mean([pair.mean.probability for pair in pairs])),
        right=float(np.mean([pair.right for pair in pairs])),
        single_right=float(np.mean([pair.single_right for pair in pairs])),
        in80=float(np.mean(inside)),
    )


def all_pairs_plot(compared: Recipes, target: Target) -> Plot:
    """Who is better than whom; and where the targets were measured, predicted against measured and reliability."""
    pairs = compared.pairs
    measured = [pair for pair in pairs if pair.actual is not None]
    order = [one.place for one in ranking(pairs)][:MOST_DRAWN]
    height = max(3.2, 0.22 * len(order) + 1.2)
    plot = Plot(3 if measured else 1, f"The best {len(order)} recipes at {target.name}", height=height, wide=1.5)
    _matrix(plot, compared, pairs, order)
    if measured:
        _against(plot, measured)
        _calibration(plot, measured)
    return plot


def _matrix(plot: Plot, compared: Recipes, pairs: Sequence[Pair], order: Sequence[int]) -> None:
    axis = plot.axes[0]
    place = {recipe: i for i, recipe in enumerate(order)}
    chances = np.full((len(order), len(order)), np.nan)
    for pair in pairs:
        if pair.first not in place or pair.second not in place:
            continue
        i, j = place[pair.first], place[pair.second]
        chances[i, j], chances[j, i] = pair.mean.probability, 1 - pair.mean.probability
    axis.imshow(chances, cmap="RdBu", vmin=0, vmax=1, aspect="auto")
    axis.grid(visible=False)
    axis.set_yticks(range(len(order)), [shortened(compared.names[recipe], 26) for recipe in order])
    axis.set_xticks(range(len(order)), [str(i + 1) for i in range(len(order))])
    moved = widen_left(axis)
    label(axis, "Probability that the row is better", "blue: surely, red: surely not; best first", "rank", "", moved)


def _against(plot: Plot, measured: Sequence[Pair]) -> None:
    axis = plot.axes[1]
    actual = 100 * np.array([pair.actual.mean() for pair in measured if pair.actual is not None])
    value = 100 * np.array([pair.mean.value for pair in measured])
    bars = 100 * np.array([pair.mean.interval80.width / 2 for pair in measured])
    axis.errorbar(value, actual, xerr=bars, fmt="o", markersize=3, color=BLUE, elinewidth=0.6, alpha=0.5)
    axis.axhline(0, color=INK, linewidth=0.8)
    ends = [0, max(value.max(), actual.max())]
    axis.plot(ends, ends, color=GREY, linewidth=0.8)
    label(axis, "Measured against predicted", "every pair, 80% intervals", "predicted, points", "measured")


def _calibration(plot: Plot, measured: Sequence[Pair]) -> None:
    axis = plot.axes[2]
    axis.plot([50, 100], [50, 100], color=INK, linewidth=0.8)
    for one in reliability(measured):
        point = (100 * one.stated, 100 * one.right)
        axis.plot(*point, "o", color=BLUE, markersize=3 + one.pairs**0.5, alpha=0.7)
        axis.annotate(str(one.pairs), point, (6, -9), textcoords="offset points", fontsize=8)
    label(axis, "Reliability", "the number of pairs beside each point", "stated probability, %", "right, %")
