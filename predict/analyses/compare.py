"""`python -m predict compare A B`: which of two recipes, such as data mixes, is better at a target, how sure that is,
and how much compute it is worth. Of a table of several ladders, every pair is compared.

A recipe needs one rung, of an N and D at which another was trained too. Where the targets were measured, they stand
beside the answers; for a table also how often an answer of each probability was right.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ladder.command.arguments import split_overrides
from ladder.errors import UserError, shortened, unknown
from ladder.rungs.rung import Target
from ladder.words import count_of
from predict.analyses.compare_all import all_pairs_plot, all_pairs_tables
from predict.analyses.recipes import Pair, Recipes, recipes
from predict.measured.ladder import Measured
from predict.measured.load import load_ladder, load_ladders
from predict.measured.same import same_point
from predict.methods.recipe_effects import Difference
from predict.notes import Note, note
from predict.show import command_line
from predict.show.plots import BLUE, GREY, INK, TARGET_COLOURS, Plot, widen_left
from predict.show.tables import Range, Table, fixed, words


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Of one task, or of the mean over them: accuracies in [0, 1] as predicted of A and B.

    `probability` is that A is better, `low80` to `high80` holds A minus B with 80% confidence; `single` is A minus B at
    the dearest scale that both have, the baseline, and `agreed` whether it has the same sign. A is worth `speed_up`
    times the compute. `actual` is A minus B at the target, where it was measured.
    """

    task: str
    title: str
    a: float
    b: float
    probability: float
    low80: float
    high80: float
    speed_up: float
    speed_up_low80: float
    speed_up_high80: float
    single: float
    agreed: bool
    actual: float | None


def compare(a: Measured, b: Measured, target: Target, names: Sequence[str]) -> tuple[list[Comparison], Recipes]:
    """A row per task, and the mean over them as the last.

    Raises:
        UserError: no task or no rung in common.
    """
    if a is b:
        raise UserError(f"{a.source} is compared with itself; give two ladders")
    both = recipes([a, b], target, names)
    both = replace(both, notes=(*both.notes, *_unshared(a, b, target, both)))
    pair = both.pair(0, 1)
    titles = [(task.name, task.title) for task in both.tasks]
    levels = both.scales.levels
    rows = [
        _comparison(name, one, level, pair.single[i], None if pair.actual is None else pair.actual[i])
        for i, (name, one, level) in enumerate(zip(titles, pair.effect.tasks, levels, strict=True))
    ]
    actual = None if pair.actual is None else pair.actual.mean()
    return [*rows, _comparison(("mean", "mean"), pair.mean, levels.mean(), pair.single.mean(), actual)], both


def _unshared(a: Measured, b: Measured, target: Target, both: Recipes) -> list[Note]:
    """How many rungs of each are compared, where some are not."""
    rungs = [one.below(target, at_least=0).rungs for one in (a, b)]
    used = [sum(any(same_point(at, (run.n, run.d)) for at in both.points) for run in runs) for runs in rungs]
    if used == [len(runs) for runs in rungs]:
        return []
    return [note("rungs-unshared", a=used[0], of_a=len(rungs[0]), b=used[1], of_b=len(rungs[1]))]


def _comparison(
    names: tuple[str, str], difference: Difference, level: float, single: float, actual: float | None
) -> Comparison:
    half, worth = difference.value / 2, difference.speed_up80
    level = float(np.clip(level, abs(half), 1 - abs(half)))  # so that A and B are accuracies, and differ by the value
    return Comparison(
        task=names[0],
        title=names[1],
        a=level + half,
        b=level - half,
        probability=difference.probability,
        low80=difference.interval80.low,
        high80=difference.interval80.high,
        speed_up=difference.speed_up,
        speed_up_low80=worth.low,
        speed_up_high80=worth.high,
        single=float(single),
        agreed=bool(np.sign(difference.value) == np.sign(single)),
        actual=None if actual is None else float(actual),
    )


def comparison_table(rows: Sequence[Comparison], names: tuple[str, str], target: Target, both: Recipes) -> Table:
    """`names`: what A and B are."""
    rung = both.pair(0, 1).single_at
    cells = [
        (
            row.title,
            100 * row.a,
            100 * row.b,
            100 * (row.a - row.b),
            Range(low=100 * row.low80, high=100 * row.high80),
            row.probability,
            100 * row.single,
            row.agreed,
            None if row.actual is None else 100 * row.actual,
        )
        for row in rows
    ]
    return Table(
        title=f"A against B at {target.name}, predicted accuracy",
        columns=(
            words("task"),
            fixed("A", 2, "percent"),
            fixed("B", 2, "percent"),
            fixed("A - B", 2, "points", signed=True),
            fixed("80% interval", 1, "points", signed=True),
            fixed("P(A > B)", 2),
            fixed(f"A - B at {rung}", 2, "points", signed=True),
            words("agree"),
            fixed("actual A - B", 2, "points", signed=True),
        ),
        rows=tuple(cells),
        notes=(
            f"A: {names[0]}; B: {names[1]}",
            worth(both.pair(0, 1), target),
            f"A - B at {rung}: the single-scale baseline, which ranks data mixes well and is hard to beat "
            "(arXiv 2504.11393)",
            *(note.text for note in both.notes),
        ),
    ).without_empty_columns()


