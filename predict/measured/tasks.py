"""Which measurements make up a task: its parts and their weights, its split, and the accuracy of guessing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ladder.rungs.benchmarks import BENCHMARKS, MMLU_ITEMS

# MMLU is the mean over its four categories by their share of the test questions, rounded as the paper does.
MMLU_WEIGHTS = {name: round(items / sum(MMLU_ITEMS.values()), 3) for name, items in MMLU_ITEMS.items()}

# Accuracy of guessing and number of questions, for measurements that do not carry them.
CHANCE = {name: one.chance for name, one in BENCHMARKS.items()} | dict.fromkeys(MMLU_ITEMS, BENCHMARKS["mmlu"].chance)
ITEMS = {name: one.items for name, one in BENCHMARKS.items()} | MMLU_ITEMS

# Section 2.3: the paper leaves them out, for their accuracy does not rise steadily on its ladder.
LEFT_OUT = ("boolq", "winogrande")
EIGHT = tuple(name for name in BENCHMARKS if name not in LEFT_OUT)  # the tasks of the paper's results

Measurements = Mapping[tuple[str, str], tuple[float, int]]  # (task, split) -> (chance, items)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A weighted mean of measured (task, split) pairs; `chance` is the accuracy of guessing, in [0, 1) or NaN."""

    name: str
    parts: tuple[tuple[str, str], ...]
    weights: tuple[float, ...]
    chance: float
    items: int

    @property
    def title(self) -> str:
        name, _, split = self.name.rpartition(":")
        if name in BENCHMARKS:
            return f"{BENCHMARKS[name].title} ({split})"
        return BENCHMARKS[self.name].title if self.name in BENCHMARKS else self.name

    @property
    def chance_known(self) -> bool:
        return not math.isnan(self.chance)


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """`plain` are the tasks by name, in the paper's order and then by name; `of_splits` each of their splits, by name
    and split as in `arc_easy:val`, which is what a task is called whose split is not the plain one's.

    Without a split the test split is taken where it was measured (paper, section 2.3). Where all four categories of
    MMLU were measured, they are MMLU, and no tasks of their own unless named with their split.
    """

    plain: dict[str, Task]
    of_splits: dict[str, Task]

    @property
    def all(self) -> dict[str, Task]:
        """By everything that a task may be called."""
        return self.of_splits | self.plain


def tasks_of(measured: Measurements) -> Tasks:
    """Every task that has an accuracy."""
    splits: dict[str, list[str]] = {}
    for task, split in sorted(measured):
        splits.setdefault(task, []).append(split)
    tasks = Tasks(plain={}, of_splits={})
    if all(part in splits for part in MMLU_WEIGHTS):
        for split in _ordered(splits["mmlu_stem"]):
            parts = {part: split for part in MMLU_WEIGHTS if split in splits[part]}
            if len(parts) == len(MMLU_WEIGHTS):
                _add(tasks, "mmlu", split, tuple(parts.items()), tuple(MMLU_WEIGHTS.values()), measured)
    inside = set(MMLU_WEIGHTS) if "mmlu" in tasks.plain else set()
    for task in sorted(splits, key=lambda name: (name in inside, _position(name), name)):
        for split in _ordered(splits[task]):
            _add(tasks, task, split, ((task, split),), (1.0,), measured)
    return Tasks(
        plain={name: task for name, task in tasks.plain.items() if name not in inside}, of_splits=tasks.of_splits
    )


def _add(
    tasks: Tasks,
    name: str,
    split: str,
    parts: tuple[tuple[str, str], ...],
    weights: tuple[float, ...],
    measured: Measurements,
) -> None:
    chance = sum(weight * measured[part][0] for weight, part in zip(weights, parts, strict=True))
    called = f"{name}:{split}" if name in tasks.plain else name
    items = sum(measured[part][1] for part in parts)
    task = Task(name=called, parts=parts, weights=weights, chance=chance, items=items)
    tasks.plain.setdefault(name, task)
    tasks.of_splits.setdefault(f"{name}:{split}", task)


def _ordered(splits: list[str]) -> list[str]:
    return sorted(splits, key=lambda split: (split != "test", split))


def _position(name: str) -> int:
    order = list(BENCHMARKS)
    return order.index(name) if name in order else len(order)
