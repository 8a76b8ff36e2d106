"""The paper's figures 1 to 16, from AI2's measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from predict.analyses.compute import compute_figure
from predict.analyses.variance import variance_figure
from predict.fitting.forms import ComputeLaw
from predict.reproduction.study import MC_STEPS, PaperStudy, multiple_choice
from predict.show.plots import TARGET_COLOURS, Look, chained_figure, mark_target, panels, step1_figure, step2_figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure


def all_figures(study: PaperStudy) -> dict[str, Callable[[], Figure]]:
    """File name -> what draws it."""

    def steps(method: str, kind: str, count: int = 8) -> Callable[[], Figure]:
        return lambda: _steps(study, method, kind, count)

    found: dict[str, Callable[[], Figure]] = {
        "figure01-step1-mmlu": steps("paper", "step1", 1),
        "figure01-step2-mmlu": steps("paper", "step2", 1),
        "figure01-chained-mmlu": steps("paper", "chained", 1),
        "figure02-chained": steps("paper", "chained"),
        "figure03-step1": steps("paper", "step1"),
        "figure04-step2": steps("paper", "step2"),
        "figure05-checkpoints": lambda: _checkpoints(study, ["mmlu", "openbookqa"], "Figure 5"),
        "figure09-checkpoints": lambda: _checkpoints(study, [task.name for task in study.ten_tasks], "Figure 9"),
        "figure10-multiple-choice": lambda: _multiple_choice(study),
        "figure11-step1-flops": lambda: _flops(study),
        "figure12-step1-taskce": steps("paper-taskce", "step1"),
        "figure13-step2-taskce": steps("paper-taskce", "step2"),
        "figure14-chained-taskce": steps("paper-taskce", "chained"),
        "figure15-step1-c4": lambda: _c4(study),
        "figure15-step2-c4": steps("paper-c4", "step2"),
        "figure15-chained-c4": steps("paper-c4", "chained"),
        "figure16-single-step": steps("paper-single", "chained"),
    }
    for figure, axis in ((6, "flops"), (7, "size"), (8, "multiple")):
        found[f"figure{figure:02d}-compute"] = lambda figure=figure, axis=axis: _compute(study, figure, axis)  # type: ignore[misc]
    return dict(sorted(found.items()))


def _steps(study: PaperStudy, method: str, kind: str, count: int) -> Figure:
    """One of the three plots for the first `count` tasks."""
    fitted = study.fitted[method].first(count)
    shown = [(target, predictions[:count]) for target, predictions in study.shown(method)]
    title = {
        "step1": "Step 1: loss from N and D",
        "step2": "Step 2: accuracy from loss",
        "chained": "Accuracy from N and D",
    }
    heading = f"{title[kind]}, method {method}"
    if kind == "chained":
        return chained_figure(fitted, shown, heading)
    draw = step1_figure if kind == "step1" else step2_figure
    return draw(fitted, shown, heading)


def _c4(study: PaperStudy) -> Figure:
    """The loss on C4 is one law for all tasks."""
    figure = _steps(study, "paper-c4", "step1", 1)
    figure.axes[0].set_title("C4 loss", fontsize=9.5)
    return figure


def _checkpoints(study: PaperStudy, names: list[str], figure: str) -> Figure:
    tasks = [task for task in study.ten_tasks if task.name in names]
    return variance_figure(study.data, tasks, f"{figure}: checkpoints of the largest ladder model")


def _compute(study: PaperStudy, figure: int, axis: str) -> Figure:
    target = study.targets[0]
    steps = study.compute(axis)
    return compute_figure(
        steps, target, study.tasks, axis, f"Figure {figure}: error at {target.name} as the ladder grows"
    )


def _flops(study: PaperStudy) -> Figure:
    """Loss against training FLOPs (figure 11)."""
    fitted = study.fitted["paper-flops"]
    figure, axes = panels(len(fitted.laws), "Step 1: loss from training FLOPs")
    data, look = study.data, Look(study.data.rungs)
    runs = list(data.rungs)
    flops = np.array([data.flops(run.n, run.d) for run in runs])
    for i, (axis, law) in enumerate(zip(axes, fitted.laws, strict=True)):
        losses = fitted.finals(law.task)
        for run, compute, loss in zip(runs, flops, losses, strict=True):
            axis.plot(compute, loss, look.marker(run), color=look.colour(run), markersize=6)
        ends = [data.flops(target.n, target.d) for target in study.targets]
        grid = np.geomspace(flops.min(), max(ends), 100)
        if isinstance(law.chain.step1, ComputeLaw):
            axis.plot(grid, law.chain.step1(grid), color="#222222", linewidth=1.0)
        for (_, predictions), end, colour in zip(study.shown("paper-flops"), ends, TARGET_COLOURS, strict=False):
            mark_target(axis, end, predictions[i], colour)
        axis.set_xscale("log")
        axis.set_title(law.task.title, fontsize=9.5)
        axis.set_xlabel("training FLOPs C", fontsize=8.5)
        axis.set_ylabel("loss", fontsize=8.5)
    look.legend(figure, study.shown("paper-flops"))
    return figure


def _multiple_choice(study: PaperStudy) -> Figure:
    """Multiple-choice accuracy over training, and against task loss with the fits for MMLU (figure 10)."""
    figure, (over, against) = panels(2, "Figure 10: accuracy in the multiple-choice format")
    figure.set_size_inches(11, 4.6)
    runs = {run.name: run for run in study.data.runs}
    for mc, colour in zip(multiple_choice(study, study.tasks[:1]), TARGET_COLOURS, strict=False):
        run = runs[MC_STEPS[mc.target.name][0]]
        for i, task in enumerate(study.tasks):
            curve = run.curve(task, "mc_acc")
            label = f"{mc.target.name}, one line per task" if i == 0 else None
            over.plot(curve.steps, 100 * curve.values, color=colour, linewidth=0.8, alpha=0.7, label=label)
        against.plot(
            mc.loss, 100 * mc.accuracy, "o", color=colour, markersize=3, alpha=0.5, label=f"{mc.target.name}, MMLU"
        )
        grid = np.linspace(mc.actual_loss - 0.02, mc.loss.max(), 100)
        against.plot(grid, 100 * mc.law(grid), color=colour, linewidth=1.2)
        against.plot(mc.actual_loss, 100 * mc.actual, "*", color=colour, markersize=13)
    over.set_xlabel("step")
    over.set_ylabel("accuracy, %")
    over.legend(fontsize=8)
    against.set_xlabel("task loss of MMLU (star: the target at its end)")
    against.set_ylabel("accuracy, %")
    against.legend(fontsize=8)
    return figure
