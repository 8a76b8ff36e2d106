"""MMLU's 57 subjects as lm-evaluation-harness names them, which become its four categories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ladder.rungs.benchmarks import MMLU_CATEGORIES, MMLU_SUBJECTS
from predict.measured.tasks import CHANCE, ITEMS

PREFIXES = ("mmlu_", "hendrycksTest-")  # today's and older releases'


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """The subjects of one checkpoint, whose columns are `own`, as they are met.

    `means` has subject -> metric -> (accuracy, questions); `groups` are categories that the harness averaged itself.
    """

    own: dict[str, Any]
    means: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)

    def took(self, name: str, rows: list[dict[str, Any]]) -> bool:
        """Whether the task is a subject: then its rows are no rows of the table."""
        if name in MMLU_CATEGORIES and rows:
            self.groups.add(name)
        subject = next((name.removeprefix(one) for one in PREFIXES if name.startswith(one)), "")
        if subject in MMLU_SUBJECTS and rows:
            self.means[subject] = {row["metric"]: (row["value"], row["items"]) for row in rows}
        return subject in MMLU_SUBJECTS

    def rows(self) -> Iterator[dict[str, Any]]:
        """Of each category whose subjects were all measured: the mean over its questions."""
        for category in self._unaveraged():
            means = [self.means.get(subject, {}) for subject in MMLU_CATEGORIES[category].split()]
            for metric in set.intersection(*map(set, means)):
                values, items = zip(*(one[metric] for one in means), strict=True)
                weights = [count or 1 for count in items]
                mean = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
                place = {"task": category, "split": "test", "items": sum(items) or ITEMS[category]}
                yield self.own | place | {"metric": metric, "value": mean, "chance": CHANCE[category]}

    def unread(self) -> set[str]:
        """Subjects of categories that lack others."""
        partial = {
            category
            for category in self._unaveraged()
            if any(subject not in self.means for subject in MMLU_CATEGORIES[category].split())
        }
        return {f"mmlu_{subject}" for subject in self.means if MMLU_SUBJECTS[subject] in partial}

    def _unaveraged(self) -> list[str]:
        return [category for category in MMLU_CATEGORIES if category not in self.groups]
