"""Plots of the analyses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ladder.rung import Target
from predict.advise import Candidate
from predict.backtest_report import MethodErrors
from predict.compare import Comparison
from predict.compute_error import AXES, Step
from predict.ensemble import Study, TaskStudy
from predict.measured.ladder import LadderData
from predict.measured.tasks import Task
from predict.paper import accuracy_curve
from predict.plots import COLOURS, TARGET_COLOURS, panels
from predict.variance import LAST, largest, sd_of_last

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, GREY = TARGET_COLOURS[0], "#9aa3b2"


def variance_figure(data: LadderData, tasks: Sequence[Task], title: str) -> Figure:
    """Loss and accuracy over the checkpoints of the largest run, a panel each per task (paper, figures 5 and 9)."""
    top = largest(data.rungs)
    shown = [(task, metric) for task in tasks for metric in ("rc_bpb", "rc_acc") if top.has(task, metric)]
    figure, axes = panels(len(shown), title, height=2.3)
    for axis, (task, metric) in zip(axes, shown, strict=True):
        curve = accuracy_curve(top, task) if metric == "rc_acc" else top.curve(task, metric)
        scale = 100 if metric == "rc_acc" else 1
        axis.plot(curve.steps, scale * curve.values, color=GREY, linewidth=0.9)
        axis.plot(curve.steps[-LAST:], scale * curve.values[-LAST:], "o", color=BLUE, markersize=3)
        relative = 100 * sd_of_last(curve) / curve.values[-LAST:].mean()
        axis.set_title(f"{task.title}, SD{LAST} {relative:.2f}%", fontsize=9.5)
        axis.set_xlabel("step", fontsize=8.5)
        axis.set_ylabel("accuracy, %" if metric == "rc_acc" else "loss", fontsize=8.5)
    return figure


def compute_figure(steps: Sequence[Step], target: Target, tasks: Sequence[Task], axis: str, title: str) -> Figure:
    """Error against the ladder's total FLOPs (paper, figures 6 to 8), a panel per task; the mean error is dashed."""
    figure, axes = panels(len(tasks), title, height=2.5)
    share = [100 * step.flops / target.flops_6nd for step in steps]
    mean = [100 * np.mean(np.abs(step.relative_errors)) for step in steps]
    for i, (panel, task) in enumerate(zip(axes, tasks, strict=True)):
        panel.plot(share, mean, "--", color=GREY, linewidth=1, label="mean of the tasks")
        panel.plot(
            share, [100 * abs(s.relative_errors[i]) for s in steps], "o-", color=BLUE, markersize=4, linewidth=1.2
        )
        if axis != "flops":
            for x, step in zip(share, steps, strict=True):
                at = (x, 100 * abs(step.relative_errors[i]))
                panel.annotate(step.label, at, xytext=(0, 6), textcoords="offset points", fontsize=7.5, ha="center")
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        panel.margins(x=0.1, y=0.2)
        panel.set_ylim(bottom=0)
        panel.set_title(task.title, fontsize=9.5)
        panel.set_xlabel(f"ladder FLOPs, % of {target.name} ({AXES[axis]})", fontsize=8)
        panel.set_ylabel("error, %", fontsize=8.5)
    axes[0].legend(fontsize=7.5)
    return figure


def backtest_figure(study: Study, tasks: Sequence[TaskStudy], methods: Sequence[MethodErrors]) -> Figure:
    """Left: mean error by method and split. Right: predicted against actual accuracy of every held-out run."""
    figure, (left, right) = panels(2, "Back-tests: smaller ladders predict the larger runs", height=4.0)
    figure.set_size_inches(11, 4.8)
    names = [split.name for split in study.splits]
    width = 0.8 / len(methods)
    for m, method in enumerate(methods):
        means = [
            np.concatenate([np.abs(e[t.cells[:, 0] == i]) for e, t in zip(method.errors, tasks, strict=True)]).mean()
            for i in range(len(names))
        ]
        colour = BLUE if m == 0 else (GREY if method.name == "last rung" else COLOURS[(m - 1) % len(COLOURS)])
        left.bar(
            np.arange(len(names)) + (m - (len(methods) - 1) / 2) * width, means, width, color=colour, label=method.name
        )
    left.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names], fontsize=7.5)
    left.set_ylabel("mean error, points")
    left.grid(axis="x", visible=False)
    left.legend(fontsize=8, ncols=2)
    _predicted_against_actual(right, study, tasks)
    return figure


def _predicted_against_actual(axis: Axes, study: Study, tasks: Sequence[TaskStudy]) -> None:
    factor = study.calibration.accuracy80
    for i, task in enumerate(tasks):
        actual, predicted = 100 * task.actual, 100 * (task.actual + study.errors(task))
        colour = COLOURS[i % len(COLOURS)]
        axis.errorbar(
            actual, predicted, yerr=100 * factor * study.deviations(task), fmt="o", markersize=3, color=colour,
            elinewidth=0.6, alpha=0.75, label=task.task.title,
        )  # fmt: skip
    low, high = axis.get_xlim()
    axis.plot([low, high], [low, high], color="#222222", linewidth=0.8)
    axis.set_xlabel("actual accuracy, %")
    axis.set_ylabel("predicted, with 80% interval")
    axis.legend(fontsize=7, ncols=2)


def advice_figure(found: Sequence[Candidate], target: Target) -> Figure:
    """What each candidate costs and how much surer the target gets."""
    figure, (axis,) = panels(1, f"Runs to add for {target.name}", height=4.0)
    figure.set_size_inches(7.5, 4.8)
    for one in found:
        chosen = one.chosen is not None
        axis.plot(one.flops, 100 * one.reduction, "o", color=BLUE if chosen else GREY, markersize=8 if chosen else 5)
        label = f"{one.chosen}. {one.name}" if chosen else one.name
        axis.annotate(label, (one.flops, 100 * one.reduction), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axis.set_xscale("log")
    axis.margins(x=0.15, y=0.15)
    axis.set_xlabel("FLOPs of the run (6ND)")
    axis.set_ylabel("less uncertainty of the target's loss, %")
    return figure


def comparison_figure(rows: Sequence[Comparison], target: Target, rung: str) -> Figure:
    """Predicted differences beside the single-scale ones."""
    figure, (axis,) = panels(1, f"A minus B: predicted at {target.name}, and measured at {rung}", height=4.0)
    figure.set_size_inches(7.5, 0.45 * len(rows) + 1.8)
    places = np.arange(len(rows))
    axis.barh(
        places - 0.2, [100 * (row.a - row.b) for row in rows], 0.38, color=BLUE, label=f"predicted at {target.name}"
    )
    axis.barh(places + 0.2, [100 * row.single for row in rows], 0.38, color=GREY, label=f"measured at {rung}")
    axis.axvline(0, color="#222222", linewidth=0.8)
    axis.set_yticks(places, [f"{row.title} (P = {row.probability:.2f})" for row in rows])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("points of accuracy")
    axis.legend(fontsize=8)
    return figure
