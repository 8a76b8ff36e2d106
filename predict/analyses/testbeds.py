"""Finished ladders with which predictions are put to the test: other people's, or one's own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ladder.errors import UserError
from predict.measured.ladder import MINIMUM_RUNGS, Measured
from predict.measured.load import load_ladders
from predict.measured.runs import Run
from predict.measured.same import levels, same

T = TypeVar("T")

BEYOND = 1.2  # a run is held out where it takes at least this times the compute of every rung


@dataclass(frozen=True, kw_only=True)
class Bed:
    """A ladder with its larger runs; `family` is that of its folder, whose ladders share a recipe and a suite."""

    name: str
    family: str
    measured: Measured

    @property
    def runs(self) -> list[Run]:
        """The rungs, and what was trained beyond them, by N and then D."""
        rungs = list(self.measured.rungs)
        largest = max(run.n for run in rungs)
        return rungs + [run for run in self.measured.runs if run.n > 1.01 * largest and run.finished and not run.tag]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A smaller ladder inside a testbed, and the runs beyond it that it has to predict."""

    name: str
    bed: Bed
    rungs: tuple[Run, ...]
    targets: tuple[Run, ...]

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
    return [bed for path in paths for bed in _beds_at(path)]


def _beds_at(path: Path) -> list[Bed]:
    tables = sorted(path.rglob("table*.csv")) if path.is_dir() else []
    if not tables:
        mapping = _mapping_beside(path)
        return [_bed(measured, path, path.stem) for measured in load_ladders(path, mapping)]
    found = []
    for table in tables:
        kind, ladders = table.stem.removeprefix("table").strip("_"), load_ladders(table, _mapping_beside(table))
        for measured in ladders:
            words = [measured.name, kind] if len(ladders) > 1 else [kind or table.parent.name]
            named = replace(measured, name=", ".join(filter(None, words)))
            found.append(_bed(named, table, table.parent.name))
    return found


def _bed(measured: Measured, path: Path, family: str) -> Bed:
    if not measured.rungs:
        raise UserError(f"{path}: no run of ladder {measured.name} is a rung")
    return Bed(name=measured.name, family=family, measured=measured)


def _mapping_beside(path: Path) -> Path | None:
    if not path.is_file():
        return None
    mapping = path.with_name(path.stem.replace("table", "mapping") + ".yaml")
    return mapping if mapping.exists() else None


def parts_by_size(bed: Bed) -> list[Part]:
    """Up to each size but the largest, with all larger runs beyond: at least three rungs."""
    runs, found = bed.runs, []
    sizes = levels(run.n for run in runs)
    for size in sizes[:-1]:
        rungs = tuple(run for run in runs if run.n < size or same(run.n, size))
        if len(rungs) < MINIMUM_RUNGS:
            continue
        top = max(run.n * run.d for run in rungs)
        targets = tuple(run for run in runs if run not in rungs and run.n * run.d > BEYOND * top)
        if targets:
            found.append(Part(name=f"{bed.name} up to {_size_name(size)}", bed=bed, rungs=rungs, targets=targets))
    return found


def _size_name(n: float) -> str:
    return f"{n / 1e9:.3g}B" if n >= 1e9 else f"{n / 1e6:.3g}M"


def random_parts(bed: Bed, random: np.random.Generator, most: int, longest: int = 24) -> list[Part]:
    """Up to `most` smaller ladders of each class of rungs: neighbouring sizes, each with some of the lengths."""
    runs = bed.runs
    sizes, by_length = levels(run.n for run in runs), _lengths(runs)
    lengths = levels(by_length)
    chosen: set[tuple[int, ...]] = set()
    for _ in range(4000):
        first = random.integers(0, len(sizes))
        window = sizes[first : first + random.integers(1, 6)]
        some = random.choice(lengths, random.integers(1, min(6, len(lengths)) + 1), replace=False)
        rungs = tuple(
            i
            for i, run in enumerate(runs)
            if any(same(run.n, size) for size in window) and any(same(by_length[i], one) for one in some)
        )
        if MINIMUM_RUNGS <= len(rungs) <= longest:
            chosen.add(rungs)
    by_class: dict[str, list[Part]] = {}
    for rungs in sorted(chosen):
        top = max(runs[i].n * runs[i].d for i in rungs)
        targets = [run for run in runs if run.n * run.d > BEYOND * top]
        if targets:
            part = Part(name=bed.name, bed=bed, rungs=tuple(runs[i] for i in rungs), targets=_some(targets, random, 4))
            by_class.setdefault(rung_class(len(rungs)), []).append(part)
    return [part for parts in by_class.values() for part in _some(parts, random, most)]


def _lengths(runs: Sequence[Run]) -> list[float]:
    """What distinguishes runs of one size: D where each size has the same ones, else D / N."""
    tokens, multiples = levels(run.d for run in runs), levels(run.multiple for run in runs)
    return [run.d if len(tokens) < len(multiples) else run.multiple for run in runs]


def _some(values: Sequence[T], random: np.random.Generator, most: int) -> tuple[T, ...]:
    if len(values) <= most:
        return tuple(values)
    return tuple(values[i] for i in sorted(random.choice(len(values), most, replace=False)))


CLASSES = {"3": 3, "4-5": 5, "6-7": 7, "8-14": 14, "15+": 10**9}  # name -> the most rungs


def rung_class(rungs: int) -> str:
    return next(name for name, most in CLASSES.items() if rungs <= most)
