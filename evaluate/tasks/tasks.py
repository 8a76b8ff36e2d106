"""What is scored: documents, and the tasks that they make up.

There are two kinds of task. A ranked task has documents with choices, of which one is right: an accuracy and a loss.
A gold task has documents with the right answer alone (code, a worked solution): a loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from ladder.config.task_files import ChoicesRow, GoldRow
from ladder.errors import UserError
from ladder.files.bind import bind
from ladder.files.hashing import json_sha256
from ladder.files.reading import read_json_lines, read_sha256
from ladder.records.metrics_file import Format, TaskFormat


@dataclass(frozen=True, kw_only=True)
class Document:
    """One question. Texts are scored verbatim: the tokens of `contexts[k]` are followed by those of `choices[k]`."""

    id: str
    contexts: tuple[str, ...]  # one per choice; usually the same text (Winogrande's differ)
    choices: tuple[str, ...]
    gold: int
    group: str = ""  # documents of a group begin with the same few-shot prompt (a subject of MMLU)

    def __post_init__(self) -> None:
        if len(self.choices) < 2 or len(self.contexts) != len(self.choices):
            raise UserError(f"document {self.id}: needs at least two choices and as many contexts as choices")
        if not 0 <= self.gold < len(self.choices):
            raise UserError(f"document {self.id}: gold={self.gold} is not a choice of 0 to {len(self.choices) - 1}")
        if not all(self.choices):
            raise UserError(f"document {self.id}: an empty choice cannot be scored")


@dataclass(frozen=True, kw_only=True)
class GoldDocument:
    """One question and its right answer: the tokens of `context` are followed by those of `answer`."""

    id: str
    context: str
    answer: str
    group: str = ""

    def __post_init__(self) -> None:
        if not self.answer:
            raise UserError(f"document {self.id}: an empty answer cannot be scored")

    @property
    def contexts(self) -> tuple[str, ...]:
        return (self.context,)

    @property
    def choices(self) -> tuple[str, ...]:
        return (self.answer,)

    @property
    def gold(self) -> int:
        return 0


AnyDocument = Document | GoldDocument
D = TypeVar("D", Document, GoldDocument)


class Source(Protocol[D]):
    """Where a task's documents come from."""

    def __str__(self) -> str:
        """Names the file."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever the documents do; cheap, so that a cached plan is found without reading them."""

    def documents(self) -> list[D]: ...


@dataclass(frozen=True, kw_only=True)
class JsonlFile:
    """A file of one's own."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def fingerprint(self) -> str:
        return read_sha256(self.path)


@dataclass(frozen=True, kw_only=True)
class JsonlSource(JsonlFile):
    """A file with one JSON object a line: {"context": text or one per choice, "choices": [texts], "gold": index}."""

    def documents(self) -> list[Document]:
        rows = [(where, bind(ChoicesRow, row, where)) for where, row in read_json_lines(self.path)]
        if not rows:
            raise UserError(f"{self.path} holds no documents")
        return [_document(where, row) for where, row in rows]


@dataclass(frozen=True, kw_only=True)
class GoldJsonlSource(JsonlFile):
    """A file with one JSON object a line: {"context": text, "answer": text}."""

    def fingerprint(self) -> str:
        return f"gold:{super().fingerprint()}"  # the same file may hold choices too, which are other documents

    def documents(self) -> list[GoldDocument]:
        rows = [(where, bind(GoldRow, row, where)) for where, row in read_json_lines(self.path)]
        if not rows:
            raise UserError(f"{self.path} holds no documents")
        if blank := [where for where, row in rows if not row.answer.strip()]:
            raise UserError(f"document {blank[0]}: an empty answer cannot be scored")
        return [GoldDocument(id=where, context=row.context, answer=row.answer) for where, row in rows]


def _document(where: str, row: ChoicesRow) -> Document:
    if not all(choice.strip() for choice in row.choices):
        raise UserError(f"document {where}: an empty choice cannot be scored")
    return Document(id=where, contexts=row.contexts, choices=row.choices, gold=row.gold)


@dataclass(frozen=True, kw_only=True)
class _Task(Generic[D]):
    name: str
    split: str
    source: Source[D]
    limit: int | None = None  # score the first so many documents only, of each group (a subject of MMLU)
    shots: int | None = None  # examples in a prompt, where that is known

    def documents(self) -> list[D]:
        by_group = itertools.groupby(self.source.documents(), key=lambda document: document.group)
        return [document for _, members in by_group for document in itertools.islice(members, self.limit)]


@dataclass(frozen=True, kw_only=True)
class RankedTask(_Task[Document]):
    """Documents with choices in one format: RC scores the answer's text, MC its letter."""

    format: Format
    primary: str  # the accuracy that is reported as "acc"
    categories: Mapping[str, str] = field(default_factory=dict)  # group -> category that is reported too

    @property
    def key(self) -> str:
        return f"{self.name}.{self.format}"

    def fingerprint(self) -> str:
        limit = ("each", self.limit) if self.limit and self.categories else self.limit
        return json_sha256([self.source.fingerprint(), limit])


@dataclass(frozen=True, kw_only=True)
class GoldTask(_Task[GoldDocument]):
    """Documents with the right answer alone."""

    format: ClassVar[TaskFormat] = "gold"

    @property
    def key(self) -> str:
        return f"{self.name}.gold"

    def fingerprint(self) -> str:
        return json_sha256([self.source.fingerprint(), self.limit])


Task = RankedTask | GoldTask
