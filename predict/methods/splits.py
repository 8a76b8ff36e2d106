"""The back-tests of a ladder: its smaller parts, each with the larger runs that it would have had to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predict.measured.runs import Run, n_and_d
from predict.measured.same import level_of, levels

MINIMUM_TRAIN = 5
SPARSE = 2  # of a grid's cells per run: with more gaps than that it is no grid
BEYOND = 1.2  # a held-out run counts where it takes at least this times the compute of every run that was fitted


@dataclass(frozen=True, kw_only=True)
class Split:
    """Runs by their place in the ladder: `train` is fitted, `test` lies beyond it."""

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]

    def weights(self, count: int) -> np.ndarray:
        """(count,) 1 for runs that are fitted."""
        row = np.zeros(count)
        row[list(self.train)] = 1.0
        return row


def splits(runs: Sequence[Run]) -> list[Split]:
    """Every smaller ladder inside this one: sizes up to one, multiples up to another, tested on what lies beyond.

    A ladder without such a grid of sizes and multiples is split by compute instead.
    """
    sizes = sorted({run.n for run in runs})
    multiples = levels(run.multiple for run in runs)
    if len(sizes) * len(multiples) > SPARSE * len(runs):
        return _by_compute(runs)
    cuts = []
    for size in sizes[1:]:
        for multiple in multiples[1:]:
            train = [i for i, run in enumerate(runs) if run.n <= size and level_of(run.multiple, multiples) <= multiple]
            name = f"up to {_size_name(runs, size)}, {multiple:.3g}xC"
            cuts.append(_split(runs, name, train))
    by_runs = {split.train: split for split in reversed(cuts) if split is not None}  # a gap makes two cuts the same
    return list(by_runs.values())[::-1] or _by_compute(runs)


def fit_weights(back_tests: Sequence[Split], runs: int) -> np.ndarray:
    """(1 + splits, runs) 1 where a fit uses a run, else 0: of the whole ladder first, then of each back-test."""
    return np.stack([np.ones(runs), *(split.weights(runs) for split in back_tests)])


def held_out(back_tests: Sequence[Split]) -> np.ndarray:
    """(cells, 2) What back-tests predict: the places of a split and of a run beyond it."""
    return np.array([(i, run) for i, split in enumerate(back_tests) for run in split.test], dtype=int).reshape(-1, 2)


def decades_beyond(back_tests: Sequence[Split], runs: Sequence[Run]) -> np.ndarray:
    """(splits, runs) Decades of N·D from what a back-test fits to each run, at least 0."""
    n, d = n_and_d(runs)
    return np.array([decades(n, d, [runs[i] for i in split.train]) for split in back_tests]).reshape(-1, len(runs))


def _by_compute(runs: Sequence[Run]) -> list[Split]:
    order = sorted(range(len(runs)), key=lambda i: runs[i].compute)
    cuts = [
        _split(runs, f"{count} cheapest runs", order[:count])
        for count in range(max(MINIMUM_TRAIN, len(runs) // 2), len(runs))
    ]
    return [split for split in cuts if split is not None]


def _split(runs: Sequence[Run], name: str, train: list[int]) -> Split | None:
    if len(train) < MINIMUM_TRAIN:
        return None
    top = max(runs[i].compute for i in train)
    test = tuple(i for i, run in enumerate(runs) if i not in train and run.compute > BEYOND * top)
    return Split(name=name, train=tuple(train), test=test) if test else None


def _size_name(runs: Sequence[Run], n: float) -> str:
    return next(run.size for run in runs if run.n == n)


def decades(n: np.ndarray, d: np.ndarray, runs: Sequence[Run]) -> np.ndarray:
    """log10 of N·D over the largest N·D among `runs`, at least 0."""
    return np.maximum(np.log10(n * d / max(run.n * run.d for run in runs)), 0.0)
