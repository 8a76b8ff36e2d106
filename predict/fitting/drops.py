"""What a loss still falls by from a share of a run's training to its end: one shape that all runs of a recipe share.

The curves of well-trained models, less the irreducible loss E and divided by what is left of it at the end, collapse
onto one where N and D grow together (Qiu et al. 2025, arXiv 2507.02119). Where D/N differs between runs, what is left
to fall at a share s of training is a power of N and of D:

    (L(s) - L(1)) / (L(1) - E) = exp(a(s) + b(s) ln(N/N0) + c(s) ln(D/D0))

A schedule needs no term of its own as long as all runs follow the same one: its warmup and decay are in a(s). Where the
decay begins at a share of training (WSD), it is a node, and nothing is interpolated across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

MISFIT = 0.05  # of a drop, relative: what the form leaves unexplained
RIDGE = 4.0  # 1 / variance of the slopes b and c around 0, of all nodes together; data outweigh it in most ladders
ALIKE = 300.0  # 1 / variance of what a slope changes by from one node to the next; 100 to 1000 do alike in back-tests
FEWEST = 3  # runs that a node needs
STEPS = 15  # more change nothing that is shown
LEAST = 1e-6
NODES = 24
BEYOND = 1.02  # shares up to here count as the end: D is known to a percent
REDUCIBLE = 0.1  # at least, of a loss: another run may end below E
EARLIEST = 0.04  # share: before it the warmup rules


@dataclass(frozen=True, kw_only=True)
class DropLaw:
    """`shares` (nodes,) rising, below 1; `coefficients` (nodes, 3): a, b, c; `knee` is where a decay begins, or 0.

    `floor` is E, in the unit of the loss.
    """

    shares: np.ndarray
    coefficients: np.ndarray
    n0: float
    d0: float
    knee: float
    floor: float

    @property
    def start(self) -> float:
        """The first share from which a drop is known; 1 where none is."""
        return float(self.shares[0]) if len(self.shares) else 1.0

    def __call__(self, shares: Any, n: float, d: float) -> np.ndarray:
        """What is left to fall at each share, over the reducible loss at the end; NaN before the first node."""
        shares = np.asarray(shares, dtype=float)
        at = np.exp(self.coefficients @ np.array([1.0, np.log(n / self.n0), np.log(d / self.d0)]))
        ends, left = np.append(self.shares, [1.0, BEYOND]), np.append(at, [0.0, 0.0])
        return interpolated(shares, ends, left, self.knee)

    def before(self, end: float, shares: Any, n: float, d: float) -> np.ndarray:
        """The loss at each share of a run that ends with the loss `end`."""
        return end + self(shares, n, d) * float(_reducible(end, self.floor))

    def end(self, losses: np.ndarray, shares: Any, n: float, d: float) -> np.ndarray:
        """The loss at the end that each of these losses leads to: the inverse of `before`."""
        left = self(shares, n, d)
        ends = (losses + left * self.floor) / (1 + left)
        return np.where(ends - self.floor >= REDUCIBLE * ends, ends, losses / (1 + REDUCIBLE * left))


def nodes(first: float, knee: float) -> np.ndarray:
    """Shares below 1 at which drops are learned: even in their logarithm up to the knee, or to a half; even beyond."""
    middle = knee or 0.5
    early = np.geomspace(first, middle, NODES // 2) if first < middle else np.zeros(0)
    late = np.linspace(max(middle, first), 1.0, NODES // 2 + 1)[1 if len(early) else 0 : -1]
    return np.concatenate([early, late])


def interpolated(at: np.ndarray, shares: np.ndarray, values: np.ndarray, knee: float) -> np.ndarray:
    """Values at the shares `at`, linear in the logarithm of the share; NaN outside, and nothing across the knee.

    Between the last share before the knee and the knee itself a plateau goes on as it was.
    """
    filled = np.full(at.shape, np.nan)
    for low, high in ((0.0, knee), (knee, np.inf)) if knee else ((0.0, np.inf),):
        inside = (shares > low) & (shares <= high * (1 + 1e-9))
        asked = (at > low) & (at <= high * (1 + 1e-9))
        if inside.any():
            x, y = np.log(shares[inside]), values[inside]
            right = np.nan if high == np.inf else y[-1]
            filled = np.where(
                asked, np.interp(np.log(np.where(asked, at, 1.0)), x, y, left=np.nan, right=right), filled
            )
    return filled


def fit_drops(
    n: np.ndarray,
    d: np.ndarray,
    shares: np.ndarray,
    losses: np.ndarray,
    finals: np.ndarray,
    weights: np.ndarray,
    floors: np.ndarray,
    *,
    noise: float,
    knee: float,
) -> list[DropLaw]:
    """A law for each row of `weights` (fits, runs), which holds 1 where a fit uses a run, else 0.

    Weighted least squares over the runs that reach so far back as a node. Slopes change little from one node to the
    next: each node for itself has what noise makes of them, which grows to spikes far beyond the ladder. Nodes that
    fewer than three runs have (or all, where there are fewer) are left out.

    Args:
        losses: (runs, nodes), NaN where a run does not reach so far back.
        finals: (runs,), at the end.
        floors: (fits,), the E of each fit.
        noise: the relative standard deviation of one checkpoint.
        knee: where a decay begins, across which nothing is drawn together; 0 where none does.
    """
    n0, d0 = float(np.exp(np.log(n).mean())), float(np.exp(np.log(d).mean()))
    x = np.stack([np.ones(len(n)), np.log(n / n0), np.log(d / d0)], axis=1)
    left = (losses - finals[:, None]) / _reducible(finals, floors[:, None])[:, :, None]  # (fits, runs, nodes)
    drops = left.transpose(0, 2, 1)
    usable = np.isfinite(drops) & (weights > 0)[:, None, :]
    kept = usable.sum(axis=2) >= np.minimum(FEWEST, (weights > 0).sum(axis=1))[:, None]
    links = np.array([not (low <= knee < high) for low, high in pairwise(shares)])
    coefficients = _log_linear(x, drops, usable & kept[:, :, None], noise, links)
    return [
        DropLaw(
            shares=shares[row],
            coefficients=fit[row],
            n0=n0,
            d0=d0,
            knee=knee,
            floor=float(floor),
        )
        for fit, row, floor in zip(coefficients, kept, floors, strict=True)
    ]


def _reducible(final: Any, floor: Any) -> Any:
    """What of a final loss could still be reduced: at least a tenth, whatever the law says of E."""
    return np.maximum(final - floor, REDUCIBLE * final)


def _log_linear(x: np.ndarray, y: np.ndarray, usable: np.ndarray, noise: float, links: np.ndarray) -> np.ndarray:
    """(fits, nodes, 3): exp(x @ c) to y (fits, nodes, runs) by Gauss-Newton; a drop may be 0 or below, by noise.

    Where `links` (nodes - 1,) holds, the slopes of a node and of the next are drawn together.
    """
    y, counts = np.where(usable, y, 0.0), usable.sum(axis=2)
    fits, count, _ = y.shape
    c = np.zeros((fits, count, 3))
    means = np.maximum(y.sum(axis=2) / np.maximum(counts, 1), max(noise, LEAST))
    c[:, :, 0] = np.where(counts, np.log(means), 0.0)
    penalty = _penalty(count, links)
    of_node = np.arange(count)
    for _ in range(STEPS):
        fitted = np.exp(np.clip(c @ x.T, -30, 10))
        precision = usable / ((MISFIT * fitted) ** 2 + noise**2)
        gram = np.broadcast_to(penalty, (fits, count, 3, count, 3)).copy()
        gram[:, of_node, :, of_node, :] += np.einsum("fkr,ri,rj->kfij", precision * fitted**2, x, x)
        size = (fits, count * 3)
        right = ((precision * fitted * (y - fitted)) @ x).reshape(size)
        right -= c.reshape(size) @ penalty.reshape(count * 3, count * 3)
        step = np.linalg.solve(gram.reshape(*size, count * 3), right[:, :, None]).reshape(c.shape)
        c = c + np.clip(step, -1, 1)
        if np.abs(step).max(initial=0.0) < 1e-4:
            break
    return c


def _penalty(count: int, links: np.ndarray) -> np.ndarray:
    """(nodes, 3, nodes, 3): of slopes that are not 0, and of neighbours that differ."""
    penalty = np.zeros((count, 3, count, 3))
    linked = np.flatnonzero(links)
    steps = np.zeros((len(linked), count))
    steps[np.arange(len(linked)), linked], steps[np.arange(len(linked)), linked + 1] = -1, 1
    penalty[:, 0, :, 0] = 1e-9 * np.eye(count)
    penalty[:, 1, :, 1] = penalty[:, 2, :, 2] = RIDGE / count * np.eye(count) + ALIKE * steps.T @ steps
    return penalty
