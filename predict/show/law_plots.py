"""The paper's plots for any ladder and method: step 1, step 2 and accuracy over the ladder, a panel per task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ladder.rungs.rung import Target
from predict.measured.runs import Run, n_and_d
from predict.methods.base import Prediction
from predict.methods.loss_fits import LossFit
from predict.methods.losses import FittedLosses, LossPrediction
from predict.show.curves import DrawnChain, Horizontal, OfSize, Shown, TaskCurves, horizontal, paths
from predict.show.plots import GREY, INK, TARGET_COLOURS, Look, Plot, dot, label, legend, number_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLOSE = 0.002  # of accuracy: nearer than that a member's value and the mean are one point
MANY_POINTS = 400


def accuracy_plot(runs: Sequence[Run], curves: Sequence[TaskCurves], shown: Sequence[Shown], title: str) -> Plot:
    """Accuracy of the rungs, the method's curves, and the targets (paper, figures 1 and 2)."""
    plot, look, axis = Plot(len(curves) + 1, title), Look(runs), horizontal(runs)
    for i, (panel, task) in enumerate(zip(plot.axes, curves, strict=False)):
        predictions = [one.predictions[i] for one in shown]
        _curves(panel, runs, look, shown, task.accuracy, scale=100)
        _points(panel, runs, look, axis, 100 * task.finals)
        for one, p, colour in zip(shown, predictions, TARGET_COLOURS, strict=False):
            _interval(panel, axis.of(one.target), p, colour)
            mark_target(panel, axis.of(one.target), 100 * p.accuracy.value, _percent(p.actual), colour)
        number_axis(panel)
        fit = _fit_at_rungs(runs, task.accuracy, task.finals)
        label(panel, task.title, _accuracy_words(shown, predictions, fit), axis.label, "accuracy, %")
    _legend(plot, look, shown, _line_name(axis))
    return plot


def step1_plot(runs: Sequence[Run], chains: Sequence[DrawnChain], shown: Sequence[Shown], title: str) -> Plot:
    """The feature of the rungs' last checkpoints, and step 1's curves (paper, figure 3)."""
    plot, look, axis = Plot(len(chains) + 1, title), Look(runs), horizontal(runs)
    for panel, chain in zip(plot.axes, chains, strict=False):
        _curves(panel, runs, look, shown, chain.step1)
        _points(panel, runs, look, axis, chain.finals)
        errors = []
        for one, colour in zip(shown, TARGET_COLOURS, strict=False):
            predicted, actual = float(chain.step1(one.target.n, one.target.d)), chain.actual(one.target)
            mark_target(panel, axis.of(one.target), predicted, actual, colour)
            errors += [] if actual is None else [f"{_name(one, shown)}{predicted / actual - 1:+.1%}"]
        number_axis(panel)
        words = [
            *([f"error {', '.join(errors)}"] if errors else []),
            _fit_at_rungs(runs, chain.step1, chain.finals),
        ]
        label(panel, chain.title, ", ".join(words), axis.label, chain.feature)
    _legend(plot, look, shown, _line_name(axis))
    return plot


def losses_plot(runs: Sequence[Run], fitted: FittedLosses, losses: Sequence[LossPrediction], target: Target) -> Plot:
    """Losses that have no accuracy over the ladder, their laws, and the target with its intervals."""
    title = f"Losses without an accuracy over the ladder, and {target.name}"
    plot, look, axis = Plot(len(losses) + 1, title), Look(runs), horizontal(runs)
    shown, colour = [Shown(target=target, predictions=())], TARGET_COLOURS[0]
    for panel, fit, one in zip(plot.axes, fitted.fitted.fits, losses, strict=False):
        law = partial(_mean_loss, fit)
        _curves(panel, runs, look, shown, law)
        _points(panel, runs, look, axis, fit.finals)
        for interval, width in ((one.loss.interval95, 1.5), (one.loss.interval80, 4.5)):
            if interval is not None:
                panel.vlines(axis.of(target), interval.low, interval.high, color=colour, linewidth=width, alpha=0.35)
        mark_target(panel, axis.of(target), one.loss.value, one.actual, colour)
        number_axis(panel)
        error = "" if one.error_percent is None else f"error {one.error_percent:+.1f}%, "
        words = f"{error}{_fit_at_rungs(runs, law, fit.finals)}"
        label(panel, one.task.title, words, axis.label, f"loss, {one.task.unit}")
    _legend(plot, look, shown, _line_name(axis))
    return plot


