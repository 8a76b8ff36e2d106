"""How wide the intervals of an accuracy by method `default` are, and what that rests on.

A ladder's own back-tests say next to nothing about how far off its later predictions will be (a correlation of .07
between ladders), so widths are learned from other model families.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ladder.files.bind import Positive
from predict.measured.same import levels
from predict.methods.base import Estimate, Interval
from predict.methods.constants import CONSTANTS, width_terms
from predict.methods.noise import item_variance
from predict.notes import Note, note, warning

UNLIKE = 1.5  # times as wide for a ladder of smaller models than those of every family: a precaution, not learned


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far a ladder goes: its largest N·D, N and D, and whether it has one N, one D alone."""

    top: Positive
    largest_n: Positive
    largest_d: Positive
    one_n: bool
    one_d: bool

    @classmethod
    def of(cls, n: np.ndarray, d: np.ndarray) -> Reach:
        """Of runs with these N and D, (runs,)."""
        return cls(
            top=float((n * d).max()),
            largest_n=float(n.max()),
            largest_d=float(d.max()),
            one_n=len(levels(n.tolist())) == 1,
            one_d=len(levels(d.tolist())) == 1,
        )

    def beyond(self, n: float, d: float) -> float:
        """Decades of N·D from the ladder to (n, d), at least 0."""
        return max(math.log10(n * d / self.top), 0.0)

    def unvaried(self, n: float, d: float) -> float:
        """Decades beyond the ladder of what it does not vary: of N where it has one N, of D where it has one D."""
        of_n = math.log10(n / self.largest_n) if self.one_n else 0.0
        return max(of_n, math.log10(d / self.largest_d) if self.one_d else 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the intervals of a ladder rest on: how far it reaches."""

    reach: Reach

    @property
    def unlike(self) -> bool:
        """Whether the ladder's models are smaller than all those that accuracy's widths were learned from."""
        return self.reach.largest_n < CONSTANTS.origin.smallest_n

    def accuracy(self, value: float, n: float, d: float, *, spread: float, noise: float, items: int) -> Estimate:
        """A prediction for (n, d) with its intervals; `spread` and `noise` are s and g of `Widths`."""
        widths, reach = CONSTANTS.widths, self.reach
        terms = width_terms(np.array([spread]), noise, reach.beyond(n, d), reach.unvaried(n, d))
        sd = float(np.sqrt(widths.variance(item_variance(np.array([value]), items), terms)[0]))
        sd *= widths.unseen * (UNLIKE if self.unlike else 1.0)
        half80, half95 = widths.factor80 * sd, widths.factor95 * sd
        return Estimate(
            value=value,
            interval80=Interval(low=max(value - half80, 0.0), high=min(value + half80, 1.0)),
            interval95=Interval(low=max(value - half95, 0.0), high=min(value + half95, 1.0)),
        )

    def notes(self, n: float, d: float) -> list[Note]:
        """What the intervals at (n, d) rest on, with a warning where that is little."""
        origin, reach = CONSTANTS.origin, self.reach
        notes = [warning("target-inside")] if n * d <= reach.top else []
        notes.append(note("intervals-learned", families=len(origin.families), unseen=CONSTANTS.widths.unseen - 1))
        if self.unlike:
            notes.append(warning("ladder-unlike", largest=reach.largest_n, smallest=origin.smallest_n, factor=UNLIKE))
        if reach.unvaried(n, d) > 0:
            what = [name for name, one in (("N", reach.one_n), ("D", reach.one_d)) if one]
            notes.append(warning("unvaried", what=" and ".join(what), decades=reach.unvaried(n, d)))
        return notes
