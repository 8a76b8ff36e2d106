"""A tracked run as a plot: each quantity over the run's tokens, inside the band that the ladder gives for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from predict.analyses.quantities import Quantity
from predict.methods.base import Estimate
from predict.show.plots import BLUE, INK, TARGET_COLOURS, Plot, dot, label, legend, number_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 200
OUT = TARGET_COLOURS[0]
MARGIN = 0.05  # of the height, above and below


def track_plot(title: str, quantities: Sequence[Quantity], d: float) -> Plot:
    """A panel per quantity; `d` is what the run is trained on. Points outside their 95% band are marked."""
    plot = Plot(len(quantities) + 1, title)
    for axis, one in zip(plot.axes, quantities, strict=False):
        _panel(axis, one, d)
    handles = [
        dot("o", BLUE, "checkpoint"),
        dot("D", OUT, "outside, or a spike"),
        dot("s", BLUE, "80% band", alpha=0.3),
        dot("s", BLUE, "95% band", alpha=0.15),
    ]
    legend(plot.axes[-1], handles)
    return plot


def _panel(axis: Axes, one: Quantity, d: float) -> None:
    scale, banded = one.scale, [band is not None for band in one.curve]
    tokens = one.at[banded] * d
    bands = [band for band in one.curve if band is not None]
    for intervals, alpha in (([b.interval95 for b in bands], 0.12), ([b.interval80 for b in bands], 0.2)):
        low = [scale * i.low for i in intervals if i]
        high = [scale * i.high for i in intervals if i]
        axis.fill_between(tokens, low, high, color=BLUE, alpha=alpha, linewidth=0)
    axis.plot(tokens, [scale * band.value for band in bands], color=INK, linewidth=0.9)
    seen = one.own.after(float(one.at[0]) * 0.99)
    skip = max(-(-len(seen.shares) // MOST_POINTS), 1)
    axis.plot(seen.shares[::skip] * d, scale * seen.values[::skip], ".", color=BLUE, markersize=4)
    out = np.array([each.place for each in one.excursions], dtype=int)
    axis.plot(one.own.shares[out] * d, scale * one.own.values[out], "D", color=OUT, markersize=4)
    shown = [seen.values, one.own.values[out], [band.value for band in bands], _ends(bands[-1:])]
    _limit(axis, scale * np.concatenate([np.asarray(values, dtype=float) for values in shown]))
    number_axis(axis)
    label(axis, one.name, "", "tokens", one.unit)


def _ends(bands: Sequence[Estimate]) -> list[float]:
    return [end for band in bands if band.interval95 for end in (band.interval95.low, band.interval95.high)]


def _limit(axis: Axes, values: np.ndarray) -> None:
    """To the run and the line it should follow: a band that is very wide early on would leave no room for them."""
    if len(values) and np.ptp(values) > 0:
        margin = MARGIN * np.ptp(values)
        axis.set_ylim(values.min() - margin, values.max() + margin)
