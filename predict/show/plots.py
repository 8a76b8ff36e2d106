"""What every plot shares: a grid of equal cells, so that a page can show each panel by itself; colours; saving."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ladder.files.writing import atomic_file
from predict.measured.counts import short_number
from predict.measured.runs import Run
from predict.measured.same import level_of, levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from PIL.Image import Image

# Apart for colour-blind readers, and in grey: blue, orange, green, purple, brown, grey.
COLOURS = ("#0b62a4", "#e08214", "#1b9e77", "#7b3294", "#8c510a", "#7f7f7f")
BLUE, GREY, INK, SOFT = COLOURS[0], "#9aa3b2", "#1c2230", "#5b6475"
TARGET_COLOURS = ("#d1380b", "#b0177b", "#00695c")
MARKERS = ("s", "P", "p", "*", "D", "^", "v", "X")  # the paper's 1xC, 2xC, 5xC, 10xC, and more
MOST_SIZES = 10  # in a legend

COLUMNS = 3
CELL = (3.6, 3.0)  # inches
MARGINS = {"left": 0.62, "right": 0.16, "top": 0.52, "bottom": 0.52}  # inches, inside a cell
TITLE = 0.4  # inches, above the cells
DPI = 180
STYLE: dict[str, Any] = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9aa3b2",
    "axes.grid": True, "grid.color": "#eceef2", "axes.axisbelow": True, "axes.labelcolor": SOFT, "axes.labelsize": 8.5,
    "xtick.color": SOFT, "ytick.color": SOFT, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.frameon": False,
    "legend.fontsize": 8.5, "text.color": INK,
}  # fmt: skip


class Plot:
    """A figure with `count` panels in equal cells, each `wide` usual widths wide and `height` inches high."""

    def __init__(
        self, count: int, title: str, *, columns: int = COLUMNS, height: float = CELL[1], wide: float = 1.0
    ) -> None:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        plt.rcParams.update(STYLE)  # type: ignore[arg-type]
        self._columns = min(count, columns)
        self._cell = (CELL[0] * wide, height)
        rows = -(-count // self._columns)
        width, top = self._columns * self._cell[0], rows * height
        self.figure: Figure = plt.figure(figsize=(width, top + TITLE))
        self.figure.text(0.17 / width, 1 - 0.12 / (top + TITLE), title, fontsize=11, fontweight="bold", va="top")
        self.axes: list[Axes] = [self._add(*self._place(i), width, top + TITLE, top) for i in range(count)]

    def _place(self, i: int) -> tuple[float, float]:
        """Inches from the left, and down from the title, of a cell."""
        return i % self._columns * self._cell[0], i // self._columns * self._cell[1]

    def _add(self, left: float, down: float, width: float, height: float, top: float) -> Axes:
        inner = (self._cell[0] - MARGINS["left"] - MARGINS["right"], self._cell[1] - MARGINS["top"] - MARGINS["bottom"])
        x, y = left + MARGINS["left"], top - down - self._cell[1] + MARGINS["bottom"]
        return self.figure.add_axes((x / width, y / height, inner[0] / width, inner[1] / height))

    def save(self, path: Path) -> None:
        """Writes a PNG and closes the figure."""
        import matplotlib.pyplot as plt

        with atomic_file(path) as temporary:
            self.figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
        plt.close(self.figure)

    def cut(self, path: Path) -> list[bytes]:
        """The panels of what `save` wrote to `path`, each as a PNG of few colours."""
        from PIL import Image

        picture = Image.open(path).convert("RGB")
        panels = []
        for i in range(len(self.axes)):
            left, down = self._place(i)
            box = (left, TITLE + down, left + self._cell[0], TITLE + down + self._cell[1])
            buffer = io.BytesIO()
            panel = picture.crop(tuple(round(inches * DPI) for inches in box))  # type: ignore[arg-type]
            if not self.axes[i].axison:  # a legend, which does not fill its cell
                panel = panel.crop(_filled(panel))
            panel.quantize(128).save(buffer, format="PNG", optimize=True)
            panels.append(buffer.getvalue())
        return panels


def _filled(panel: Image) -> tuple[int, int, int, int]:
    """The part of a panel, in its whole width, that holds anything, with a little space above and below."""
    from PIL import ImageOps

    space = round(0.15 * DPI)
    _, top, _, bottom = ImageOps.invert(panel).getbbox() or (0, 0, 0, panel.height)
    return 0, max(top - space, 0), panel.width, min(bottom + space, panel.height)


def label(axis: Axes, title: str, subtitle: str, x: str, y: str, moved: float = 0.0) -> None:
    """Title and subtitle above a panel that was `moved` inches to the right, and the names of its axes.

    Words that are wider than the panel's cell are written smaller.
    """
    inside = axis.get_window_extent().width / axis.figure.dpi
    room = inside + 34 / 72 + moved + MARGINS["right"] - 0.04
    for text, up, size, weight, colour in ((title, 22, 10, "bold", INK), (subtitle, 9, 8, "normal", SOFT)):
        written = axis.annotate(
            text, (0, 1), (-34 - 72 * moved, up), xycoords="axes fraction", textcoords="offset points",
            fontsize=size, fontweight=weight, color=colour,
        )  # fmt: skip
        for _ in range(3):  # letters do not shrink evenly
            width = written.get_window_extent().width / axis.figure.dpi
            written.set_fontsize(float(written.get_fontsize()) * min(1.0, room / max(width, 0.01)))
    axis.set_xlabel(x)
    axis.set_ylabel(y)


class Look:
    """Which colour and marker a run has: colour by size, from dark to light, marker by Chinchilla multiple."""

    def __init__(self, runs: Sequence[Run]):
        import matplotlib

        self.sizes = list(dict.fromkeys(run.size for run in sorted(runs, key=lambda run: run.n)))
        self.multiples = levels(run.multiple for run in runs)
        self._repeated = len(self.sizes) < len(runs) and len(self.multiples) > 1
        scale = matplotlib.colormaps["viridis"]
        places = np.linspace(0.0, 0.86, max(len(self.sizes), 2))
        self._colours = [matplotlib.colors.to_hex(scale(place)) for place in places]

    @property
    def marks_multiples(self) -> bool:
        """Whether sizes were trained for several multiples, few enough to tell apart by markers."""
        return self._repeated and len(self.multiples) <= len(MARKERS)

    def colour(self, run: Run) -> str:
        return self._colours[self.sizes.index(run.size)]

    def marker(self, run: Run) -> str:
        return MARKERS[self.multiples.index(level_of(run.multiple, self.multiples))] if self.marks_multiples else "o"

    def handles(self) -> list[Line2D]:
        """Of a legend: sizes, then multiples."""
        step = -(-len(self.sizes) // MOST_SIZES)
        marks = [dot("o", self._colours[i], self.sizes[i]) for i in range(0, len(self.sizes), step)]
        if self.marks_multiples:
            marks += [dot(MARKERS[i], SOFT, f"{m:g}xC") for i, m in enumerate(self.multiples)]
        return marks


def method_looks(names: Sequence[str], baselines: Collection[str]) -> dict[str, tuple[str, str]]:
    """Marker and colour of each method; the `baselines`, two at most, with which all are compared, are grey."""
    plain = iter((("X", GREY), ("v", SOFT)))
    looks = zip(cycle(MARKERS), cycle(COLOURS), strict=False)
    return {name: next(plain if name in baselines else looks) for name in names}


def dot(marker: str, colour: str, name: str, **more: object) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=marker, color=colour, label=name, markersize=6, **more)  # type: ignore[arg-type]


def legend(axis: Axes, handles: Sequence[Line2D]) -> None:
    """Fills a panel with a legend."""
    axis.set_axis_off()
    columns = 2 if len(handles) > 8 else 1
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(-0.12, 0.5), ncols=columns, labelspacing=0.7)


def number_axis(axis: Axes, written: Callable[[float], str] = short_number) -> None:
    """A logarithmic horizontal axis labelled 300M, 1B, 3B; as many labels as a panel has room for."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    low, high = axis.get_xlim()
    decades = np.log10(high / low)
    steps = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)
    axis.xaxis.set_major_locator(LogLocator(subs=steps, numticks=6 if decades > 3 else 12))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())


