"""What the parts of method `default`, fitted to smaller ladders inside finished ones, say of their larger runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from predict.analyses.testbeds import TARGETS, Bed, Part, parts_by_size, random_parts, rung_class, some
from predict.fitting.curve_grid import CurvePrior, fit_curves
from predict.methods.intervals import Reach
from predict.methods.members import MEMBERS
from predict.methods.study import TaskStudy, study_ladder

SEED = 15
TASKS = 5  # of each smaller ladder
APART = ("papers", "runs")  # folders whose ladders share nothing
KEPT_BACK = ("peteish7", "peteish7_anneal", "peteish13")  # AI2's targets, on which the README reports


def family_of(bed: Bed) -> str:
    return bed.name if bed.family in APART else bed.family


def parts_of(beds: Sequence[Bed], most: int) -> list[Part]:
    """Random smaller ladders of each testbed; none of what is kept back."""
    return [part for bed in _open(beds) for part in random_parts(bed, np.random.default_rng(SEED), most)]


def cuts_of(beds: Sequence[Bed]) -> list[Part]:
    """Those of `predict bench`, cut by size, with some of their targets; none of what is kept back."""
    random = np.random.default_rng(SEED)
    parts = [part for bed in _open(beds) for part in parts_by_size(bed)]
    return [replace(part, targets=some(part.targets, random, TARGETS)) for part in parts]


def _open(beds: Sequence[Bed]) -> list[Bed]:
    runs = [tuple(run for run in bed.measured.runs if run.name not in KEPT_BACK) for bed in beds]
    return [replace(bed, measured=replace(bed.measured, runs=kept)) for bed, kept in zip(beds, runs, strict=True)]


def cells_of(part: Part, seed: int, priors: Sequence[CurvePrior]) -> list[dict[str, object]]:
    """A row per held-out run and task (`TASKS` of them, by the seed), with what the curves of every prior say."""
    measured, count = part.measured, part.bed.measured.smoothing.final_checkpoints
    tasks = some(measured.every_task(), np.random.default_rng([SEED, seed]), TASKS)
    if not tasks:
        return []
    study = study_ladder(measured, tasks, MEMBERS)
    n, d = study.tasks[0].points.n, study.tasks[0].points.d
    accuracy = np.array([one.points.accuracy for one in study.tasks])
    chance, items = (np.array([getattr(task, what) for task in tasks]) for what in ("chance", "items"))
    laws = [fit_curves(n, d, accuracy, chance, items, prior) for prior in priors]
    reach, rows = Reach.of(n, d), []
    for place, (task, one) in enumerate(zip(tasks, study.tasks, strict=True)):
        for run in part.targets:
            if run.has(task, "rc_acc"):
                row = {
                    "family": family_of(part.bed),
                    "class": rung_class(len(n)),
                    "varied": "N alone" if reach.one_d else "D alone" if reach.one_n else "N and D",
                    "rungs": len(n),
                    "smallest_n": float(n.min()),
                    "actual": run.curve(task, "rc_acc").final(count),
                    "task": task.name,
                    "items": task.items,
                    "decades": reach.beyond(run.n, run.d),
                    "unvaried": reach.unvaried(run.n, run.d),
                    "correlation": one.verdict.correlation,
                    "losses": one.points.loss is not None,
                    "chains": _chains(one, study.members, run.n, run.d),
                    **_baselines(one, run.n, run.d),
                }
                for which, of_tasks in enumerate(laws):
                    mean, spread = of_tasks[place](run.n, run.d)
                    row |= {f"mean {which}": mean, f"spread {which}": spread, f"noise {which}": of_tasks[place].noise}
                rows.append(row)
    return rows


def _chains(study: TaskStudy, members: Sequence[str], n: float, d: float) -> float:
    at = np.array([n]), np.array([d])
    kept = [fit for name, fit in study.fits.items() if name in members] or list(study.fits.values())
    return float(np.mean([fit.accuracy(*at)[0, 0] for fit in kept]))


def _baselines(study: TaskStudy, n: float, d: float) -> dict[str, object]:
    """The largest rung, and a line in log compute."""
    points = study.points
    size = points.n * points.d
    line = np.polyfit(np.log(size), points.accuracy, 1) if np.ptp(size) else (0.0, points.accuracy.mean())
    return {"last": points.accuracy[np.argmax(size)], "linear": np.polyval(line, np.log(n * d))}
