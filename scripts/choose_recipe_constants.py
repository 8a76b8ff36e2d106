"""Chooses the constants with which recipes are compared, and tells how reliable the answers are on recipes left out.

    python scripts/choose_recipe_constants.py TABLE MAPPING N D

The table holds the ladders of many recipes and, for some, their measured targets of N parameters and D tokens, such as
DCLM's corpora (../shared/testbeds/dclm/dclm.csv.gz, 6889410560 and 137788211200; its mapping is
{columns: {ladder: family, n: n_params, d: d_tokens, items: n_items}, metrics: {acc: rc_acc}}).

Constants are those under which the measured differences of the mean and of each task are likeliest: once over all
pairs, and for every pair once without the pairs that either of its recipes is in. The second table tells what the
latter would have said.
"""

from __future__ import annotations

import argparse
from itertools import combinations, product
from operator import attrgetter
from pathlib import Path

import numpy as np

from ladder.command.running import Parser, run_command
from ladder.rungs.rung import Target
from predict.analyses.compare_all import reliability_table
from predict.analyses.recipes import Pair, Recipes, recipes
from predict.measured.load import load_ladders
from predict.methods.recipe_effects import SHIFTS, Difference, Shifts
from predict.show.tables import Table, fixed, share, words
from predict.show.terminal import as_text

CHOICES = [
    Shifts(task=task, scale=scale, task_scale=task_scale, own=own, run=run)
    for task, scale, task_scale, own, run in product(
        (0.3, 0.5, 0.8), (0.05, 0.07, 0.1, 0.14, 0.2), (0.1, 0.2, 0.3), (0.0, 0.01, 0.02), (0.005, 0.01, 0.02)
    )
]
NAMED = attrgetter("task", "scale", "task_scale", "own", "run")


def likelihood(difference: Difference, actual: float) -> float:
    """Of what was measured, as a logarithm."""
    return float(-0.5 * ((actual - difference.value) / difference.sd) ** 2 - np.log(difference.sd))


def score(pair: Pair) -> float:
    if pair.actual is None:
        raise ValueError("the targets of both recipes must be measured")
    each = [likelihood(one, float(actual)) for one, actual in zip(pair.effect.tasks, pair.actual, strict=True)]
    return likelihood(pair.mean, float(pair.actual.mean())) + float(np.mean(each))


def measured_pairs(found: Recipes) -> list[tuple[int, int]]:
    known = [i for i in range(len(found.names)) if not np.isnan(found.actual[i]).any()]
    return [(i, j) for i, j in combinations(known, 2) if found.shared(i, j)]


def oriented(found: Recipes, i: int, j: int, shifts: Shifts) -> Pair:
    """The recipe that is predicted better first."""
    pair = found.pair(i, j, shifts)
    return pair if pair.mean.value >= 0 else found.pair(j, i, shifts)


def _words(choice: Shifts) -> str:
    return ", ".join(f"{value:g}" for value in NAMED(choice))


def choices_table(scores: np.ndarray, right: np.ndarray) -> Table:
    order = np.argsort(-scores.mean(axis=1)).tolist()
    shown = [*order[:8], *(i for i in order[8:] if CHOICES[i] == SHIFTS)]
    rows = [(_words(CHOICES[i]), float(scores[i].mean()), float(right[i].mean()), CHOICES[i] == SHIFTS) for i in shown]
    columns = (
        words("task, scale, task and scale, own, run"),
        fixed("log likelihood", 3),
        share("right", 1),
        words("in use"),
    )
    return Table(title="Constants on all pairs, the likeliest and those in use", columns=columns, rows=tuple(rows))


def main(argv: list[str]) -> None:
    options = Parser(
        prog="python scripts/choose_recipe_constants.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("table", type=Path)
    options.add_argument("mapping", type=Path)
    options.add_argument("n", type=float)
    options.add_argument("d", type=float)
    given = options.parse_args(argv)
    target = Target(name="the target", n=given.n, d=given.d)
    ladders = [one for one in load_ladders(given.table, given.mapping, at_least=1) if one.at(target)]
    found = recipes(ladders, target)
    places = measured_pairs(found)
    pairs = [[oriented(found, i, j, choice) for i, j in places] for choice in CHOICES]
    scores = np.array([[score(pair) for pair in row] for row in pairs])
    right = np.array([[bool(pair.right) for pair in row] for row in pairs])
    print(as_text(choices_table(scores, right)))
    left_out = []
    for k, pair in enumerate(places):
        others = [o for o, other in enumerate(places) if not set(other) & set(pair)]
        left_out.append(pairs[int(scores[:, others].mean(axis=1).argmax())][k])
    print(f"\n{len(found.tasks)} tasks: {', '.join(task.name for task in found.tasks)}\n")
    print(as_text(reliability_table(left_out, target)))


if __name__ == "__main__":
    run_command(main)
