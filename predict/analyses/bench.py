"""`python -m predict bench PATH…`: how well every method predicts the larger runs of finished ladders.

A path is a ladder that holds its own targets, or a folder of tables (`table….csv` beside `mapping….yaml`). Each ladder
is cut at every size, with all of its runs' lengths and with the first of them: what is smaller is fitted, the larger
runs are predicted. Or the cuts are named in a file:

    - {ladder: mine, rungs: [run-1, run-2, run-3], targets: [run-9]}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ladder.errors import UserError, shortened, unknown
from ladder.files.bind import bind
from ladder.files.reading import read_yaml
from ladder.files.writing import files_into, write_json, write_text
from ladder.process.cpu import usable_cores
from ladder.rungs.rung import Target
from predict.analyses.backtest import LAST_RUNG
from predict.analyses.bench_losses import loss_cells, loss_class_table
from predict.analyses.testbeds import CLASSES, UNVARIED, Bed, Part, parts_by_size, read_testbeds
from predict.measured.ladder import MINIMUM_RUNGS, Measured
from predict.measured.runs import Run
from predict.measured.tasks import Task
from predict.methods import DEFAULT, METHODS
from predict.methods.base import Estimate
from predict.show import command_line
from predict.show.plots import BLUE, INK, Plot, dot, label, legend, method_looks
from predict.show.tables import Row, Table, fixed, share, whole, words

Baseline = Callable[[Measured, Task, Sequence[Target]], list[float]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one method says of one task of one held-out run; accuracies in [0, 1]."""

    part: str
    family: str
    ladder: str
    rungs: int
    group: str  # class of rungs, or that they do not vary what the run has more of
    decades: float  # of N·D from the largest rung to the run
    method: str
    task: str
    actual: float
    estimate: Estimate

    @property
    def error(self) -> float:
        """In points."""
        return 100 * (self.estimate.value - self.actual)


@dataclass(frozen=True, kw_only=True)
class NamedPart:
    """An entry of the file of splits: runs by their names."""

    ladder: str
    rungs: tuple[str, ...]
    targets: tuple[str, ...]


def _last_rung(measured: Measured, task: Task, targets: Sequence[Target]) -> list[float]:
    run = max(measured.rungs, key=lambda run: run.compute)
    return [run.curve(task, "rc_acc").final(measured.smoothing.final_checkpoints)] * len(targets)


def _line(measured: Measured, task: Task, targets: Sequence[Target]) -> list[float]:
    """Least squares in log compute."""
    count = measured.smoothing.final_checkpoints
    x = np.log([run.compute for run in measured.rungs])
    y = np.array([run.curve(task, "rc_acc").final(count) for run in measured.rungs])
    slope, start = np.polyfit(x - x.mean(), y, 1) if np.ptp(x) > 0 else (0.0, float(y.mean()))
    return [float(start + slope * (np.log(target.flops_6nd) - x.mean())) for target in targets]


BASELINES: dict[str, Baseline] = {LAST_RUNG: _last_rung, "line in log compute": _line}


def bench(parts: Sequence[Part]) -> list[Cell]:
    """Every method and baseline on every part, spread over processes."""
    if len(parts) < 3:
        return [cell for part in parts for cell in cells_of(part)]
    with ProcessPoolExecutor(usable_cores()) as pool:
        return [cell for cells in pool.map(cells_of, parts) for cell in cells]


def cells_of(part: Part) -> list[Cell]:
    """Of a task, the runs that were measured on it; of a method, the tasks that it can be fitted to."""
    measured, count = part.measured, part.bed.measured.smoothing.final_checkpoints
    targets = [Target(name=run.name, n=run.n, d=run.d) for run in part.targets]
    cells = []
    for (method, place, task), estimate in _estimates(measured, targets).items():
        run = part.targets[place]
        if run.has(task, "rc_acc") and np.isfinite(estimate.value):
            cell = Cell(
                part=part.name,
                family=part.bed.family,
                ladder=part.bed.name,
                rungs=len(part.rungs),
                group=part.group(run),
                decades=part.reach.beyond(run.n, run.d),
                method=method,
                task=task.name,
                actual=run.curve(task, "rc_acc").final(count),
                estimate=estimate,
            )
            cells.append(cell)
    return cells