def _mean_loss(fit: LossFit, n: Any, d: Any) -> np.ndarray:
    return fit.laws(n, d)[0][0]


def step2_plot(
    runs: Sequence[Run], chains: Sequence[DrawnChain], shown: Sequence[Shown], tasks: Sequence[int], title: str
) -> Plot:
    """Accuracy against the feature over all checkpoints, and step 2 (paper, figure 4).

    `tasks` are the places of the chains' tasks among the predictions. Where the chain is a part of an average, its own
    value is the open circle on the curve and the prediction stands off it.
    """
    plot, look = Plot(len(chains) + 1, title), Look(runs)
    for panel, chain, place in zip(plot.axes, chains, tasks, strict=False):
        size = 2.0 if sum(len(x) for x, _ in chain.clouds) > MANY_POINTS else 4.5
        for run, (x, y) in zip(runs, chain.clouds, strict=True):
            panel.plot(x, 100 * y, look.marker(run), color=look.colour(run), markersize=size, alpha=0.55, mew=0)
        ends = [_step2_target(panel, chain, one, place, c) for one, c in zip(shown, TARGET_COLOURS, strict=False)]
        x, y = (
            np.concatenate([cloud[0] for cloud in chain.clouds]),
            np.concatenate([cloud[1] for cloud in chain.clouds]),
        )
        low, high = min([x.min(), *(value for end in ends for value in end)]), x.max()
        grid = np.linspace(low - 0.04 * (high - low), high, 200)
        panel.plot(grid, 100 * chain.step2(grid), color=INK, linewidth=1.2)
        label(panel, chain.title, _step2_words(chain, shown, place, x, y), chain.feature, "accuracy, %")
    _legend(plot, look, shown, members=bool(chains) and bool(chains[0].name))
    return plot


def _step2_target(panel: Axes, chain: DrawnChain, one: Shown, place: int, colour: str) -> list[float]:
    """Marks a target, and returns where it lies along the feature."""
    p, loss, actual = one.predictions[place], float(chain.step1(one.target.n, one.target.d)), chain.actual(one.target)
    own = float(chain.step2(loss))
    if abs(own - p.accuracy.value) > CLOSE:
        panel.plot(loss, 100 * own, "o", color=colour, markersize=6, markerfacecolor="white")
        panel.plot([loss, loss], [100 * own, 100 * p.accuracy.value], ":", color=colour, linewidth=1)
    mark_target(panel, loss, 100 * p.accuracy.value, None, colour)
    if actual is not None and p.actual is not None:
        mark_target(panel, actual, None, 100 * p.actual, colour)
    return [loss] if actual is None else [loss, actual]


def _step2_words(chain: DrawnChain, shown: Sequence[Shown], place: int, x: np.ndarray, y: np.ndarray) -> str:
    errors = []
    for one in shown:
        actual, accuracy = chain.actual(one.target), one.predictions[place].actual
        if actual is not None and accuracy:
            errors.append(f"{_name(one, shown)}{float(chain.step2(actual)) / accuracy - 1:+.1%}")
    words = [f"error given its loss {', '.join(errors)}"] if errors else []
    return ", ".join([*words, _fit(chain.step2(x), y)])


