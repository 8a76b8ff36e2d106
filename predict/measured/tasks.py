"""Which measurements make up a task: its parts and their weights, its split, and the accuracy of guessing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ladder.errors import unknown

# MMLU is the mean over its four categories by their share of the 14,042 test questions, rounded as the paper does.
MMLU_WEIGHTS = {"mmlu_stem": 0.215, "mmlu_humanities": 0.335, "mmlu_social_sciences": 0.219, "mmlu_other": 0.231}

TITLES = {
    "mmlu": "MMLU",
    "hellaswag": "HellaSwag",
    "arc_challenge": "ARC-Challenge",
    "arc_easy": "ARC-Easy",
    "piqa": "PIQA",
    "csqa": "CommonsenseQA",
    "socialiqa": "Social IQa",
    "openbookqa": "OpenBookQA",
    "boolq": "BoolQ",
    "winogrande": "Winogrande",
}

# Accuracy of guessing, for measurements that do not carry it.
CHANCE = {
    **dict.fromkeys(MMLU_WEIGHTS, 0.25),
    "hellaswag": 0.25,
    "arc_challenge": 0.25,
    "arc_easy": 0.25,
    "piqa": 0.5,
    "csqa": 0.2,
    "socialiqa": 1 / 3,
    "openbookqa": 0.25,
    "boolq": 0.5,
    "winogrande": 0.5,
}

# Documents per task (paper, Table 3; OLMES for the last two): what binomial noise is computed from.
ITEMS = {
    "mmlu_stem": 3018,
    "mmlu_humanities": 4705,
    "mmlu_social_sciences": 3077,
    "mmlu_other": 3242,
    "hellaswag": 10042,
    "arc_challenge": 1172,
    "arc_easy": 2376,
    "piqa": 1838,
    "csqa": 1221,
    "socialiqa": 1954,
    "openbookqa": 500,
    "boolq": 3270,
    "winogrande": 1267,
}

# Section 2.3: no monotone scaling on the paper's ladder, so they are predicted only when asked for.
LEFT_OUT = ("boolq", "winogrande")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A weighted mean of measured (task, split) pairs; `chance` is the accuracy of guessing, in [0, 1]."""

    name: str
    parts: tuple[tuple[str, str], ...]
    weights: tuple[float, ...]
    chance: float
    items: int

    @property
    def title(self) -> str:
        return TITLES.get(self.name, self.name)


def resolve_tasks(
    measured: dict[tuple[str, str], tuple[float, int]], names: Iterable[str] = (), source: str = "the ladder"
) -> list[Task]:
    """The tasks called `names`, or every task worth predicting.

    `measured` maps (task, split) to (chance, items). A name may carry its split, as in `arc_easy:val`; without one
    the test split is taken where it was measured (paper, section 2.3).

    Raises:
        UserError: a name that was not measured.
    """
    known = _known(measured)
    wanted = list(names) or [name for name in known if name not in LEFT_OUT and ":" not in name]
    for name in wanted:
        if name not in known:
            raise unknown(f"task of {source}", name, [name for name in known if ":" not in name])
    return [known[name] for name in wanted]


def _known(measured: dict[tuple[str, str], tuple[float, int]]) -> dict[str, Task]:
    splits: dict[str, list[str]] = {}
    for task, split in sorted(measured):
        splits.setdefault(task, []).append(split)
    tasks: dict[str, Task] = {}
    if all(part in splits for part in MMLU_WEIGHTS):
        for split in _ordered(splits["mmlu_stem"]):
            parts = {part: split for part in MMLU_WEIGHTS if split in splits[part]}
            if len(parts) == len(MMLU_WEIGHTS):
                _add(tasks, "mmlu", split, tuple(parts.items()), tuple(MMLU_WEIGHTS.values()), measured)
    inside = set(MMLU_WEIGHTS) if "mmlu" in tasks else set()
    for task in sorted(splits, key=lambda name: (name in inside, _position(name), name)):
        for split in _ordered(splits[task]):
            _add(tasks, task, split, ((task, split),), (1.0,), measured)
    if inside:  # the categories stay available by name and with their split
        return {name: task for name, task in tasks.items() if name not in inside}
    return tasks


def _add(
    tasks: dict[str, Task],
    name: str,
    split: str,
    parts: tuple[tuple[str, str], ...],
    weights: tuple[float, ...],
    measured: dict[tuple[str, str], tuple[float, int]],
) -> None:
    chance = sum(weight * measured[part][0] for weight, part in zip(weights, parts, strict=True))
    task = Task(name=name, parts=parts, weights=weights, chance=chance, items=sum(measured[part][1] for part in parts))
    tasks.setdefault(name, task)
    tasks.setdefault(f"{name}:{split}", task)


def _ordered(splits: list[str]) -> list[str]:
    return sorted(splits, key=lambda split: (split != "test", split))


def _position(name: str) -> int:
    order = list(TITLES)
    return order.index(name) if name in order else len(order)
