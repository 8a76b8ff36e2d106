"""The paper's plots for any ladder: step 1, step 2 and the chained prediction, one panel per task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ladder.rung import Target
from ladder.writing import atomic_file
from predict.fitting.forms import SingleStep
from predict.measured.runs import Run, accuracy_curve
from predict.measured.same import level_of, levels
from predict.methods.base import Estimate, Prediction
from predict.methods.paper import FittedPaper, TaskLaw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour per size, smallest first; dark enough to read on white, and apart for colour-blind readers.
COLOURS = ("#c0392b", "#e08214", "#1b9e5a", "#0d8ba1", "#5e4fa2", "#8c510a", "#d81b60", "#7f7f7f")
MARKERS = ("s", "P", "p", "*", "D", "^", "v", "o")  # the paper's 1xC, 2xC, 5xC, 10xC, and more
TARGET_COLOURS = ("#1f3fbf", "#8e24aa", "#00695c")
BLUE, GREY = TARGET_COLOURS[0], "#9aa3b2"

Shown = Sequence[tuple[Target, Sequence[Prediction]]]  # each target with its predictions, one per law


def panels(count: int, title: str, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of four."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True})
    plt.rcParams.update({"grid.color": "#e6e6e6", "axes.axisbelow": True, "legend.frameon": False})
    columns = min(count, 4)
    rows = -(-count // columns)
    size = (max(3.3 * columns, 5.0), height * rows + 0.8)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    figure.suptitle(title, fontsize=11)
    flat = list(axes.ravel())
    for axis in flat[count:]:
        axis.set_visible(False)
    return figure, flat[:count]


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG and closes the figure."""
    import matplotlib.pyplot as plt

    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
    plt.close(figure)


class Look:
    """Which colour and marker a run has: colour by size, marker by Chinchilla multiple."""

    def __init__(self, runs: Sequence[Run]):
        self.sizes = list(dict.fromkeys(run.size for run in sorted(runs, key=lambda run: run.n)))
        self.multiples = levels(run.multiple for run in runs)

    def colour(self, run: Run) -> str:
        return COLOURS[self.sizes.index(run.size) % len(COLOURS)]

    def marker(self, run: Run) -> str:
        return MARKERS[self.multiples.index(level_of(run.multiple, self.multiples)) % len(MARKERS)]

    def legend(self, figure: Figure, shown: Shown = ()) -> None:
        """One legend under the panels: sizes by colour, multiples by marker, targets."""
        from matplotlib.lines import Line2D

        def dot(marker: str, colour: str, label: str) -> Line2D:
            return Line2D([], [], linestyle="", marker=marker, color=colour, label=label, markersize=6)

        handles = [dot("o", COLOURS[i % len(COLOURS)], size) for i, size in enumerate(self.sizes)]
        handles += [dot(MARKERS[i % len(MARKERS)], "#555555", f"{m:.3g}xC") for i, m in enumerate(self.multiples)]
        for (target, predictions), colour in zip(shown, TARGET_COLOURS, strict=False):
            if any(p.actual is not None for p in predictions):
                handles.append(dot("o", colour, f"{target.name}, measured"))
            handles.append(dot("x", colour, f"{target.name}, predicted"))
        columns = max(int(0.8 * figure.get_figwidth()), 3)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8)


def step1_figure(fitted: FittedPaper, shown: Shown, title: str) -> Figure:
    """Loss against training tokens, a curve per size (paper, figure 3)."""
    figure, axes = panels(len(fitted.laws), title)
    runs, look = fitted.measured.rungs, Look(fitted.measured.rungs)
    for i, (axis, law) in enumerate(zip(axes, fitted.laws, strict=True)):
        losses = fitted.finals(law.task)
        predicted = np.array([law.loss(run.n, run.d) for run in runs])
        axis.set_xscale("log")
        _curves(axis, runs, look, shown, law.loss)
        for run, loss in zip(runs, losses, strict=True):
            axis.plot(run.d, loss, look.marker(run), color=look.colour(run), markersize=6)
        for (target, predictions), colour in zip(shown, TARGET_COLOURS, strict=False):
            mark_target(axis, target.d, predictions[i], colour)
        _token_axis(axis)
        _label(
            axis,
            law.task.title,
            np.abs(predicted / losses - 1).mean(),
            "training tokens D",
            fitted.label,
        )
    look.legend(figure, shown)
    return figure


