"""Finished ladders with which predictions are put to the test: other people's, or one's own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from ladder.errors import UserError
from predict.measured.about import Unexplained
from predict.measured.counts import short_number
from predict.measured.ladder import MINIMUM_RUNGS, Measured
from predict.measured.load import load_ladders
from predict.measured.runs import Run, n_and_d
from predict.measured.same import level_of, levels, same
from predict.methods.intervals import Reach
from predict.methods.splits import BEYOND

T = TypeVar("T")

LENGTHS = (4, 1)  # numbers of lengths, besides all of them
WINDOW = 8  # sizes of a smaller ladder, at most
TARGETS = 4  # of a random smaller ladder, at most


@dataclass(frozen=True, kw_only=True)
class Bed:
    """A ladder with its larger runs; `family` is that of its folder, whose ladders share a recipe and a suite.

    `mapping` is the file that explained its columns, where one lay beside.
    """

    name: str
    family: str
    measured: Measured
    mapping: Path | None = None

    @property
    def runs(self) -> list[Run]:
        """The rungs, and what was trained beyond them, by N and then D."""
        rungs = list(self.measured.rungs)
        largest = max(run.n for run in rungs)
        return rungs + [run for run in self.measured.runs if _above(run.n, largest) and run.finished and not run.tag]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A smaller ladder inside a testbed, and the runs beyond it that it has to predict."""

    name: str
    bed: Bed
    rungs: tuple[Run, ...]
    targets: tuple[Run, ...]

    @cached_property
    def reach(self) -> Reach:
        return Reach.of(*n_and_d(self.rungs))

    def group(self, target: Run) -> str:
        """The class of its number of rungs, or that they do not vary what the target has more of."""
        return UNVARIED if self.reach.unvaried(target.n, target.d) > 0 else rung_class(len(self.rungs))

    @property
    def measured(self) -> Measured:
        """What may be fitted: the rungs alone."""
        return replace(self.bed.measured, rungs=self.rungs, runs=self.rungs, ladder=None, notes=())


def read_testbeds(paths: Sequence[Path]) -> list[Bed]:
    """The ladders at the paths: files, AI2's folder, runs, or folders of `table….csv` beside their `mapping….yaml`.

    Raises:
        UserError: nothing is there, or something that cannot be read as a ladder.
    """
    if twice := [path for path, count in Counter(map(os.path.realpath, paths)).items() if count > 1]:
        raise UserError(f"{twice[0]} is given twice")
    try:
        return [bed for path in paths for bed in _beds_at(path)]
    except Unexplained as error:
        raise UserError(f"{error}; bench takes no mapping: predict collect first, and bench its file") from None


def _beds_at(path: Path) -> list[Bed]:
    tables = sorted(path.rglob("table*.csv")) if path.is_dir() else []
    if not tables:
        mapping = _mapping_beside(path)
        return [_bed(measured, path, path.stem, mapping) for measured in load_ladders(path, mapping)]
    beds = []
    for table in tables:
        kind, mapping = table.stem.removeprefix("table").strip("_"), _mapping_beside(table)
        ladders = load_ladders(table, mapping)
        for measured in ladders:
            words = [measured.name, kind] if len(ladders) > 1 else [kind or table.parent.name]
            named = replace(measured, name=", ".join(filter(None, words)))
            beds.append(_bed(named, table, table.parent.name, mapping))
    return beds


def _bed(measured: Measured, path: Path, family: str, mapping: Path | None) -> Bed:
    if not measured.rungs:
        raise UserError(f"{path}: no run of ladder {measured.name} is a rung")
    return Bed(name=measured.name, family=family, measured=measured, mapping=mapping)


def _mapping_beside(path: Path) -> Path | None:
    if not path.is_file():
        return None
    mapping = path.with_name(path.stem.replace("table", "mapping") + ".yaml")
    return mapping if mapping.exists() else None


def parts_by_size(bed: Bed) -> list[Part]:
    """Up to each size but the largest, with the first one, the first four and all of the lengths that runs of a size
    have: at least three rungs, and all runs that take more beyond."""
    runs = bed.runs
    sizes, by_length = levels(run.n for run in runs), _lengths(runs)
    lengths = levels(by_length)
    parts: dict[tuple[int, ...], Part] = {}
    for size in sizes[:-1]:
        for count in (len(lengths), *LENGTHS):
            longest = lengths[min(count, len(lengths)) - 1]
            rungs = tuple(i for i, run in enumerate(runs) if _up_to(run.n, size) and _up_to(by_length[i], longest))
            if len(rungs) >= MINIMUM_RUNGS and rungs not in parts:
                name = f"{bed.name} up to {short_number(size)}"
                parts[rungs] = _part(bed, name if count >= len(lengths) else f"{name}, {len(rungs)} rungs", rungs)
    return [part for part in parts.values() if part.targets]


def _above(value: float, other: float) -> bool:
    return value > other and not same(value, other)


def _up_to(value: float, most: float) -> bool:
    return value < most or same(value, most)


def _part(bed: Bed, name: str, places: Sequence[int]) -> Part:
    """The runs at these places of the testbed, and what takes more."""
    runs = bed.runs
    top = max(runs[i].n * runs[i].d for i in places)
    targets = tuple(run for i, run in enumerate(runs) if i not in places and run.n * run.d > BEYOND * top)
    return Part(name=name, bed=bed, rungs=tuple(runs[i] for i in places), targets=targets)


def random_parts(bed: Bed, random: np.random.Generator, most: int) -> list[Part]:
    """Up to `most` smaller ladders of each class of rungs: neighbouring sizes, each with some of the lengths."""
    runs = bed.runs
    size, length = _places([run.n for run in runs]), _places(_lengths(runs))
    sizes, lengths = size.max() + 1, length.max() + 1
    chosen: set[tuple[int, ...]] = set()
    for _ in range(4000):
        first = random.integers(0, sizes)
        beyond = first + random.integers(1, WINDOW + 1)
        taken = random.choice(lengths, random.integers(1, min(6, lengths) + 1), replace=False)
        rungs = np.flatnonzero((size >= first) & (size < beyond) & np.isin(length, taken))
        if len(rungs) >= MINIMUM_RUNGS:
            chosen.add(tuple(rungs.tolist()))
    by_class: dict[str, list[Part]] = {}
    for places in sorted(chosen):
        part = _part(bed, bed.name, places)
        if part.targets:
            part = replace(part, targets=some(part.targets, random, TARGETS))
            by_class.setdefault(rung_class(len(places)), []).append(part)
    return [part for parts in by_class.values() for part in some(parts, random, most)]


def _places(values: Sequence[float]) -> np.ndarray:
    """Which of the distinct values each is, in ascending order."""
    distinct = levels(values)
    return np.array([distinct.index(level_of(value, distinct)) for value in values])


def _lengths(runs: Sequence[Run]) -> list[float]:
    """What distinguishes runs of one size: D where each size has the same ones, else D / N."""
    tokens, multiples = levels(run.d for run in runs), levels(run.multiple for run in runs)
    return [run.d if len(tokens) < len(multiples) else run.multiple for run in runs]


def some(values: Sequence[T], random: np.random.Generator, most: int) -> tuple[T, ...]:
    if len(values) <= most:
        return tuple(values)
    return tuple(values[i] for i in sorted(random.choice(len(values), most, replace=False)))


CLASSES = {"3": 3, "4-5": 5, "6-7": 7, "8-14": 14, "15+": 10**9}  # name -> the most rungs
UNVARIED = "one N or D, target beyond it"


def rung_class(rungs: int) -> str:
    return next(name for name, most in CLASSES.items() if rungs <= most)