def _accuracy_words(shown: Sequence[Shown], predictions: Sequence[Prediction], fit: str) -> str:
    if len(shown) > 1:
        errors = [
            f"{one.target.name} {p.error_points:+.1f}"
            for one, p in zip(shown, predictions, strict=True)
            if p.error_points is not None
        ]
        words = [f"error {', '.join(errors)} points"] if errors else []
    else:
        p = predictions[0]
        words = [f"predicted {100 * p.accuracy.value:.1f}"]
        words += [] if p.actual is None else [f"measured {100 * p.actual:.1f}"]
    return ", ".join([*words, fit])


def _name(one: Shown, shown: Sequence[Shown]) -> str:
    return f"{one.target.name} " if len(shown) > 1 else ""


def _fit_at_rungs(runs: Sequence[Run], law: OfSize, measured: np.ndarray) -> str:
    return _fit(np.asarray(law(*n_and_d(runs))), measured)


def _fit(fitted: np.ndarray, measured: np.ndarray) -> str:
    """The mean relative error of a curve where what was measured is above 0."""
    above = measured > 0
    return f"fit {np.abs(fitted[above] / measured[above] - 1).mean():.1%}" if above.any() else "all measured are 0"


def _points(panel: Axes, runs: Sequence[Run], look: Look, axis: Horizontal, values: np.ndarray) -> None:
    size = 6 if len(runs) <= 40 else 3.5
    for run, value in zip(runs, values, strict=True):
        panel.plot(axis.of(run), value, look.marker(run), color=look.colour(run), markersize=size, mew=0)


def _curves(
    panel: Axes, runs: Sequence[Run], look: Look, shown: Sequence[Shown], law: OfSize, scale: float = 1.0
) -> None:
    colours = iter(TARGET_COLOURS)
    for path in paths(runs, [one.target for one in shown]):
        colour = next(colours) if path.ahead else look.colour(path.run) if path.run else GREY
        line: dict[str, Any] = {"linestyle": (0, (4, 2))} if path.ahead else {}
        panel.plot(path.x, scale * np.asarray(law(path.n, path.d)), color=colour, linewidth=1.1, **line)


def _interval(panel: Axes, x: float, p: Prediction, colour: str) -> None:
    for interval, width in ((p.accuracy.interval95, 1.5), (p.accuracy.interval80, 4.5)):
        if interval is not None:
            panel.vlines(x, 100 * interval.low, 100 * interval.high, color=colour, linewidth=width, alpha=0.35)


def mark_target(panel: Axes, x: float, predicted: float | None, actual: float | None, colour: str) -> None:
    """A target's predicted and measured value at `x`."""
    if actual is not None:
        panel.plot(x, actual, "o", color=colour, markersize=7.5, markeredgecolor="white", markeredgewidth=0.8, zorder=4)
    if predicted is not None:
        panel.plot(x, predicted, "x", color=colour, markersize=8, markeredgewidth=2.2, zorder=5)


def _line_name(axis: Horizontal) -> str:
    return "a model of its size" if axis.tokens else "on to the target"


def _legend(plot: Plot, look: Look, shown: Sequence[Shown], line: str = "", *, members: bool = False) -> None:
    """In the last panel: sizes by colour, multiples by marker, targets; `line` says what the dashed one is."""
    from matplotlib.lines import Line2D

    handles = look.handles()
    for one, colour in zip(shown, TARGET_COLOURS, strict=False):
        name = f"{one.target.name} " if len(shown) > 1 else ""
        handles.append(dot("x", colour, f"{name}predicted", markeredgewidth=2.2))
        if any(p.actual is not None for p in one.predictions):
            handles.append(dot("o", colour, f"{name}measured"))
        if members:
            handles.append(dot("o", colour, "by this step alone", markerfacecolor="white"))
        if line:
            handles.append(Line2D([], [], color=colour, linestyle=(0, (4, 2)), linewidth=1.1, label=line))
    legend(plot.axes[-1], handles)


def _percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else 100 * accuracy
