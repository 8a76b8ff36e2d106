"""The paper's figures 1 to 16, from AI2's measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from predict.analyses.compute import compute_plot
from predict.analyses.variance import variance_plot
from predict.fitting.forms import ComputeLaw
from predict.measured.counts import short_number
from predict.reproduction.paper_study import COMPUTE_FIGURES, MC_STEPS, PaperStudy, multiple_choice
from predict.show.curves import Shown
from predict.show.law_plots import accuracy_plot, mark_target, step1_plot, step2_plot
from predict.show.method_curves import curves_of
from predict.show.plots import INK, TARGET_COLOURS, Look, Plot, dot, label, legend

if TYPE_CHECKING:
    from collections.abc import Callable

    from predict.measured.runs import Curve

Kind = Literal["step1", "step2", "chained"]
GAP = 5  # times what usually lies between two checkpoints


def all_figures(study: PaperStudy) -> dict[str, Callable[[], Plot]]:
    """File name -> what draws it."""

    def steps(figure: int, method: str, kind: Kind, count: int = 8) -> Callable[[], Plot]:
        return lambda: _steps(study, figure, method, kind, count)

    figures: dict[str, Callable[[], Plot]] = {
        "figure01-step1-mmlu": steps(1, "paper", "step1", 1),
        "figure01-step2-mmlu": steps(1, "paper", "step2", 1),
        "figure01-chained-mmlu": steps(1, "paper", "chained", 1),
        "figure02-chained": steps(2, "paper", "chained"),
        "figure03-step1": steps(3, "paper", "step1"),
        "figure04-step2": steps(4, "paper", "step2"),
        "figure05-checkpoints": lambda: _checkpoints(study, ["mmlu", "openbookqa"], "Figure 5"),
        "figure09-checkpoints": lambda: _checkpoints(study, [task.name for task in study.ten_tasks], "Figure 9"),
        "figure10-multiple-choice": lambda: _multiple_choice(study),
        "figure11-step1-flops": lambda: _flops(study),
        "figure12-step1-taskce": steps(12, "paper-taskce", "step1"),
        "figure13-step2-taskce": steps(13, "paper-taskce", "step2"),
        "figure14-chained-taskce": steps(14, "paper-taskce", "chained"),
        "figure15-step1-c4": steps(15, "paper-c4", "step1"),
        "figure15-step2-c4": steps(15, "paper-c4", "step2"),
        "figure15-chained-c4": steps(15, "paper-c4", "chained"),
        "figure16-single-step": steps(16, "paper-single", "chained"),
    }
    for axis, figure in COMPUTE_FIGURES.items():
        figures[f"figure{figure:02d}-compute"] = lambda figure=figure, axis=axis: _compute(study, figure, axis)  # type: ignore[misc]
    return dict(sorted(figures.items()))


def _steps(study: PaperStudy, figure: int, method: str, kind: Kind, count: int) -> Plot:
    """One of the three plots for the first `count` tasks; a loss that is one law for all of them has one panel."""
    curves = curves_of(study.fitted[method].first(count), study.measured)
    shown = [Shown(target=target, predictions=predictions[:count]) for target, predictions in study.shown(method)]
    runs = study.measured.rungs
    if kind == "chained":
        return accuracy_plot(runs, curves, shown, f"Figure {figure}: accuracy from N and D, method {method}")
    chains = [chain for task in curves for chain in task.chains]
    if kind == "step1":
        first = [replace(chains[0], title="Every task")] if chains[0].shared else chains
        return step1_plot(runs, first, shown, f"Figure {figure}: step 1, loss from N and D, method {method}")
    return step2_plot(
        runs, chains, shown, range(count), f"Figure {figure}: step 2, accuracy from loss, method {method}"
    )


def _checkpoints(study: PaperStudy, names: list[str], figure: str) -> Plot:
    tasks = [task for task in study.ten_tasks if task.name in names]
    return variance_plot(study.measured, tasks, f"{figure}: checkpoints of the largest ladder model")


def _compute(study: PaperStudy, figure: int, axis: str) -> Plot:
    target = study.targets[0]
    title = f"Figure {figure}: error at {target.name} as the ladder grows"
    return compute_plot(study.compute(axis), target, study.tasks, axis, title)


def _flops(study: PaperStudy) -> Plot:
    """Loss against training FLOPs (figure 11)."""
    fitted, measured = study.fitted["paper-flops"], study.measured
    plot, look = Plot(len(fitted.laws) + 1, "Figure 11: step 1, loss from training FLOPs"), Look(measured.rungs)
    flops = np.array([measured.flops(run.n, run.d) for run in measured.rungs])
    ends = [measured.flops(target.n, target.d) for target in study.targets]
    grid = np.geomspace(flops.min(), max(ends), 100)
    for i, (axis, law) in enumerate(zip(plot.axes, fitted.laws, strict=False)):
        losses = fitted.finals(law.task)
        for run, compute, loss in zip(measured.rungs, flops, losses, strict=True):
            axis.plot(compute, loss, look.marker(run), color=look.colour(run), markersize=6, mew=0)
        if isinstance(law.chain.step1, ComputeLaw):
            axis.plot(grid, law.chain.step1(grid), color=INK, linewidth=1.0)
        errors = []
        for (target, predictions), end, colour in zip(study.shown("paper-flops"), ends, TARGET_COLOURS, strict=False):
            loss = predictions[i].loss
            mark_target(axis, end, loss.value if loss else None, predictions[i].actual_loss, colour)
            errors.append(f"{target.name} {predictions[i].loss_error_percent:+.1f}%")
        axis.set_xscale("log")
        label(axis, law.task.title, f"error {', '.join(errors)}", "training FLOPs C", "task loss, bits per byte")
    marks = []
    for target, colour in zip(study.targets, TARGET_COLOURS, strict=False):
        marks += [dot("x", colour, f"{target.name} predicted"), dot("o", colour, f"{target.name} measured")]
    legend(plot.axes[-1], [*look.handles(), *marks])
    return plot


def _with_gaps(curve: Curve) -> np.ndarray:
    """The values, NaN at the first checkpoint after a long time without any: no line is drawn over it."""
    apart = np.diff(curve.steps, prepend=curve.steps[0])
    return np.where(apart > GAP * np.quantile(apart, 0.75), np.nan, curve.values)


def _multiple_choice(study: PaperStudy) -> Plot:
    """Multiple-choice accuracy over training, and against task loss with the fits for MMLU (figure 10)."""
    plot = Plot(2, "Figure 10: accuracy in the multiple-choice format", height=4.0, wide=1.4)
    over, against = plot.axes
    runs = {run.name: run for run in study.measured.runs}
    for mc, colour in zip(multiple_choice(study, study.tasks[:1]), TARGET_COLOURS, strict=False):
        run = runs[MC_STEPS[mc.target.name][0]]
        for i, task in enumerate(study.tasks):
            curve = run.curve(task, "mc_acc")
            name = mc.target.name if i == 0 else None
            over.plot(curve.steps, 100 * _with_gaps(curve), color=colour, linewidth=0.8, alpha=0.7, label=name)
        against.plot(mc.loss, 100 * mc.accuracy, "o", color=colour, markersize=3, alpha=0.5, label=mc.target.name)
        grid = np.linspace(mc.actual_loss - 0.02, mc.loss.max(), 100)
        against.plot(grid, 100 * mc.law(grid), color=colour, linewidth=1.2)
        against.plot(mc.actual_loss, 100 * mc.actual, "*", color=colour, markersize=13)
    label(over, "Over training", "one line per task", "step", "accuracy, %")
    label(against, "MMLU from its loss", "star: the target at its end", "task loss, bits per byte", "accuracy, %")
    over.xaxis.set_major_formatter(lambda value, _: short_number(value) if value else "0")
    over.legend()
    against.legend()
    return plot