def _estimates(measured: Measured, targets: Sequence[Target]) -> dict[tuple[str, int, Task], Estimate]:
    """By method, place of the target and task."""
    everything, estimates = measured.every_task(), {}
    for name, method in METHODS.items():
        tasks = [task for task in everything if method.can_fit(measured, task) and _positive(measured, task)]
        if not tasks or len(measured.rungs) < method.minimum_rungs:
            continue
        fitted = method.quick().fit(measured, tasks)
        for place, target in enumerate(targets):
            for task, prediction in zip(tasks, fitted.predict(target), strict=True):
                estimates[name, place, task] = prediction.accuracy
    for name, baseline in BASELINES.items():
        for task in everything:
            for place, value in enumerate(baseline(measured, task, targets)):
                estimates[name, place, task] = Estimate(value=value)
    return estimates


def _positive(measured: Measured, task: Task) -> bool:
    """Whether no rung has an accuracy of 0, whose logarithm the paper's single step takes."""
    return all(run.curve(task, "rc_acc").values.min() > 0 for run in measured.rungs)


def named_parts(path: Path, beds: Sequence[Bed]) -> list[Part]:
    """Raises UserError for a file of another form, and a ladder or run that is not there."""
    by_name = {bed.name: bed for bed in beds}
    chosen = []
    parts = bind(tuple[NamedPart, ...], read_yaml(path), str(path))
    if not parts:
        raise UserError(f"{path} names no ladder")
    for one in parts:
        if one.ladder not in by_name:
            raise unknown(f"ladder of {path}", one.ladder, by_name)
        bed = by_name[one.ladder]
        rungs, targets = (tuple(_run(bed, name, path) for name in names) for names in (one.rungs, one.targets))
        if len(rungs) < MINIMUM_RUNGS or not targets:
            raise UserError(f"{path}: {one.ladder}: give at least {MINIMUM_RUNGS} rungs and a target")
        if twice := [name for name, count in Counter([*one.rungs, *one.targets]).items() if count > 1]:
            raise UserError(f"{path}: {one.ladder}: {shortened(twice[0])} stands there twice; give each run once")
        chosen.append(Part(name=f"{bed.name}, {len(rungs)} rungs", bed=bed, rungs=rungs, targets=targets))
    return chosen


def _run(bed: Bed, name: str, path: Path) -> Run:
    by_name = {run.name: run for run in bed.measured.runs}
    if name not in by_name:
        raise unknown(f"run of {bed.name} in {path}", name, by_name)
    return by_name[name]


def class_table(cells: Sequence[Cell]) -> Table:
    """A row per class of rungs and method; every family weighs the same in a class."""
    rows: list[Row] = []
    for group in (*CLASSES, UNVARIED):
        here = [cell for cell in cells if cell.group == group]
        for method in (*METHODS, *BASELINES):
            if ours := [cell for cell in here if cell.method == method]:
                rows.append((f"{group}{' rungs' if group in CLASSES else ''}, {method}", len(ours), *_means(ours)))
    return Table(
        title="Error by number of rungs",
        columns=(words("fitted"), whole("cells"), *_COLUMNS),
        rows=tuple(rows),
        notes=(
            "cells: tasks of held-out runs that the method can predict; error: mean absolute, bias: mean signed; "
            "in 80%, in 95%, half-width: of the intervals, where a method has them; means over families; "
            f"{UNVARIED}: in no other row; "
            "the paper's variants are fitted from the published start alone",
        ),
    ).without_empty_columns()


_COLUMNS = (
    fixed("error", 2, "points"),
    fixed("bias", 2, "points", signed=True),
    share("in 80%"),
    share("in 95%"),
    fixed("half-width 80%", 1, "points"),
    fixed("half-width 95%", 1, "points"),
)


def _means(cells: Sequence[Cell]) -> tuple[float | None, ...]:
    """Of the columns above: the mean over families of the mean over a family's cells."""
    by_family: dict[str, list[list[float]]] = {}
    for cell in cells:
        by_family.setdefault(cell.family, []).append(_values(cell))
    means = np.mean([np.mean(rows, axis=0) for rows in by_family.values()], axis=0)
    return tuple(None if np.isnan(mean) else float(mean) for mean in means)


def _values(cell: Cell) -> list[float]:
    low, high = cell.estimate.interval80, cell.estimate.interval95
    held = [float("nan")] * 4
    if low and high:
        held = [float(cell.actual in low), float(cell.actual in high), 50 * low.width, 50 * high.width]
    return [abs(cell.error), cell.error, *held]


def part_table(cells: Sequence[Cell]) -> Table:
    """A row per part: mean error of every method over the tasks that it can predict."""
    methods = [name for name in (*METHODS, *BASELINES) if any(cell.method == name for cell in cells)]
    rows: list[Row] = []
    for part in dict.fromkeys(cell.part for cell in cells):
        here = [cell for cell in cells if cell.part == part]
        errors = [_error([cell for cell in here if cell.method == method]) for method in methods]
        ours = [cell for cell in here if cell.method == DEFAULT]
        inside = _means(ours)[2] if ours else None
        rows.append((part, here[0].rungs, len(ours), *errors, inside))
    columns = (words("fitted"), whole("rungs"), whole("cells"), *(fixed(name, 2, "points") for name in methods))
    return Table(
        title="Mean error by ladder", columns=(*columns, share("in 80%")), rows=tuple(rows)
    ).without_empty_columns()