def worth(pair: Pair, target: Target) -> str:
    """Which is better over the mean of the tasks, and at what budget the other reaches the same."""
    mean = pair.mean
    better, other, value, ends = "A", "B", mean.speed_up, (mean.speed_up80.low, mean.speed_up80.high)
    if value < 1:
        better, other, value, ends = "B", "A", 1 / value, (1 / ends[1], 1 / ends[0])
    budgets = [f"{target.flops_6nd * times:.3g}" for times in (value, *ends)]
    return (
        f"over the mean of {count_of(len(pair.effect.tasks), 'task')} {better} is better with probability "
        f"{max(mean.probability, 1 - mean.probability):.2f}, and worth {value:.3g} times the compute (80% interval "
        f"{ends[0]:.3g} to {ends[1]:.3g}): {other} reaches its accuracy with {budgets[0]} FLOPs ({budgets[1]} to "
        f"{budgets[2]})"
    )


def comparison_plot(rows: Sequence[Comparison], target: Target, both: Recipes) -> Plot:
    """Predicted differences with their 80% intervals, beside the single-scale ones and what was measured."""
    plot = Plot(1, f"A minus B at {target.name}", height=0.42 * len(rows) + 1.9, wide=2.0)
    (axis,) = plot.axes
    places = np.arange(len(rows))
    axis.axvline(0, color=INK, linewidth=0.8)
    low, high = [100 * row.low80 for row in rows], [100 * row.high80 for row in rows]
    axis.hlines(places, low, high, color=BLUE, linewidth=4, alpha=0.3)
    axis.plot([100 * (row.a - row.b) for row in rows], places, "o", color=BLUE, markersize=7, label="predicted")
    rung = both.pair(0, 1).single_at
    axis.plot([100 * row.single for row in rows], places, "D", color=GREY, markersize=5, label=f"measured at {rung}")
    if any(row.actual is not None for row in rows):
        actual = [np.nan if row.actual is None else 100 * row.actual for row in rows]
        axis.plot(actual, places, "o", color=TARGET_COLOURS[0], markersize=5, label="measured at the target")
    axis.set_yticks(places, [f"{row.title}, P = {row.probability:.2f}" for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    widen_left(axis)
    axis.legend(ncols=3, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2)
    axis.set_xlabel("points of accuracy, with 80% intervals; P is the probability that A is better")
    return plot


def main(argv: list[str]) -> None:
    options = command_line.parser("compare", __doc__ or "")
    options.add_argument(
        "ladders",
        type=command_line.place,
        nargs="*",
        metavar="LADDER",
        help="two directories or measurement files, or one table of several ladders",
    )
    options.add_argument(
        "--corpora", type=command_line.words, default=[], help="which ladders of one file, such as c4,dolma"
    )
    command_line.add_narrowing(options)
    command_line.add_mapping(options)
    command_line.add_target(options)
    command_line.add_format(options)
    command_line.add_plot(options)
    given, rest = options.parse_known_intermixed_args(argv)
    overrides = split_overrides([*[str(p) for p in given.ladders if "=" in str(p)], *rest])
    paths = [path for path in given.ladders if "=" not in str(path)]
    if len(paths) == 1 and len(given.corpora) != 2:
        if overrides:
            raise UserError(f"{shortened(overrides[0])} is for two ladders (compare A B), not for a table of several")
        _all_pairs(paths[0], given)
        return
    sides = pairs(paths, given.corpora)
    both = [_side(path, corpus, given, overrides) for path, corpus in sides]
    target = command_line.target_of(given, both[0])
    rows, compared = compare(both[0], both[1], target, given.tasks)
    a, b = (f"{path} {corpus}" if corpus else str(path) for path, corpus in sides)
    command_line.show(given.form, comparison_table(rows, (a, b), target, compared))
    if given.plot:
        comparison_plot(rows, target, compared).save(given.plot)


def _side(path: Path, corpus: str | None, given: argparse.Namespace, overrides: Sequence[str]) -> Measured:
    return load_ladder(
        path,
        sizes=given.sizes,
        multiples=given.multiples,
        overrides=overrides,
        corpus=corpus,
        mapping=given.mapping,
        at_least=1,
    )


def _all_pairs(path: Path, given: argparse.Namespace) -> None:
    ladders = load_ladders(path, given.mapping, at_least=1)
    by_name = {one.name: one for one in ladders}
    for name in given.corpora:
        if name not in by_name:
            raise unknown(f"corpus of {path}", name, by_name)
    chosen = [by_name[name] for name in given.corpora] or ladders
    if len(chosen) < 2:
        raise UserError(f"{path} holds one ladder; compare takes two (compare A B), or a table of several")
    target = command_line.target_of(given, chosen[0])
    compared = recipes(chosen, target, given.tasks)
    command_line.show(given.form, *all_pairs_tables(compared, target, every=given.form != "text"))
    if given.plot:
        all_pairs_plot(compared, target).save(given.plot)


def pairs(paths: list[Path], corpora: list[str]) -> list[tuple[Path, str | None]]:
    """The two ladders: two paths, or one path and two corpora in it. Raises UserError otherwise."""
    if len(paths) == 2 and not corpora:
        if os.path.realpath(paths[0]) == os.path.realpath(paths[1]):
            raise UserError(f"compare: both ladders are {paths[0]}; give two")
        return [(path, None) for path in paths]
    if len(paths) == 1 and len(corpora) == 2:
        return [(paths[0], corpus) for corpus in corpora]
    raise UserError(
        "compare takes two ladders (compare A B), or one file and its ladders (compare FILE, --corpora A,B for two)"
    )