def step2_figure(fitted: FittedPaper, shown: Shown, title: str) -> Figure:
    """Accuracy against loss over all checkpoints, with the fitted curve (paper, figure 4)."""
    figure, axes = panels(len(fitted.laws), title)
    runs, look = fitted.measured.rungs, Look(fitted.measured.rungs)
    for i, (axis, law) in enumerate(zip(axes, fitted.laws, strict=True)):
        pairs = fitted.pairs(law.task)
        size = 2.5 if sum(len(pair[0]) for pair in pairs) > 400 else 4.0
        for run, (loss, accuracy) in zip(runs, pairs, strict=True):
            axis.plot(loss, 100 * accuracy, look.marker(run), color=look.colour(run), markersize=size, alpha=0.6)
        ours = [predictions[i] for _, predictions in shown]
        ends = [value for p in ours for value in (_value(p.loss), p.actual_loss) if value is not None]
        x, y = np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
        low, high = min([x.min(), *ends]), x.max()
        step2 = _from_loss(law)
        grid = np.linspace(low - 0.03 * (high - low), high, 200)
        axis.plot(grid, 100 * step2(grid), color="#222222", linewidth=1.2)
        for p, colour in zip(ours, TARGET_COLOURS, strict=False):
            _on_curve(axis, law, p, colour, _below(shown, colour))
        _label(
            axis,
            law.task.title,
            np.abs(step2(x) / y - 1).mean(),
            fitted.label,
            "accuracy, %",
        )
    look.legend(figure, shown)
    return figure


def _on_curve(axis: Axes, law: TaskLaw, p: Prediction, colour: str, below: bool) -> None:
    """The target in a step-2 panel: where it is, where the chain puts it, and the error of step 2 alone."""
    step2 = _from_loss(law)
    if p.actual is not None and p.actual_loss is not None:
        error = 100 * (float(step2(p.actual_loss)) / p.actual - 1)
        axis.plot(p.actual_loss, 100 * p.actual, "o", color=colour, markersize=7)
        _annotate(axis, p.actual_loss, 100 * p.actual, f"{error:+.1f}%", colour, below)
    if p.loss is not None:
        axis.plot(p.loss.value, 100 * step2(p.loss.value), "x", color=colour, markersize=8, markeredgewidth=2)


def _value(estimate: Estimate | None) -> float | None:
    return estimate.value if estimate else None


def _from_loss(law: TaskLaw) -> Callable[[Any], Any]:
    if isinstance(law.chain.step2, SingleStep):
        raise ValueError("a single-step law has no step 2 to draw")
    return law.chain.step2


def chained_figure(fitted: FittedPaper, shown: Shown, title: str) -> Figure:
    """Accuracy against training tokens from both steps, a curve per size (paper, figures 1 and 2).

    Curves are the laws'; the crosses and bands of the targets are the predictions', which may be another method's.
    """
    figure, axes = panels(len(fitted.laws), title)
    runs, look = fitted.measured.rungs, Look(fitted.measured.rungs)
    for i, (axis, law) in enumerate(zip(axes, fitted.laws, strict=True)):
        window = fitted.measured.smoothing.window
        finals = np.array([accuracy_curve(run, law.task).final(window) for run in runs])
        predicted = np.array([law.accuracy(run.n, run.d) for run in runs])
        axis.set_xscale("log")
        _curves(axis, runs, look, shown, partial(_points, law))
        for run, accuracy in zip(runs, finals, strict=True):
            axis.plot(run.d, 100 * accuracy, look.marker(run), color=look.colour(run), markersize=6)
        for (target, predictions), colour in zip(shown, TARGET_COLOURS, strict=False):
            p = predictions[i]
            for interval, width in ((p.accuracy.interval95, 1.5), (p.accuracy.interval80, 4)):
                if interval:
                    axis.vlines(
                        target.d, 100 * interval.low, 100 * interval.high, color=colour, linewidth=width, alpha=0.45
                    )
            actual = None if p.actual is None else 100 * p.actual
            _target(
                axis, target.d, 100 * p.accuracy.value, actual, p.error_points, " pt", colour, _below(shown, colour)
            )
        _token_axis(axis)
        _label(axis, law.task.title, np.abs(predicted / finals - 1).mean(), "training tokens D", "accuracy, %")
    look.legend(figure, shown)
    return figure


