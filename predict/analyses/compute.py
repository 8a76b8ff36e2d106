"""`python -m predict compute`: the error at a measured target as the ladder grows (section 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ladder.errors import UserError, unknown
from ladder.rungs.rung import Target
from predict.measured.ladder import Measured
from predict.measured.runs import Run
from predict.measured.same import level_of, levels
from predict.measured.tasks import Task
from predict.methods.fits import method_named
from predict.show import command_line
from predict.show.plots import BLUE, GREY, SOFT, Plot, label, number_axis
from predict.show.tables import Row, Table, fixed, share, significant, words

AXES = {"size": "up to N", "multiple": "up to xC", "flops": "added by FLOPs"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """A smaller ladder: `flops` (6ND) of all of it, `last` of its dearest run; errors by task, signed."""

    label: str
    flops: float
    last: float
    relative_errors: tuple[float, ...]
    point_errors: tuple[float, ...]


def smaller_ladders(measured: Measured, axis: str) -> list[tuple[str, list[Run]]]:
    """The ladder's beginnings along one axis, from the smallest to all of it."""
    if axis == "size":
        order = sorted({run.n for run in measured.rungs})
        return [(_size(measured, n), [run for run in measured.rungs if run.n <= n]) for n in order]
    if axis == "multiple":
        multiples = levels(run.multiple for run in measured.rungs)
        return [
            (f"{m:.3g}xC", [run for run in measured.rungs if level_of(run.multiple, multiples) <= m]) for m in multiples
        ]
    runs = sorted(measured.rungs, key=lambda run: measured.flops(run.n, run.d))
    return [(runs[count - 1].name, runs[:count]) for count in range(1, len(runs) + 1)]


def _size(measured: Measured, n: float) -> str:
    return next(run.size for run in measured.rungs if run.n == n)


def compute_errors(measured: Measured, target: Target, tasks: Sequence[Task], axis: str, method: str) -> list[Step]:
    """Errors at the target for each smaller ladder.

    Raises:
        UserError: the target was not measured.
    """
    fast = method_named(method).quick()
    actual = [fast.actual(measured, target, task).accuracy for task in tasks]
    missing = [task.name for task, value in zip(tasks, actual, strict=True) if value is None]
    if missing:
        raise UserError(
            f"{measured.source} holds no finished run of {target.name} with {', '.join(missing)} to compare with"
        )
    truth = np.array(actual, dtype=float)
    steps = []
    for name, runs in smaller_ladders(measured, axis):
        if len(runs) < fast.minimum_rungs:
            continue
        smaller = replace(measured, rungs=tuple(sorted(runs, key=lambda run: (run.n, run.d))))
        predicted = np.array([p.accuracy.value for p in fast.fit(smaller, tasks).predict(target)])
        costs = [run.compute for run in runs]
        steps.append(
            Step(
                label=name,
                flops=sum(costs),
                last=max(costs),
                relative_errors=tuple(predicted / truth - 1),
                point_errors=tuple(100 * (predicted - truth)),
            )
        )
    return steps


def compute_table(steps: Sequence[Step], target: Target, tasks: Sequence[Task], axis: str, method: str) -> Table:
    rows: list[Row] = [
        (
            step.label,
            step.flops,
            step.flops / target.flops_6nd,
            *(100 * abs(error) for error in step.relative_errors),
            100 * float(np.mean(np.abs(step.relative_errors))),
            float(np.mean(np.abs(step.point_errors))),
        )
        for step in steps
    ]
    return Table(
        title=f"Error at {target.name} by method {method}, ladder {AXES[axis]} (percent of the actual accuracy)",
        columns=(
            words("ladder"),
            significant("FLOPs", 3, "FLOPs"),
            share("of target", 2),
            *(fixed(task.title, 2, "percent") for task in tasks),
            fixed("mean %", 2, "percent"),
            fixed("mean points", 2, "points"),
        ),
        rows=tuple(rows),
    )


def compute_plot(steps: Sequence[Step], target: Target, tasks: Sequence[Task], axis: str, title: str) -> Plot:
    """Error against the ladder's total FLOPs (paper, figures 6 to 8), a panel per task; the mean error is dashed."""
    plot = Plot(len(tasks), title)
    share = [100 * step.flops / target.flops_6nd for step in steps]
    mean = [100 * float(np.mean(np.abs(step.relative_errors))) for step in steps]
    for i, (panel, task) in enumerate(zip(plot.axes, tasks, strict=True)):
        errors = [100 * abs(step.relative_errors[i]) for step in steps]
        panel.plot(share, mean, "--", color=GREY, linewidth=1)
        panel.plot(share, errors, "o-", color=BLUE, markersize=4, linewidth=1.2, clip_on=False)
        panel.set_xscale("log")
        panel.margins(x=0.12)
        number_axis(panel, "{:g}".format)
        panel.set_ylim(0, 1.25 * max([*errors, *mean, 0.1]))
        if axis != "flops":
            for x, step in zip(share, steps, strict=True):
                panel.annotate(
                    step.label, (x, 1), (0, -8), xycoords=("data", "axes fraction"), textcoords="offset points",
                    ha="center", fontsize=8, color=SOFT,
                )  # fmt: skip
        words = f"{errors[-1]:.1f}% from the whole ladder; dashed: mean of the tasks"
        label(panel, task.title, words, f"ladder FLOPs, % of {target.name}", "error, %")
    return plot


def main(argv: list[str]) -> None:
    options = command_line.parser("compute", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_target(options)
    options.add_argument("--method", default="default", help="default, paper, or a variant of it")
    options.add_argument("--by", default="flops", help="size, multiple or flops (the default)")
    command_line.add_format(options)
    command_line.add_plot(options)
    given, overrides = command_line.parse(options, argv)
    if given.by not in AXES:
        raise unknown("axis", given.by, AXES)
    method_named(given.method)
    measured = command_line.data_of(given, overrides)
    target = command_line.target_of(given, measured)
    measured = measured.below(target)
    tasks = measured.tasks(given.tasks)
    steps = compute_errors(measured, target, tasks, given.by, given.method)
    table = compute_table(steps, target, tasks, given.by, given.method)
    command_line.show(given.form, table)
    if given.plot:
        compute_plot(steps, target, tasks, given.by, table.title).save(given.plot)
