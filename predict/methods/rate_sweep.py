"""Where a sweep's optimum lies, by a parabola in the logarithm of the rate; how it moves, and what being off it costs.

Near the optimum a final loss rises with the square of the logarithm of the rate; further off it rises faster, so that a
point counts less the higher it lies. Rates are in octaves: log2 of the factor to the recipe's rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ladder.rungs.rung import parse_run_name, rung_name
from predict.measured.runs import Run

MISFIT = 0.25  # of what a point lies above the lowest: what a parabola leaves unexplained
FEWEST = 3  # points of a parabola


@dataclass(frozen=True, kw_only=True)
class Parabola:
    """ln L = lowest + curvature (x - optimum)², x in octaves; `sd` is the optimum's; `low`, `high` bound the points."""

    lowest: float
    curvature: float
    optimum: float
    sd: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the optimum lies among the points."""
        return self.low <= self.optimum <= self.high

    @property
    def clear(self) -> bool:
        """Whether the optimum is another than the rule's."""
        return abs(self.optimum) > 2 * self.sd

    @property
    def penalty(self) -> float:
        """Relative: by how much the loss at the rule lies above that at the optimum."""
        return self.curvature * self.optimum**2


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The sweep around one rung: final losses by batch and rate, both as factors to the rule."""

    rung: str
    n: float
    d: float
    losses: Mapping[tuple[float, float], float]

    def parabola(self, batch: float, noise: float) -> Parabola | None:
        """Over the rates at one batch; None where they are too few or have no lowest point."""
        points = sorted((lr, loss) for (one, lr), loss in self.losses.items() if one == batch)
        if len(points) < FEWEST:
            return None
        return fit_parabola(np.log2([lr for lr, _ in points]), np.log([loss for _, loss in points]), noise)

    @property
    def batches(self) -> list[float]:
        return sorted({batch for batch, _ in self.losses})


def sweeps_of(runs: Sequence[Run], losses: Mapping[str, float]) -> list[Sweep]:
    """From finished runs and their final losses, by N and then D: each rung that some variation was measured of."""
    by_rung: dict[str, dict[tuple[float, float], float]] = {}
    for run in runs:
        parsed = parse_run_name(run.name)
        if parsed and parsed.variation and run.name in losses:
            points = by_rung.setdefault(rung_name(parsed.size, parsed.multiple), {})
            points[parsed.variation.batch, parsed.variation.lr] = losses[run.name]
    rungs = sorted((run for run in runs if len(by_rung.get(run.name, ())) > 1), key=lambda run: (run.n, run.d))
    return [Sweep(rung=run.name, n=run.n, d=run.d, losses=by_rung[run.name]) for run in rungs]


def fit_parabola(octaves: np.ndarray, logs: np.ndarray, noise: float) -> Parabola | None:
    """`noise` is a run's, relative. None where the points bend downwards."""
    excess = logs - logs.min()
    precision = 1 / (noise**2 + (MISFIT * excess) ** 2)
    x = np.stack([np.ones_like(octaves), octaves, octaves**2], axis=1)
    gram = x.T @ (precision[:, None] * x)
    covariance = np.linalg.inv(gram)
    c0, c1, c2 = (float(value) for value in covariance @ (x.T @ (precision * logs)))
    if c2 <= 0:
        return None
    slope = np.array([0.0, -1 / (2 * c2), c1 / (2 * c2**2)])  # of the optimum, by the coefficients
    return Parabola(
        lowest=c0 - c1**2 / (4 * c2),
        curvature=c2,
        optimum=-c1 / (2 * c2),
        sd=float(np.sqrt(slope @ covariance @ slope)),
        low=float(octaves.min()),
        high=float(octaves.max()),
    )


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the optimum moves, in octaves per doubling: `slope` and its standard deviation."""

    slope: float
    sd: float

    @property
    def clear(self) -> bool:
        return abs(self.slope) > 2 * self.sd


def drift(first: Parabola, second: Parabola, doublings: float) -> Drift:
    sd = float(np.hypot(first.sd, second.sd))
    return Drift(slope=(second.optimum - first.optimum) / doublings, sd=sd / doublings)


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The optimum's offset from the rule, in octaves.

    `at` the smallest rung, and by doublings of N at one multiple and of D at one N; `curvature` is that of all sweeps.
    """

    at: float
    n0: float
    d0: float
    by_n: float
    by_d: float
    curvature: float

    def offset(self, n: np.ndarray | float, d: np.ndarray | float) -> np.ndarray:
        n, d = np.asarray(n, dtype=float), np.asarray(d, dtype=float)
        longer = np.log2(d / n / (self.d0 / self.n0))
        return np.asarray(self.at + self.by_n * np.log2(n / self.n0) + self.by_d * longer)

    def penalty(self, n: np.ndarray | float, d: np.ndarray | float) -> np.ndarray:
        """What the rule costs there, relative."""
        return np.asarray(self.curvature * self.offset(n, d) ** 2)