Curve = Callable[[float, np.ndarray], np.ndarray]


def _curves(axis: Axes, runs: Sequence[Run], look: Look, shown: Shown, law: Curve) -> None:
    first, last = min(run.d for run in runs), max(run.d for run in runs)
    grid = np.geomspace(first / 1.3, last * 1.3, 60)
    for size in look.sizes:
        run = next(run for run in runs if run.size == size)
        axis.plot(grid, law(run.n, grid), color=look.colour(run), linewidth=1.0, alpha=0.8)
    for (target, _), colour in zip(shown, TARGET_COLOURS, strict=False):
        beyond = np.geomspace(min(last, target.d / 3), target.d * 1.3, 60)
        axis.plot(beyond, law(target.n, beyond), "--", color=colour, linewidth=1.0, alpha=0.8)


def _points(law: TaskLaw, n: float, d: np.ndarray) -> Any:
    return 100 * law.accuracy(n, d)


def mark_target(axis: Axes, x: float, p: Prediction, colour: str) -> None:
    """A target's predicted and measured loss at `x`, with the error in percent."""
    _target(axis, x, _value(p.loss), p.actual_loss, p.loss_error_percent, "%", colour, colour != TARGET_COLOURS[0])


def _below(shown: Shown, colour: str) -> bool:
    """Where the label of an accuracy goes: of two targets the first, which is the smaller one, has it below."""
    return len(shown) > 1 and colour == TARGET_COLOURS[0]


def _target(
    axis: Axes,
    x: float,
    predicted: float | None,
    actual: float | None,
    error: float | None,
    unit: str,
    colour: str,
    below: bool,
) -> None:
    if predicted is not None:
        axis.plot(x, predicted, "x", color=colour, markersize=8, markeredgewidth=2)
    if actual is not None and error is not None:
        axis.plot(x, actual, "o", color=colour, markersize=7)
        _annotate(axis, x, actual, f"{error:+.1f}{unit}", colour, below)


def _annotate(axis: Axes, x: float, y: float, text: str, colour: str, below: bool) -> None:
    """A label beside a point, on the side where the panel has room."""
    low, high = axis.get_xlim()
    right = x > (np.sqrt(low * high) if axis.get_xscale() == "log" else (low + high) / 2)
    up = -11 if below else 5
    place, side = ((-7, up), "right") if right else ((7, up), "left")
    axis.annotate(text, (x, y), xytext=place, textcoords="offset points", ha=side, fontsize=8, color=colour)


def _token_axis(axis: Axes) -> None:
    """Labels such as 300M, 1B, 3B; as many as a panel has room for."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_xlim()
    decades = np.log10(high / low)
    steps = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1 else (1.0, 2.0, 5.0)
    axis.xaxis.set_major_locator(LogLocator(subs=steps))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tokens_text(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())


def tokens_text(value: float) -> str:
    """3e9 -> "3B"."""
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= scale:
            return f"{value / scale:g}{unit}"
    return f"{value:g}"


def _label(axis: Axes, title: str, error: float, x: str, y: str) -> None:
    axis.set_title(f"{title} (fit {100 * error:.1f}%)", fontsize=9.5)
    axis.set_xlabel(x, fontsize=8.5)
    axis.set_ylabel(y, fontsize=8.5)
    axis.tick_params(labelsize=8)
