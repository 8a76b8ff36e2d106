"""A page that opens offline: sections with tables and plots, whose panels stand side by side or one below the other."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from ladder.rungs.rung import Target
from predict.measured.ladder import Measured
from predict.show.plots import Plot
from predict.show.tables import Table

_BEFORE_MARK = re.compile(r" (?=[⁰¹²³⁴⁵⁶⁷⁸⁹])")  # of a footnote, which stays beside its name


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a sentence on how to read what follows, panels (base64 PNGs), and tables."""

    title: str
    text: str
    panels: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the template `report.html` shows of a forecast, from top to bottom."""

    target: Target
    headline: str
    lead: str
    warnings: tuple[str, ...]
    table: Table
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    data: Measured
    versions: str
    runs: Table


def section(title: str, text: str, plot: Plot, path: Path, tables: tuple[Table, ...] = ()) -> Section:
    """A section with a plot, which is also written to `path`."""
    plot.save(path)
    panels = tuple(base64.b64encode(panel).decode() for panel in plot.cut(path))
    return Section(title=title, text=text, panels=panels, tables=tables)


def render(page: Page) -> str:
    """The page as HTML; names are escaped."""
    import jinja2

    folder = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["unbroken"] = lambda cell: _BEFORE_MARK.sub("\u00a0", cell)
    return environment.get_template("report.html").render(**vars(page))
