"""The paper's plots for any ladder: step 1, step 2 and the chained prediction, one panel per task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ladder.files import atomic_file
from ladder.rung import Target
from predict.curves import Run
from predict.ladders import LadderData
from predict.laws import ComputeLaw, SingleStep
from predict.paper import TaskLaw, accuracy_curve, step1_points, step2_points
from predict.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour per size, smallest first; dark enough to read on white, and apart for colour-blind readers.
COLOURS = ("#c0392b", "#e08214", "#1b9e5a", "#0d8ba1", "#5e4fa2", "#8c510a", "#7f7f7f")
MARKERS = ("s", "P", "p", "*", "D", "^", "v", "o")  # the paper's 1xC, 2xC, 5xC, 10xC, and more
TARGET_COLOUR = "#1f3fbf"


def panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of four."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True})
    plt.rcParams.update({"grid.color": "#e6e6e6", "axes.axisbelow": True, "figure.dpi": 110, "legend.frameon": False})
    columns = min(count, 4)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(max(3.3 * columns, 5.0), 2.9 * rows + 0.8), squeeze=False, layout="constrained"
    )
    figure.suptitle(title, fontsize=11)
    flat = list(axes.ravel())
    for axis in flat[count:]:
        axis.set_visible(False)
    return figure, flat[:count]


def save(figure: Figure, path: Path) -> None:
    import matplotlib.pyplot as plt

    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
    plt.close(figure)


class Look:
    """Which colour and marker a run has: colour by size, marker by Chinchilla multiple."""

    def __init__(self, runs: Sequence[Run]):
        self.sizes = list(dict.fromkeys(run.size for run in sorted(runs, key=lambda run: run.n)))
        self.multiples = sorted({round(run.multiple, 3) for run in runs})

    def colour(self, run: Run) -> str:
        return COLOURS[self.sizes.index(run.size) % len(COLOURS)]

    def marker(self, run: Run) -> str:
        return MARKERS[self.multiples.index(round(run.multiple, 3)) % len(MARKERS)]

    def legend(self, figure: Figure) -> None:
        """One legend under the panels: sizes by colour, multiples by marker, the target."""
        from matplotlib.lines import Line2D

        def dot(marker: str, colour: str, label: str) -> Line2D:
            return Line2D([], [], linestyle="", marker=marker, color=colour, label=label, markersize=6)

        handles = [dot("o", COLOURS[i % len(COLOURS)], size) for i, size in enumerate(self.sizes)]
        handles += [dot(MARKERS[i % 8], "#555555", f"{m:g}xC") for i, m in enumerate(self.multiples)]
        handles += [dot("o", TARGET_COLOUR, "target, measured"), dot("x", TARGET_COLOUR, "target, predicted")]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 10), fontsize=8)


def step1_figure(
    data: LadderData, laws: Sequence[TaskLaw], predictions: Sequence[Prediction], target: Target, method: str
) -> Figure:
    """Loss against training tokens, a curve per size (paper, figure 3)."""
    figure, axes = panels(len(laws), f"Step 1: loss from N and D ({target.name})")
    runs, look = list(data.rungs), Look(data.rungs)
    for axis, law, prediction in zip(axes, laws, predictions, strict=True):
        if law.step1 is None:
            axis.set_visible(False)
            continue
        losses = step1_points(runs, law.task, method, data.smoothing)
        fitted = np.array([law.loss(run.n, run.d, data.flops(run.n, run.d)) for run in runs])
        _curves(axis, runs, look, target, partial(_loss, law, data))
        for run, loss in zip(runs, losses, strict=True):
            axis.plot(run.d, loss, look.marker(run), color=look.colour(run), markersize=6)
        _target_point(axis, target.d, prediction.loss, prediction.actual_loss, prediction.loss_error_percent, "%")
        _label(axis, prediction.title, np.abs(fitted / losses - 1).mean(), "training tokens D", "loss")
        axis.set_xscale("log")
    look.legend(figure)
    return figure


def step2_figure(
    data: LadderData, laws: Sequence[TaskLaw], predictions: Sequence[Prediction], target: Target, method: str
) -> Figure:
    """Accuracy against loss over all checkpoints, with the fitted curve (paper, figure 4)."""
    figure, axes = panels(len(laws), f"Step 2: accuracy from loss ({target.name})")
    runs, look = list(data.rungs), Look(data.rungs)
    for axis, law, prediction in zip(axes, laws, predictions, strict=True):
        if isinstance(law.step2, SingleStep):
            axis.set_visible(False)
            continue
        pairs = step2_points(runs, law.task, method, data.smoothing)
        for run, (loss, accuracy) in zip(runs, pairs, strict=True):
            axis.plot(loss, 100 * accuracy, look.marker(run), color=look.colour(run), markersize=2.5, alpha=0.6)
        known = [value for value in (prediction.loss, prediction.actual_loss) if value is not None]
        low, high = min(*known, *(p[0].min() for p in pairs)), max(p[0].max() for p in pairs)
        grid = np.linspace(low - 0.03 * (high - low), high, 200)
        axis.plot(grid, 100 * law.step2(grid), color="#222222", linewidth=1.2)
        x = np.concatenate([p[0] for p in pairs])
        y = np.concatenate([p[1] for p in pairs])
        if prediction.actual is not None and prediction.actual_loss is not None:
            given = float(law.step2(prediction.actual_loss))
            axis.plot(prediction.actual_loss, 100 * prediction.actual, "o", color=TARGET_COLOUR, markersize=7)
            _annotate(
                axis, prediction.actual_loss, 100 * prediction.actual, f"{100 * (given / prediction.actual - 1):+.1f}%"
            )
        if prediction.loss is not None:
            at = (prediction.loss, 100 * prediction.accuracy)
            axis.plot(*at, "x", color=TARGET_COLOUR, markersize=8, markeredgewidth=2)
        _label(axis, prediction.title, np.abs(law.step2(x) / y - 1).mean(), "loss", "accuracy, %")
    look.legend(figure)
    return figure


def chained_figure(
    data: LadderData, laws: Sequence[TaskLaw], predictions: Sequence[Prediction], target: Target, method: str
) -> Figure:
    """Accuracy against training tokens from both steps, a curve per size (paper, figures 1 and 2)."""
    figure, axes = panels(len(laws), f"Accuracy from N and D, both steps chained ({target.name})")
    runs, look = list(data.rungs), Look(data.rungs)
    for axis, law, prediction in zip(axes, laws, predictions, strict=True):
        finals = np.array([accuracy_curve(run, law.task).final(data.smoothing.window) for run in runs])
        fitted = np.array([law.accuracy(run.n, run.d, data.flops(run.n, run.d)) for run in runs])
        _curves(axis, runs, look, target, partial(_points, law, data))
        for run, accuracy in zip(runs, finals, strict=True):
            axis.plot(run.d, 100 * accuracy, look.marker(run), color=look.colour(run), markersize=6)
        for low, high, width in ((prediction.low95, prediction.high95, 1.5), (prediction.low80, prediction.high80, 4)):
            if low is not None and high is not None:
                axis.vlines(target.d, 100 * low, 100 * high, color=TARGET_COLOUR, linewidth=width, alpha=0.45)
        actual = None if prediction.actual is None else 100 * prediction.actual
        _target_point(axis, target.d, 100 * prediction.accuracy, actual, prediction.error_points, " pt")
        _label(axis, prediction.title, np.abs(fitted / finals - 1).mean(), "training tokens D", "accuracy, %")
        axis.set_xscale("log")
    look.legend(figure)
    return figure


Curve = Callable[[float, np.ndarray], np.ndarray]


def _curves(axis: Axes, runs: Sequence[Run], look: Look, target: Target, law: Curve) -> None:
    first, last = min(run.d for run in runs), max(run.d for run in runs)
    grid = np.geomspace(first / 1.3, last * 1.3, 60)
    for size in look.sizes:
        run = next(run for run in runs if run.size == size)
        axis.plot(grid, law(run.n, grid), color=look.colour(run), linewidth=1.0, alpha=0.8)
    beyond = np.geomspace(last, target.d * 1.3, 60)
    axis.plot(beyond, law(target.n, beyond), "--", color=TARGET_COLOUR, linewidth=1.0, alpha=0.8)


def _loss(law: TaskLaw, data: LadderData, n: float, d: np.ndarray) -> Any:
    if isinstance(law.step1, ComputeLaw):
        return law.step1(data.flops(n, 1.0) * d)
    return law.step1(n, d) if law.step1 else None


def _points(law: TaskLaw, data: LadderData, n: float, d: np.ndarray) -> Any:
    return 100 * (law.step2(n, d) if isinstance(law.step2, SingleStep) else law.step2(_loss(law, data, n, d)))


def _target_point(
    axis: Axes, x: float, predicted: float | None, actual: float | None, error: float | None, unit: str
) -> None:
    if predicted is not None:
        axis.plot(x, predicted, "x", color=TARGET_COLOUR, markersize=8, markeredgewidth=2)
    if actual is not None and error is not None:
        axis.plot(x, actual, "o", color=TARGET_COLOUR, markersize=7)
        _annotate(axis, x, actual, f"{error:+.1f}{unit}")


def _annotate(axis: Axes, x: float, y: float, text: str) -> None:
    """A label beside a point, on the side where the panel has room."""
    low, high = axis.get_xlim()
    right = x > (np.sqrt(low * high) if axis.get_xscale() == "log" else (low + high) / 2)
    axis.annotate(
        text, (x, y), xytext=(-7 if right else 7, 5), textcoords="offset points", ha="right" if right else "left",
        fontsize=8, color=TARGET_COLOUR,
    )  # fmt: skip


def _label(axis: Axes, title: str, error: float, x: str, y: str) -> None:
    axis.set_title(f"{title} (fit {100 * error:.1f}%)", fontsize=9.5)
    axis.set_xlabel(x, fontsize=8.5)
    axis.set_ylabel(y, fontsize=8.5)
    axis.tick_params(labelsize=8)
