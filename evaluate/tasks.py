"""What is scored: documents with answer choices, and the tasks and suites that they make up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ladder.errors import UserError, unknown
from ladder.hashing import json_sha256, sha256_of
from ladder.metrics_file import Format

FORMATS: tuple[Format, ...] = ("rc", "mc")
ACCURACIES = ("acc_per_char", "acc_per_byte", "acc_raw")


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

    def fingerprint(self) -> str:
        """Changes whenever the documents do; cheap, so that a cached plan is found without reading them."""

    def documents(self) -> list[Document]: ...


@dataclass(frozen=True, kw_only=True)
class JsonlSource:
    """A file with one JSON object a line: {"context": text or one per choice, "choices": [texts], "gold": index}."""

    path: Path

    def fingerprint(self) -> str:
        if not self.path.is_file():
            raise UserError(f"{self.path} does not exist; prepare the suite's data, or name another file")
        return sha256_of(self.path)

    def documents(self) -> list[Document]:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        documents = [self._parse(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        if not documents:
            raise UserError(f"{self.path} holds no documents")
        return documents

    def _parse(self, number: int, line: str) -> Document:
        where = f"{self.path}:{number}"
        try:
            row = json.loads(line)
            contexts, choices, gold = row["context"], row["choices"], row["gold"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f'{where}: needs {{"context", "choices", "gold"}} as JSON ({error})') from None
        if isinstance(contexts, str) and isinstance(choices, list):
            contexts = [contexts] * len(choices)
        texts = [*contexts, *choices] if isinstance(contexts, list) and isinstance(choices, list) else [None]
        if not all(isinstance(text, str) for text in texts) or type(gold) is not int:
            raise UserError(f"{where}: context must be a text or a list of texts, choices texts, gold a whole number")
        return Document(id=where, contexts=tuple(contexts), choices=tuple(choices), gold=gold)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A set of documents in one format: RC scores the answer's text, MC its letter."""

    name: str
    format: Format
    split: str
    primary: str  # the accuracy that is reported as "acc"
    source: Source
    limit: int | None = None  # score the first so many documents only
    categories: Mapping[str, str] = field(default_factory=dict)  # group -> category that is reported too

    @property
    def key(self) -> str:
        return f"{self.name}.{self.format}"

    def fingerprint(self) -> str:
        return json_sha256([self.source.fingerprint(), self.limit])

    def documents(self) -> list[Document]:
        return self.source.documents()[: self.limit]


@dataclass(frozen=True, kw_only=True)
class LmLoss:
    """A text, or token shards, whose first `tokens` tokens are scored as running text."""

    name: str
    tokens: int
    shards: Path | None = None
    split: str = "val"
    text: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Suite:
    name: str
    tasks: tuple[Task, ...]
    lm_losses: tuple[LmLoss, ...]
    max_length: int | None  # input tokens; None: the model's context

    def select(self, names: list[str], formats: list[str], limit: int | None) -> Suite:
        """The named tasks in the named formats, cut to `limit` documents; an empty list means all."""
        known = [*dict.fromkeys(task.name for task in self.tasks), *(loss.name for loss in self.lm_losses)]
        for name in names:
            if name not in known:
                raise unknown(f"task of suite {self.name}", name, known)
        for form in formats:
            if form not in FORMATS:
                raise unknown("format", form, FORMATS)
        tasks = [
            replace(task, limit=limit)
            for task in self.tasks
            if (not names or task.name in names) and (not formats or task.format in formats)
        ]
        losses = tuple(loss for loss in self.lm_losses if not names or loss.name in names)
        if not tasks and not losses:
            raise UserError(f"suite {self.name} has none of {', '.join(names)} in format {', '.join(formats)}")
        return replace(self, tasks=tuple(tasks), lm_losses=losses)


def suite_from_config(node: Mapping[str, Any]) -> Suite:
    """The suite that the configuration's `suite` group describes.

    Raises:
        UserError: an unknown key, task or accuracy, or a value of the wrong type.
    """
    name = str(node["name"])
    _check_keys(f"suite {name}", node, ("name", "tasks", "lm_loss", "max_length", "forward_tokens"))
    tasks = [task for key, value in (node.get("tasks") or {}).items() for task in _tasks(name, str(key), value)]
    losses = tuple(_lm_loss(name, str(key), value) for key, value in (node.get("lm_loss") or {}).items())
    if not tasks and not losses:
        raise UserError(f"suite {name} has neither tasks nor lm_loss")
    return Suite(name=name, tasks=tuple(tasks), lm_losses=losses, max_length=node.get("max_length"))


def _tasks(suite: str, name: str, node: Mapping[str, Any]) -> list[Task]:
    from evaluate import olmes

    where = f"suite {suite}, task {name}"
    if "olmes" in node:
        _check_keys(where, node, ("olmes", "formats", "limit"))
        chosen = [str(form) for form in node.get("formats", FORMATS)]
        for form in chosen:
            if form not in FORMATS:
                raise unknown(f"format ({where})", form, FORMATS)
        limit = node.get("limit")
        if limit is not None and (type(limit) is not int or limit < 1):
            raise UserError(f"{where}: limit={limit} must be a whole number of at least 1")
        return [replace(task, limit=limit) for task in olmes.tasks(name, str(node["olmes"])) if task.format in chosen]
    _check_keys(where, node, ("split", "primary", *FORMATS))
    forms: list[Format] = [form for form in FORMATS if node.get(form)]
    if not forms:
        raise UserError(f"{where}: name a JSONL file as rc: or mc:")
    primary = str(node.get("primary", "acc_per_char"))
    if primary not in ACCURACIES:
        raise unknown(f"accuracy ({where}, primary)", primary, ACCURACIES)
    return [
        Task(
            name=name,
            format=form,
            split=str(node.get("split", "test")),
            primary="acc_raw" if form == "mc" else primary,
            source=JsonlSource(path=Path(node[form])),
        )
        for form in forms
    ]


def _lm_loss(suite: str, name: str, node: Mapping[str, Any]) -> LmLoss:
    where = f"suite {suite}, lm_loss {name}"
    _check_keys(where, node, ("shards", "split", "text", "tokens"))
    tokens = node.get("tokens")
    if not isinstance(tokens, int) or tokens < 2:
        raise UserError(f"{where}: tokens={tokens!r} must be a whole number of at least 2")
    if bool(node.get("shards")) == bool(node.get("text")):
        raise UserError(f"{where}: name either shards: (a directory) or text: (a file)")
    if node.get("shards"):
        return LmLoss(name=name, tokens=tokens, shards=Path(node["shards"]), split=str(node.get("split", "val")))
    return LmLoss(name=name, tokens=tokens, text=Path(node["text"]))


def _check_keys(where: str, node: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in node:
        if key not in known:
            raise unknown(f"key of {where}:", str(key), known)