def place_names(axis: Axes, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Names beside points, each on the first side where it covers no point, no other name and no edge; else left out.

    Earlier names have the better claim. Call it once the axis has its limits.
    """
    figure = axis.figure
    figure.canvas.draw()
    frame = axis.get_window_extent()
    dots = [axis.transData.transform(point) for point in points]
    radius = 3.5 * figure.dpi / 72
    taken: list[tuple[float, float, float, float]] = [(x - radius, y - radius, x + radius, y + radius) for x, y in dots]
    for i, (point, name) in enumerate(zip(points, names, strict=True)):
        for x, y, side in ((7, -3, "left"), (-7, -3, "right"), (0, 7, "center"), (0, -13, "center")):
            text = axis.annotate(name, point, (x, y), textcoords="offset points", ha=side, fontsize=8)
            box = text.get_window_extent()
            inside = box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1
            others = taken[:i] + taken[i + 1 :]
            if inside and not any(box.x0 < c and a < box.x1 and box.y0 < d and b < box.y1 for a, b, c, d in others):
                taken.append((box.x0, box.y0, box.x1, box.y1))
                break
            text.remove()


def widen_left(axis: Axes) -> float:
    """Makes room for the names of a vertical axis, inside the panel's own cell; its rows need no grid lines.

    Returns by how many inches the panel's left side was moved.
    """
    axis.grid(axis="y", visible=False)
    figure = axis.figure
    figure.canvas.draw()
    widest = max(name.get_window_extent().width for name in axis.get_yticklabels()) / figure.dpi
    place = axis.get_position()
    moved = max(widest + 0.2 - MARGINS["left"], 0.0)
    more = moved / figure.get_figwidth()  # type: ignore[union-attr]
    axis.set_position((place.x0 + more, place.y0, place.width - more, place.height))
    return moved
