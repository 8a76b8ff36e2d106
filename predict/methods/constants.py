"""The constants of method `default`, as `scripts/choose_constants.py` chose and wrote them: `constants.json`.

They were chosen on other people's ladders by leaving whole families out. What has no constant here (grids, forms of
curves, priors of the chains) was set before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ladder.files.bind import Count, NotNegative, Positive, bind
from ladder.files.reading import read_json
from predict.fitting.curve_grid import CurvePrior

FILE = Path(__file__).with_name("constants.json")

Part = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The curves' part of a prediction: `few` up to `short` rungs, `many` from `long` on, a line between.

    It is all of it where the rank correlation of accuracy with scale is below `trusted`: chains are no help there.
    """

    few: Part
    many: Part
    short: Count
    long: Count
    trusted: Annotated[float, Field(ge=-1, le=1)]

    def of(self, runs: Any, correlation: Any) -> Any:
        """Of numbers or arrays."""
        return np.where(
            correlation >= self.trusted, np.interp(runs, (self.short, self.long), (self.few, self.many)), 1.0
        )


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Half-widths of accuracy's intervals are `factor80` and `factor95` times `unseen` times sd, where

        sd² = p (1 - p) / items + spread s² + noise g² + (.01)² (drift decades² + unvaried beyond² + rest)

    with s the standard deviation of the curves at the target, g that of a run's accuracy, `decades` those of N·D beyond
    the ladder, and `beyond` those of N beyond a ladder of one N, or of D beyond one of one D. They maximise the
    likelihood of a Student t distribution of the errors of smaller ladders inside finished ones, every class of rungs
    and every family weighing the same. `unseen` is how much wider they must be for families that were left out.
    """

    spread: NotNegative
    noise: NotNegative
    drift: NotNegative
    unvaried: NotNegative
    rest: NotNegative
    factor80: Positive
    factor95: Positive
    unseen: Positive

    def variance(self, items: np.ndarray, terms: np.ndarray) -> np.ndarray:
        """sd² from p (1 - p) / items, (cells,), and what `width_terms` gives."""
        hundredth = 0.01**2
        beyond = [hundredth * self.drift, hundredth * self.unvaried, hundredth * self.rest]
        return np.asarray(items + terms @ np.array([self.spread, self.noise, *beyond]))


def width_terms(s: Any, g: Any, decades: Any, beyond: Any) -> np.ndarray:
    """s², g², decades², beyond² and 1 of `Widths`, (cells, 5)."""
    return np.stack(np.broadcast_arrays(s, g, decades, beyond, 1.0), axis=-1) ** 2


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the constants were chosen on; `smallest_n` are the parameters of the smallest model there.

    `probe` is the mean error in points that the curves with this prior have on a small part of it, `fingerprint` a hash
    of the tables and of the constants: tests find out by them whether either has changed since.
    """

    families: tuple[str, ...]
    cells: Count
    smallest_n: Positive
    kept_back: tuple[str, ...]
    probe: Positive
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Constants:
    """`shares` are for tasks whose loss was not measured, `shares_with_losses` for the others."""

    prior: CurvePrior
    shares: Shares
    shares_with_losses: Shares
    widths: Widths
    origin: Origin


CONSTANTS = bind(Constants, read_json(FILE), FILE.name)
