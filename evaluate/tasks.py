"""What is scored: documents with answer choices, and the tasks that they make up."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ladder.bind import bind, lenient
from ladder.errors import UserError
from ladder.hashing import json_sha256
from ladder.metrics_file import Format
from ladder.reading import read_json_lines, read_sha256

FORMATS: tuple[Format, ...] = ("rc", "mc")


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
        if not all(choice.strip() for choice in self.choices):
            raise UserError(f"document {self.id}: an empty choice cannot be scored")


class Source(Protocol):
    """Where a task's documents come from."""

    def __str__(self) -> str:
        """Names the file."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever the documents do; cheap, so that a cached plan is found without reading them."""

    def documents(self) -> list[Document]: ...


@dataclass(frozen=True, kw_only=True)
class JsonlSource:
    """A file with one JSON object a line: {"context": text or one per choice, "choices": [texts], "gold": index}."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def fingerprint(self) -> str:
        return read_sha256(self.path)

    def documents(self) -> list[Document]:
        documents = [_document(where, bind(_Row, row, where)) for where, row in read_json_lines(self.path)]
        if not documents:
            raise UserError(f"{self.path} holds no documents")
        return documents


@lenient
@dataclass(frozen=True, kw_only=True)
class _Row:
    context: str | tuple[str, ...]
    choices: tuple[str, ...]
    gold: int


def _document(where: str, row: _Row) -> Document:
    contexts = (row.context,) * len(row.choices) if isinstance(row.context, str) else row.context
    return Document(id=where, contexts=contexts, choices=row.choices, gold=row.gold)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A set of documents in one format: RC scores the answer's text, MC its letter."""

    name: str
    format: Format
    split: str
    primary: str  # the accuracy that is reported as "acc"
    source: Source
    limit: int | None = None  # score the first so many documents only, of each group (a subject of MMLU)
    categories: Mapping[str, str] = field(default_factory=dict)  # group -> category that is reported too
    shots: int | None = None  # examples in a prompt, where that is known

    @property
    def key(self) -> str:
        return f"{self.name}.{self.format}"

    def fingerprint(self) -> str:
        limit = ("each", self.limit) if self.limit and self.categories else self.limit
        return json_sha256([self.source.fingerprint(), limit])

    def documents(self) -> list[Document]:
        by_group = itertools.groupby(self.source.documents(), key=lambda document: document.group)
        return [document for _, members in by_group for document in itertools.islice(members, self.limit)]