def _error(cells: Sequence[Cell]) -> float | None:
    return float(np.mean([abs(cell.error) for cell in cells])) if cells else None


def bench_plot(cells: Sequence[Cell]) -> Plot:
    """Error by number of rungs and by distance, for each method; predicted against actual for the default one."""
    plot = Plot(4, "Smaller ladders predict the larger runs of finished ones", columns=4)
    by_rungs, by_distance, against, key = plot.axes
    methods = [name for name in (*METHODS, *BASELINES) if any(cell.method == name for cell in cells)]
    looks = method_looks(methods, BASELINES)
    edges = np.quantile([cell.decades for cell in cells], np.linspace(0, 1, 6))
    for name in reversed(methods):
        ours = [cell for cell in cells if cell.method == name]
        marker, colour = looks[name]
        classes = [(i, [c for c in ours if c.group == rungs]) for i, rungs in enumerate(CLASSES)]
        bins = [((low + high) / 2, [c for c in ours if low <= c.decades <= high]) for low, high in pairwise(edges)]
        for axis, groups in ((by_rungs, classes), (by_distance, bins)):
            points = [(x, _means(group)[0]) for x, group in groups if group]
            axis.plot(*zip(*points, strict=True), marker=marker, color=colour, markersize=5, linewidth=0.8)
    by_rungs.set_xticks(range(len(CLASSES)), list(CLASSES))
    label(by_rungs, "Error by number of rungs", "mean over families", "rungs", "mean error, points")
    label(by_distance, "Error by distance", "mean over families", "decades of N·D beyond", "mean error, points")
    ours = [cell for cell in cells if cell.method == DEFAULT]
    actual, predicted = np.array([(100 * cell.actual, 100 * cell.estimate.value) for cell in ours]).reshape(-1, 2).T
    against.plot(actual, predicted, "o", color=BLUE, markersize=1.6, alpha=0.4, mew=0)
    against.plot([0, 100], [0, 100], color=INK, linewidth=0.8)
    label(against, "Predicted against measured", f"method {DEFAULT}", "measured accuracy, %", "predicted, %")
    legend(key, [dot(marker, colour, name) for name, (marker, colour) in looks.items()])
    return plot


def _files_read(beds: Sequence[Bed], splits: Path | None) -> list[str]:
    """Which files were read besides the tables that were named."""
    beside = dict.fromkeys(bed.mapping.name for bed in beds if bed.mapping)
    lines = [f"columns by {shortened(', '.join(beside), 200)}, beside the table"] if beside else []
    return [*lines, f"rungs and targets by {splits.name}"] if splits else lines


def main(argv: list[str]) -> None:
    options = command_line.parser("bench", __doc__ or "")
    options.add_argument(
        "paths", type=command_line.place, nargs="+", metavar="PATH", help="ladders that hold their own targets"
    )
    options.add_argument("--splits", type=command_line.place, metavar="FILE", help="YAML that names rungs and targets")
    options.add_argument(
        "--output", type=command_line.folder, metavar="DIR", help="also write bench.md, bench.json and bench.png"
    )
    command_line.add_format(options)
    command_line.add_plot(options)
    given = options.parse_args(argv)
    beds = read_testbeds(given.paths)
    parts = named_parts(given.splits, beds) if given.splits else [part for bed in beds for part in parts_by_size(bed)]
    cells, losses = bench(parts), [cell for part in parts for cell in loss_cells(part)]
    if not cells and not losses:
        raise UserError(f"{given.paths[0]}: no ladder has {MINIMUM_RUNGS} rungs and a larger run that was measured")
    tables = [class_table(cells), part_table(cells)] if cells else []
    tables += [loss_class_table(losses)] if losses else []
    tables[0] = replace(tables[0], notes=(*tables[0].notes, *_files_read(beds, given.splits)))
    command_line.show(given.form, *tables)
    if given.plot and cells:
        bench_plot(cells).save(given.plot)
    if given.output:
        with files_into(given.output) as folder:
            write_text(folder / "bench.md", "\n\n".join(table.markdown() for table in tables) + "\n")
            write_json(folder / "bench.json", [table.to_json() for table in tables])
            if cells:
                bench_plot(cells).save(folder / "bench.png")
