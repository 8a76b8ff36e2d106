"""`python -m predict compare A B`: which of two ladders, such as two data mixes, has the better target."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ladder.errors import UserError
from ladder.rung import Target
from predict.measured.ladder import Measured
from predict.measured.runs import Run, accuracy_curve
from predict.measured.same import same_point
from predict.measured.tasks import Task
from predict.methods.fits import predict_target
from predict.show import command_line
from predict.show.plots import BLUE, GREY, INK, Plot, widen_left
from predict.show.tables import Table, fixed, words

NORMAL_80 = 1.2815515655446004  # half of an 80% interval, in standard deviations of a normal distribution


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Accuracies in [0, 1]; `single` is A minus B at the largest rung that both ladders have, the baseline."""

    task: str
    title: str
    a: float
    b: float
    probability: float
    single: float
    agreed: bool


def compare(a: Measured, b: Measured, target: Target, names: Sequence[str]) -> tuple[list[Comparison], str]:
    """Every task that both ladders measured, and the name of the rung of the single-scale baseline.

    The probability that A wins treats the two errors as independent. Both ladders are extrapolated by the same forms,
    so part of the error is shared and the probability errs towards one half.

    Raises:
        UserError: no task or no rung in common.
    """
    if a is b:
        raise UserError(f"{a.source} is compared with itself; give two ladders")
    a, b = a.below(target), b.below(target)
    common = (
        [task.name for task in a.tasks(names) if task.name in {other.name for other in b.tasks()}]
        if not names
        else list(names)
    )
    if not common:
        raise UserError(f"{a.source} and {b.source} have no task in common")
    first, second = largest_common(a, b)
    rows = []
    for p, q in zip(predict_target(a, target, tasks=common), predict_target(b, target, tasks=common), strict=True):
        task = a.tasks([p.task])[0]
        single = _final(first, a, task) - _final(second, b, b.tasks([p.task])[0])
        difference = p.accuracy.value - q.accuracy.value
        probability = 0.5
        if p.accuracy.interval80 and q.accuracy.interval80:
            sd = math.hypot(p.accuracy.interval80.width, q.accuracy.interval80.width) / 2 / NORMAL_80
            probability = 0.5 * (1 + math.erf(difference / sd / math.sqrt(2)))
        rows.append(
            Comparison(
                task=p.task, title=p.title, a=p.accuracy.value, b=q.accuracy.value, probability=probability,
                single=single, agreed=bool(np.sign(difference) == np.sign(single)),
            )
        )  # fmt: skip
    return rows, first.name


def largest_common(a: Measured, b: Measured) -> tuple[Run, Run]:
    """The dearest pair of rungs of (almost) the same N and D. Raises UserError where there is none."""
    pairs = [
        (first, second)
        for first in a.rungs
        for second in b.rungs
        if same_point((first.n, first.d), (second.n, second.d))
    ]
    if not pairs:
        raise UserError(f"{a.source} and {b.source} have no rung of the same N and D, which the baseline needs")
    return max(pairs, key=lambda pair: pair[0].compute)


def _final(run: Run, data: Measured, task: Task) -> float:
    return accuracy_curve(run, task).final(data.smoothing.final_checkpoints)


def comparison_table(rows: Sequence[Comparison], names: tuple[str, str], target: Target, rung: str) -> Table:
    """`names`: what A and B are."""
    cells = [
        (
            row.title,
            100 * row.a,
            100 * row.b,
            100 * (row.a - row.b),
            row.probability,
            100 * row.single,
            row.agreed,
        )
        for row in rows
    ]
    predicted = np.array([(row.a, row.b, row.a - row.b, row.single) for row in rows])
    a, b, difference, single = (100 * float(value) for value in predicted.mean(axis=0))
    mean = ("mean", a, b, difference, None, single, None)
    return Table(
        title=f"A against B at {target.name}, predicted accuracy",
        columns=(
            words("task"),
            fixed("A", 2, "percent"),
            fixed("B", 2, "percent"),
            fixed("A - B", 2, "points", signed=True),
            fixed("P(A > B)", 2),
            fixed(f"A - B at {rung}", 2, "points", signed=True),
            words("agree"),
        ),
        rows=(*cells, mean),
        notes=(
            f"A: {names[0]}; B: {names[1]}",
            f"A - B at {rung}: the single-scale baseline, which ranks data mixes well and is hard to beat "
            "(arXiv 2504.11393)",
        ),
    )


def comparison_plot(rows: Sequence[Comparison], target: Target, rung: str) -> Plot:
    """Predicted differences beside the single-scale ones."""
    plot = Plot(1, f"A minus B at {target.name}", height=0.42 * len(rows) + 1.9, wide=2.0)
    (axis,) = plot.axes
    places = np.arange(len(rows))
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.plot([100 * (row.a - row.b) for row in rows], places, "o", color=BLUE, markersize=7, label="predicted")
    axis.plot([100 * row.single for row in rows], places, "D", color=GREY, markersize=5, label=f"measured at {rung}")
    axis.set_yticks(places, [f"{row.title}, P = {row.probability:.2f}" for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    widen_left(axis)
    axis.legend(ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2)
    axis.set_xlabel("points of accuracy; P is the probability that A is better")
    return plot


def main(argv: list[str]) -> None:
    options = command_line.parser("compare", __doc__ or "")
    options.add_argument(
        "ladders", type=command_line.place, nargs="*", metavar="LADDER", help="two directories or measurement files"
    )
    options.add_argument(
        "--corpora", type=command_line.words, default=[], help="two ladders of one file, such as c4,dolma"
    )
    command_line.add_narrowing(options)
    command_line.add_mapping(options)
    command_line.add_target(options)
    command_line.add_format(options)
    command_line.add_plot(options)
    known, rest = options.parse_known_intermixed_args(argv)
    overrides = command_line.overrides_of([*[str(p) for p in known.ladders if "=" in str(p)], *rest])
    paths = [path for path in known.ladders if "=" not in str(path)]
    sides = pairs(paths, known.corpora)
    both = [
        command_line.data_of(argparse.Namespace(**vars(known) | {"ladder": path, "corpus": corpus}), overrides)
        for path, corpus in sides
    ]
    target = command_line.target_of(known, both[0])
    rows, rung = compare(both[0], both[1], target, known.tasks)
    a, b = (f"{path} {corpus}" if corpus else str(path) for path, corpus in sides)
    table = comparison_table(rows, (a, b), target, rung)
    command_line.show(known.form, table)
    if known.plot:
        comparison_plot(rows, target, rung).save(known.plot)


def pairs(paths: list[Path], corpora: list[str]) -> list[tuple[Path, str | None]]:
    """The two ladders: two paths, or one path and two corpora in it. Raises UserError otherwise."""
    if len(paths) == 2 and not corpora:
        if os.path.realpath(paths[0]) == os.path.realpath(paths[1]):
            raise UserError(f"compare: both ladders are {paths[0]}; give two")
        return [(path, None) for path in paths]
    if len(paths) == 1 and len(corpora) == 2:
        return [(paths[0], corpus) for corpus in corpora]
    raise UserError(
        "compare takes two ladders (compare A B), or one file and two of its ladders (compare FILE --corpora A,B)"
    )
