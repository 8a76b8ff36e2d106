"""Chooses the constants of method `default` on other people's ladders, and tells the errors on families left out.

    python scripts/choose_constants.py ../shared/testbeds ../shared/olmo-ladder/runs

Random smaller ladders inside each testbed predict its larger runs. Every choice (the prior of the curves, their share,
the widths of the intervals) is made on all families, which is what `predict/methods/constants.json` then holds, and
once for every family without it: its errors, which the tables show, never entered that choice. Every class of rungs
and every family in it weighs the same. AI2's 7B and 13B models, on which the README reports, take no part at all.
Takes a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import t as student
from small_ladder_cells import KEPT_BACK, cells_of, cuts_of, parts_of

from ladder.command.running import Parser, run_command
from ladder.files.writing import write_text
from ladder.process.cpu import usable_cores
from predict.analyses.testbeds import CLASSES, Bed, Part, read_testbeds
from predict.fitting.curve_grid import CurvePrior
from predict.methods.constants import CONSTANTS, FILE, Constants, Origin, Shares, Widths, width_terms
from predict.methods.noise import item_variance
from predict.show.tables import Row, Table, fixed, share, whole, words
from predict.show.terminal import as_text

PARTS = 8  # smaller ladders of a testbed and class
PROBED = ("gpt3", "cerebrasgpt")

PRIOR = CurvePrior(
    exponent_centre=0.42, exponent_width=0.18, share_centre=0.4, share_width=0.2, balance=100.0, flat=0.03
)
PRIORS = (
    PRIOR,
    replace(PRIOR, exponent_centre=0.35),
    replace(PRIOR, exponent_centre=0.5),
    replace(PRIOR, exponent_width=0.26),
    replace(PRIOR, exponent_centre=0.5, exponent_width=0.26),
    replace(PRIOR, share_centre=0.5),
    replace(PRIOR, share_width=0.3),
    replace(PRIOR, balance=20.0),
    replace(PRIOR, balance=500.0),
    replace(PRIOR, flat=0.1),
    replace(PRIOR, flat=0.01),
)
SHARES = tuple(
    Shares(few=few, many=many, short=short, long=long, trusted=trusted)
    for few, many, (short, long), trusted in product(
        (0.4, 0.6, 0.8, 1.0), (0.0, 0.2, 0.4, 0.6, 0.8), ((7, 15), (5, 9)), (-1.0, 0.6, 0.8)
    )
)
# `unseen` is the least factor with which the intervals of left-out families hold so often, as a mean over classes of
# rungs: the middle of 75% to 90%, as errors on the next family are not smaller.
WANTED = 0.825
UNSEEN = np.arange(1.0, 2.001, 0.05).round(2)
TERMS = ("spread", "noise", "drift", "unvaried", "rest")


@dataclass(frozen=True, kw_only=True)
class Choice:
    prior: int  # place in PRIORS
    shares: Shares
    shares_with_losses: Shares
    widths: Widths


def weights(cells: pd.DataFrame) -> np.ndarray:
    """So that every class weighs the same, and every family in it."""
    here = cells.groupby(["class", "family"]).actual.transform("size")
    return (1 / here / cells.groupby("class").family.transform("nunique") / cells["class"].nunique()).to_numpy()


def blended(cells: pd.DataFrame, prior: int, shares: Shares) -> np.ndarray:
    part = shares.of(cells.rungs.to_numpy(), cells.correlation.to_numpy())
    return np.asarray(part * cells[f"mean {prior}"] + (1 - part) * cells.chains)


def predicted(cells: pd.DataFrame, prior: int, shares: Shares, shares_with_losses: Shares) -> np.ndarray:
    return np.where(cells.losses, blended(cells, prior, shares_with_losses), blended(cells, prior, shares))


def chosen(cells: pd.DataFrame) -> Choice:
    """The prior and shares of the least mean error, then the widths of the highest likelihood; `unseen` is 1."""
    w = weights(cells)

    def error(prior: int, shares: Shares) -> float:
        return float(w @ np.abs(blended(cells, prior, shares) - cells.actual))

    prior, shares = min(product(range(len(PRIORS)), SHARES), key=lambda pair: error(*pair))
    having = chosen_with_losses(cells[cells.losses], prior) if cells.losses.any() else shares
    widths = fitted_widths(cells, predicted(cells, prior, shares, having), prior, w)
    return Choice(prior=prior, shares=shares, shares_with_losses=having, widths=widths)


def chosen_with_losses(cells: pd.DataFrame, prior: int) -> Shares:
    """Where losses were measured: of all shares within a standard error (over tasks) of the best those that leave most
    to the chains, which know the losses. One family alone decides here, and cannot tell the shares apart any finer."""
    errors = {one: np.abs(blended(cells, prior, one) - cells.actual) for one in SHARES}
    by_task = {one: e.groupby([cells["class"], cells.task]).mean().groupby(level=1).mean() for one, e in errors.items()}
    best = min(SHARES, key=lambda one: float(by_task[one].mean()))
    lost = {one: by_task[one] - by_task[best] for one in SHARES}
    as_good = [one for one, by in lost.items() if by.mean() <= by.std(ddof=1) / np.sqrt(len(by))]
    return min([*as_good, best], key=lambda one: (one.many, float(by_task[one].mean())))


def fitted_widths(cells: pd.DataFrame, p: np.ndarray, prior: int, w: np.ndarray) -> Widths:
    residual = cells.actual.to_numpy() - p
    items, terms = variances(cells, p, prior)

    def widths(x: np.ndarray) -> Widths:
        of_terms = dict(zip(TERMS, np.exp(x[:5]).round(3), strict=True))
        factors = [np.exp(x[5]) * student.ppf(level, 1 + np.exp(x[6])) for level in (0.9, 0.975)]
        return Widths(**of_terms, factor80=factors[0].round(3), factor95=factors[1].round(3), unseen=1.0)

    def loss(x: np.ndarray) -> float:
        scale = np.exp(x[:5]) * [1, 1, 1e-4, 1e-4, 1e-4]
        sd = np.sqrt(items + terms @ scale) * np.exp(x[5])
        return -float(w @ (student.logpdf(residual / sd, 1 + np.exp(x[6])) - np.log(sd)))

    bounds = [(-6, 4)] * 5 + [(-3, 2), (0, 3.5)]
    starts = [np.r_[np.full(5, level), -0.3, 0.7] for level in (0.0, -1.0, 1.0)]
    return widths(min((minimize(loss, x, bounds=bounds) for x in starts), key=lambda found: float(found.fun)).x)


def variances(cells: pd.DataFrame, p: np.ndarray, prior: int) -> tuple[np.ndarray, np.ndarray]:
    """What `Widths.variance` takes, for predictions `p`."""
    items = [float(item_variance(np.array(a), int(b))) for a, b in zip(p, cells["items"], strict=True)]
    names = (f"spread {prior}", f"noise {prior}", "decades", "unvaried")
    return np.array(items), width_terms(*(cells[name].to_numpy() for name in names))


def unseen_of(cells: pd.DataFrame) -> float:
    """By how much the intervals of families left out in turn must be wider."""
    found = pd.concat([scored(one, chosen(rest), 1.0) for one, rest in each_left_out(cells)])
    for factor in UNSEEN:
        held = found.assign(held=found.error <= factor * found.half80).groupby(["class", "family"]).held.mean()
        if held.groupby("class").mean().mean() >= WANTED:
            break
    return float(factor)


def each_left_out(cells: pd.DataFrame) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """(a family's cells, those of all others)"""
    return [(cells[cells.family == one], cells[cells.family != one]) for one in sorted(cells.family.unique())]


def scored(cells: pd.DataFrame, choice: Choice, unseen: float) -> pd.DataFrame:
    """Errors in points and whether the intervals hold."""
    p = predicted(cells, choice.prior, choice.shares, choice.shares_with_losses)
    sd = 100 * unseen * np.sqrt(choice.widths.variance(*variances(cells, p, choice.prior)))
    error = 100 * np.abs(p - cells.actual)
    half80, half95 = choice.widths.factor80 * sd, choice.widths.factor95 * sd
    others = {name: 100 * (cells[name] - cells.actual).abs() for name in ("chains", "last", "linear")}
    curves = 100 * (cells[f"mean {choice.prior}"] - cells.actual).abs()
    bias = 100 * (p - cells.actual)
    inside = {"in80": error <= half80, "in95": error <= half95, "half80": half80, "half95": half95}
    return cells[["class", "family", "varied"]].assign(error=error, bias=bias, curves=curves, **others, **inside)


def table(found: pd.DataFrame, by: str, title: str) -> Table:
    """Means over families, of a family over classes."""
    groups = found.groupby(["class", "family"] if by == "family" else [by, "family"])
    means = groups.mean(numeric_only=True).assign(cells=groups.size()).reset_index()
    rows: list[Row] = []
    for name in CLASSES if by == "class" else sorted(found[by].unique()):
        if len(here := means[means[by] == name]):
            rows.append((name, int(here.cells.sum()), *(float(here[one].mean()) for one in SHOWN)))
    halves = (fixed("half-width 80%", 1, "points"), fixed("half-width 95%", 1, "points"))
    errors = (fixed("default", 2, "points"), fixed("bias", 2, "points", signed=True))
    others = tuple(fixed(one, 2, "points") for one in SHOWN[2:6])
    columns = (words(TITLES[by]), whole("cells"), *errors, *others, share("in 80%"), share("in 95%"), *halves)
    return Table(title=title, columns=columns, rows=tuple(rows))


TITLES = {"class": "rungs", "family": "family left out", "varied": "rungs vary in"}
SHOWN = ("error", "bias", "curves", "chains", "last", "linear", "in80", "in95", "half80", "half95")


def probe(beds: Sequence[Bed], prior: CurvePrior) -> float:
    """Mean error in points of the curves on a few smaller ladders of two families."""
    parts = parts_of([bed for bed in beds if bed.name in PROBED], 2)
    rows = [row for seed, part in enumerate(parts) for row in cells_of(part, seed, [prior])]
    return round(100 * float(np.mean([abs(row["mean 0"] - row["actual"]) for row in rows])), 3)  # type: ignore[operator]


def fingerprint(paths: Sequence[Path], constants: Constants) -> str:
    """Of the tables below the paths, wherever they lie, and the constants, whose own fingerprint does not count."""
    digest = hashlib.sha256()
    files = [file for path in paths for file in path.rglob("*") if file.suffix in (".csv", ".yaml")]
    for of_file in sorted(hashlib.sha256(file.read_bytes()).digest() for file in files):
        digest.update(of_file)
    values = asdict(replace(constants, origin=replace(constants.origin, fingerprint="")))
    digest.update(json.dumps(values, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def written(paths: Sequence[Path], beds: Sequence[Bed], cells: pd.DataFrame, choice: Choice) -> Constants:
    """The constants as their file then holds them."""
    origin = Origin(
        families=tuple(sorted(cells.family.unique())),
        cells=len(cells),
        smallest_n=float(cells.smallest_n.min()),
        kept_back=KEPT_BACK,
        probe=probe(beds, PRIORS[choice.prior]),
        fingerprint="",
    )
    constants = Constants(
        prior=PRIORS[choice.prior],
        shares=choice.shares,
        shares_with_losses=choice.shares_with_losses,
        widths=choice.widths,
        origin=origin,
    )
    return replace(constants, origin=replace(origin, fingerprint=fingerprint(paths, constants)))


def in_words(name: str, choice: Choice) -> str:
    with_losses = {f"{key} with losses": value for key, value in asdict(choice.shares_with_losses).items()}
    values: dict[str, Any] = asdict(PRIORS[choice.prior]) | asdict(choice.shares) | with_losses | asdict(choice.widths)
    return f"{name:14s} " + ", ".join(f"{key} {value:g}" for key, value in values.items())


def main(argv: list[str]) -> None:
    options = Parser(
        prog="python scripts/choose_constants.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("paths", type=Path, nargs="+", help="testbeds: folders of tables, or ladders")
    options.add_argument(
        "--output", type=Path, default=FILE, help="where the constants go (default: the method's file)"
    )
    given = options.parse_args(argv)
    beds = read_testbeds(given.paths)
    with ProcessPoolExecutor(usable_cores()) as pool:
        cells, cuts = (measured_cells(pool, parts) for parts in (parts_of(beds, PARTS), cuts_of(beds)))
        families = sorted(cells.family.unique())
        without = dict(zip(families, pool.map(choose, [rest for _, rest in each_left_out(cells)]), strict=True))
    choice = choose(cells)
    for found, by, title in (
        (cells, "class", "Errors in points by number of rungs, every constant chosen without the family"),
        (cells, "family", "The same by family"),
        (cuts[cuts.unvaried == 0], "class", "The same on ladders cut by size, which take no part in the choice"),
    ):
        print(as_text(table(held_out(found, without), by, title)))
    print("chosen without each family, and on all of them:")
    for family, other in without.items():
        print(in_words(family, other))
    print(in_words("all", choice))
    constants = written(given.paths, beds, cells, choice)
    write_text(given.output, json.dumps(asdict(constants), indent=1) + "\n")
    print(f"wrote {given.output}" + ("" if constants != CONSTANTS else ": unchanged"))


def measured_cells(pool: ProcessPoolExecutor, parts: Sequence[Part]) -> pd.DataFrame:
    rows = pool.map(partial(cells_of, priors=PRIORS), parts, range(len(parts)))
    return pd.DataFrame([row for some in rows for row in some])


def held_out(cells: pd.DataFrame, without: Mapping[str, Choice]) -> pd.DataFrame:
    """Each family's by the choice that was made without it."""
    found = [scored(cells[cells.family == name], one, one.widths.unseen) for name, one in without.items()]
    return pd.concat(found, ignore_index=True)


def choose(cells: pd.DataFrame) -> Choice:
    """`chosen`, with what families that are left out ask for."""
    choice = chosen(cells)
    return replace(choice, widths=replace(choice.widths, unseen=unseen_of(cells)))


if __name__ == "__main__":
    run_command(main)
