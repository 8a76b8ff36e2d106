"""Chooses the constants of method `default` on other people's ladders, and tells the errors on families left out.

    python scripts/choose_constants.py ../shared/testbeds ../shared/olmo-ladder/runs

Smaller ladders inside each testbed predict its larger runs. Every choice (the prior of the curves, their share, the
widths of the intervals) is made once on all families, and once for every family without it: its held-out errors, which
the table shows, never entered the choice. Every class of rungs and every family in it weighs the same. Losses play no
part: one family alone has them. Takes minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import t as student

from predict.analyses.testbeds import CLASSES, Bed, Part, random_parts, read_testbeds, rung_class
from predict.fitting.curve_grid import CurvePrior, fit_curves
from predict.measured.points import task_points
from predict.methods.gate import monotony
from predict.methods.members import direct
from predict.methods.noise import item_variance
from predict.show.tables import Row, Table, fixed, share, whole, words
from predict.show.terminal import as_text

SEED = 15
PARTS = 8  # smaller ladders of a testbed and class
TASKS = 6  # of each
APART = ("papers",)  # a folder of families that share nothing

PRIORS = {
    "as it is": CurvePrior(),
    "steeper": CurvePrior(exponent_centre=0.5),
    "flatter": CurvePrior(exponent_centre=0.34),
    "wider exponents": CurvePrior(exponent_width=0.26),
    "N and D alike": CurvePrior(share_centre=0.5),
    "nothing remains": CurvePrior(remaining=((0.0, 0.6), (0.2, 0.4))),
    "flat less often": CurvePrior(flat=0.03),
}
BLENDS = {  # the share of the curves: a - b · rungs, at least and at most; the correlation below which it is 1
    f"{a:g} - {b:g} rungs in {low:g} to {high:g}, 1 below {trust:g}": (a, b, low, high, trust)
    for a, b, low, high in ((1.1, 0.1, 0.4, 0.8), (0.5, 0.0, 0.5, 0.5), (0.8, 0.0, 0.8, 0.8), (1.2, 0.1, 0.5, 0.9))
    for trust in (-1.0, 0.6, 0.8)
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    prior: str
    blend: str
    widths: np.ndarray  # weights of s², g², (.01 decades)² and (.01)²
    scale: float
    freedom: float

    @property
    def factors(self) -> tuple[float, float]:
        """At 80% and 95%."""
        return (
            self.scale * float(student.ppf(0.9, self.freedom)),
            self.scale * float(student.ppf(0.975, self.freedom)),
        )


def cells_of(bed: Bed, family: str) -> pd.DataFrame:
    """A row per smaller ladder, task and held-out run, with what the curves of every prior say."""
    random = np.random.default_rng(SEED)
    rows: list[dict[str, object]] = []
    for part in random_parts(bed, random, PARTS):
        rows += _cells(part, random)
    return pd.DataFrame(rows).assign(family=family)


def _cells(part: Part, random: np.random.Generator) -> list[dict[str, object]]:
    measured = part.measured
    tasks = measured.every_task()
    if len(tasks) > TASKS:
        tasks = [tasks[i] for i in random.choice(len(tasks), TASKS, replace=False)]
    found = [replace(task_points(part.rungs, task, measured.smoothing), lm=None, lm_cloud=None) for task in tasks]
    if not found:
        return []
    n, d = found[0].n, found[0].d
    accuracy = np.array([points.accuracy for points in found])
    chance, items = (np.array([getattr(task, what) for task in tasks]) for what in ("chance", "items"))
    laws = {name: fit_curves(n, d, accuracy, chance, items, prior) for name, prior in PRIORS.items()}
    rows: list[dict[str, object]] = []
    for place, (task, points) in enumerate(zip(tasks, found, strict=True)):
        line = np.polyfit(np.log(n * d), points.accuracy, 1) if np.ptp(n * d) else (0.0, points.accuracy.mean())
        fits, correlation = direct(points, np.ones((1, len(n)))), monotony(points)
        for run in part.targets:
            if not run.has(task, "rc_acc"):
                continue
            row: dict[str, object] = {
                "rungs": len(n),
                "actual": run.curve(task, "rc_acc").final(measured.smoothing.final_checkpoints),
                "items": task.items,
                "decades": np.log10(run.n * run.d / (n * d).max()),
                "correlation": correlation,
                "direct": fits.accuracy(np.array([run.n]), np.array([run.d]))[0, 0],
                "last": points.accuracy[np.argmax(n * d)],
                "linear": np.polyval(line, np.log(run.n * run.d)),
            }
            for name, of_tasks in laws.items():
                law = of_tasks[place]
                mean, spread = law(run.n, run.d)
                row |= {f"mean {name}": mean, f"spread {name}": spread, f"noise {name}": law.noise}
            rows.append(row)
    return rows


def weights(cells: pd.DataFrame) -> np.ndarray:
    """So that every class weighs the same, and every family in it."""
    here = cells.groupby(["class", "family"]).actual.transform("size")
    return (1 / here / cells.groupby("class").family.transform("nunique") / cells["class"].nunique()).to_numpy()


def blended(cells: pd.DataFrame, prior: str, blend: str) -> np.ndarray:
    a, b, low, high, trust = BLENDS[blend]
    part = np.where(cells.correlation < trust, 1.0, np.clip(a - b * cells.rungs, low, high))
    return np.asarray(part * cells[f"mean {prior}"] + (1 - part) * cells.direct)


def choose(cells: pd.DataFrame) -> Choice:
    """The prior and blend of the least mean error, then the widths of the highest likelihood."""
    w = weights(cells)

    def error(prior: str, blend: str) -> float:
        return float(w @ np.abs(blended(cells, prior, blend) - cells.actual))

    prior, blend = min(((p, b) for p in PRIORS for b in BLENDS), key=lambda pair: error(*pair))
    residual = cells.actual.to_numpy() - blended(cells, prior, blend)
    parts = variances(cells, prior, blend)

    def loss(x: np.ndarray) -> float:
        sd = np.sqrt(parts[:, 0] + parts[:, 1:] @ np.exp(x[:4])) * np.exp(x[4])
        return -float(w @ (student.logpdf(residual / sd, 1 + np.exp(x[5])) - np.log(sd)))

    found = minimize(loss, np.r_[np.zeros(5), 1.0], method="Nelder-Mead", options={"maxiter": 3000, "fatol": 1e-6}).x
    return Choice(
        prior=prior, blend=blend, widths=np.exp(found[:4]), scale=float(np.exp(found[4])), freedom=1 + np.exp(found[5])
    )


def variances(cells: pd.DataFrame, prior: str, blend: str) -> np.ndarray:
    """The terms of `predict.methods.intervals.Widths`, (cells, 5)."""
    p = blended(cells, prior, blend)
    items = np.array([float(item_variance(np.array(a), int(b))) for a, b in zip(p, cells["items"], strict=True)])
    decades = np.maximum(cells.decades, 0)
    return np.stack(
        [items, cells[f"spread {prior}"] ** 2, cells[f"noise {prior}"] ** 2, (0.01 * decades) ** 2, 0 * p + 1e-4],
        axis=1,
    )


def scored(cells: pd.DataFrame, choice: Choice, unseen: float) -> pd.DataFrame:
    """Errors in points and whether the intervals hold, of cells that the choice did not see."""
    p, parts = blended(cells, choice.prior, choice.blend), variances(cells, choice.prior, choice.blend)
    sd = unseen * np.sqrt(parts[:, 0] + parts[:, 1:] @ choice.widths)
    error = 100 * np.abs(p - cells.actual)
    half80, half95 = (100 * factor * sd for factor in choice.factors)
    others = {name: 100 * (cells[name] - cells.actual).abs() for name in ("direct", "last", "linear")}
    curves = 100 * (cells[f"mean {choice.prior}"] - cells.actual).abs()
    inside = {"in80": error <= half80, "in95": error <= half95, "half80": half80, "half95": half95}
    return cells[["class", "family"]].assign(blend=error, curves=curves, **others, **inside)


def table(found: pd.DataFrame, by: list[str], title: str) -> Table:
    by_family = found.groupby(["class", "family"]).mean().assign(cells=found.groupby(["class", "family"]).size())
    means = by_family.groupby(by).mean(numeric_only=True).assign(cells=by_family.groupby(by).cells.sum())
    errors = ("blend", "curves", "direct", "last", "linear")
    names = [name for name in (CLASSES if by == ["class"] else sorted(means.index)) if name in means.index]
    shown = ("cells", *errors, "in80", "in95", "half80", "half95")
    rows: list[Row] = [(str(name), *map(float, means.loc[name, list(shown)])) for name in names]
    columns = (words("rungs" if by == ["class"] else "family left out"), whole("cells"))
    halves = (fixed("half-width 80%", 1, "points"), fixed("half-width 95%", 1, "points"))
    errors_columns = tuple(fixed(one, 2, "points") for one in errors)
    return Table(
        title=title,
        columns=(*columns, *errors_columns, share("in 80%"), share("in 95%"), *halves),
        rows=tuple(rows),
    )


def chosen_text(name: str, choice: Choice) -> str:
    spread, noise, drift, rest = choice.widths
    factor80, factor95 = choice.factors
    return (
        f"{name:16s} prior: {choice.prior}; share: {choice.blend}; spread {spread:.2f} noise {noise:.2f} "
        f"drift {drift:.2f} rest {rest:.2f}, factors {factor80:.2f} {factor95:.2f}"
    )


def all_cells(paths: Sequence[Path]) -> pd.DataFrame:
    beds = read_testbeds(paths)
    families = [bed.name if bed.family in APART else bed.family for bed in beds]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        cells = pd.concat(list(pool.map(cells_of, beds, families)), ignore_index=True)
    return cells.assign(**{"class": cells.rungs.map(rung_class)})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("paths", type=Path, nargs="+", help="testbeds: folders of tables, or ladders")
    options.add_argument("--unseen", type=float, default=1.08, help="how much wider the intervals are than was fitted")
    given = options.parse_args()
    cells = all_cells(given.paths)
    families = sorted(cells.family.unique())
    choices = {family: choose(cells[cells.family != family]) for family in families}
    left_out = [scored(cells[cells.family == one], choice, given.unseen) for one, choice in choices.items()]
    found = pd.concat(left_out, ignore_index=True)
    note = f"(all constants chosen without the family; intervals {given.unseen:g} times as wide as fitted)"
    print(as_text(table(found, ["class"], f"Held-out errors in points by number of rungs {note}")))
    print(as_text(table(found, ["family"], f"The same by family {note}")))
    print("chosen without each family, and on all of them:")
    for family, choice in choices.items():
        print(chosen_text(family, choice))
    print(chosen_text("all", choose(cells)))


if __name__ == "__main__":
    main()
