"""Suites: which tasks and which running texts a checkpoint is measured on, out of the configuration's `suite` group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field
from yaml import YAMLError

from evaluate import olmes
from evaluate.tasks import FORMATS, JsonlSource, Task
from ladder.bind import LARGEST, Count, Name, NotNegative, Text, bind
from ladder.errors import UserError, shortened, unknown
from ladder.metrics_file import Format
from ladder.reading import read_yaml

LongEnough = Annotated[int, Field(ge=2, le=LARGEST)]


@dataclass(frozen=True, kw_only=True)
class LmLoss:
    """A text, or token shards, whose first `tokens` tokens are scored as running text."""

    name: str
    tokens: int
    shards: Path | None = None
    split: str = "val"
    text: Path | None = None

    @property
    def path(self) -> Path:
        path = self.shards or self.text
        assert path is not None  # one of the two is set
        return path


@dataclass(frozen=True, kw_only=True)
class Suite:
    name: str
    tasks: tuple[Task, ...]
    lm_losses: tuple[LmLoss, ...]
    max_length: int | None  # input tokens; None: the model's context

    def select(self, names: list[str], formats: list[str], limit: int | None) -> Suite:
        """The named tasks in the named formats, cut to `limit` documents; an empty list means all."""
        all_names = [*dict.fromkeys(task.name for task in self.tasks), *(loss.name for loss in self.lm_losses)]
        for name in names:
            if name not in all_names:
                raise unknown(f"task of suite {self.name}", name, all_names)
        for form in formats:
            if form not in FORMATS:
                raise unknown("format", form, FORMATS)
        tasks = [
            replace(task, limit=min(limit, task.limit or limit)) if limit else task
            for task in self.tasks
            if (not names or task.name in names) and (not formats or task.format in formats)
        ]
        losses = tuple(loss for loss in self.lm_losses if not names or loss.name in names)
        if not tasks and not losses:
            raise UserError(f"suite {self.name} has none of {', '.join(names)} in format {', '.join(formats)}")
        return replace(self, tasks=tuple(tasks), lm_losses=losses)


@dataclass(frozen=True, kw_only=True)
class _SuiteNode:
    name: Name
    tasks: dict[Name, dict[str, Any]] | None = None
    lm_loss: dict[Name, dict[str, Any]] | None = None
    max_length: Count | None = None
    forward_tokens: NotNegative | None = None


@dataclass(frozen=True, kw_only=True)
class _OlmesNode:
    olmes: str
    formats: tuple[Format, ...] = FORMATS
    limit: Count | None = None


@dataclass(frozen=True, kw_only=True)
class _JsonlNode:
    rc: Text | None = None
    mc: Text | None = None
    split: Text = "test"
    primary: Literal["acc_per_char", "acc_per_byte", "acc_raw"] = "acc_per_char"


@dataclass(frozen=True, kw_only=True)
class _LmLossNode:
    tokens: LongEnough
    shards: Text | None = None
    split: Text = "val"
    text: Text | None = None


def own_suite_node(config_file: Path) -> dict[str, Any]:
    """The suite of a run's config.yaml. Raises UserError where it holds none."""
    config = read_yaml(config_file)
    node = config.get("suite") if isinstance(config, dict) else None
    if not isinstance(node, dict):
        raise UserError(f"{config_file} holds no suite; name one with suite=NAME or suite=FILE.yaml")
    return node


def changed_suite_node(base: dict[str, Any], changes: Sequence[str], where: str) -> dict[str, Any]:
    """`base` with `key.key=value` words put into it. Raises UserError for a word that is none."""
    try:
        merged = OmegaConf.merge(base, OmegaConf.from_dotlist(list(changes)))
        return cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True))
    except (OmegaConfBaseException, YAMLError, ValueError, TypeError) as error:
        raise UserError(f"{where}: {shortened(str(error), 160)}") from None


def suite_from_config(node: Mapping[str, Any] | DictConfig) -> Suite:
    """The suite that the configuration's `suite` group describes.

    Raises:
        UserError: an unknown key, task or accuracy, or a value of the wrong type.
    """
    plain = _plain(node)
    named = plain.get("name") if isinstance(plain, dict) else None
    where = f"suite {shortened(named)}" if isinstance(named, str) else "suite"
    suite = bind(_SuiteNode, plain, where)
    tasks = [task for name, one in (suite.tasks or {}).items() for task in _tasks(f"{where}, task {name}", name, one)]
    losses = tuple(_lm_loss(f"{where}, lm_loss {name}", name, one) for name, one in (suite.lm_loss or {}).items())
    if not tasks and not losses:
        raise UserError(f"{where} has neither tasks nor lm_loss")
    return Suite(name=suite.name, tasks=tuple(tasks), lm_losses=losses, max_length=suite.max_length)


def _plain(node: Any) -> Any:
    if not isinstance(node, DictConfig):
        return node
    try:
        return OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"suite: {shortened(str(error), 160)}") from None


def _tasks(where: str, name: str, node: Mapping[str, Any]) -> list[Task]:
    if "olmes" in node:
        benchmark = bind(_OlmesNode, node, where)
        chosen = [task for task in olmes.tasks(name, benchmark.olmes) if task.format in benchmark.formats]
        if not chosen:
            raise UserError(f"{where}: formats is empty, expected rc, mc or both")
        return [replace(task, limit=benchmark.limit) for task in chosen]
    task = bind(_JsonlNode, node, where)
    files: dict[Format, str | None] = {"rc": task.rc, "mc": task.mc}
    if not any(files.values()):
        raise UserError(f"{where}: name a JSONL file as rc: or mc:")
    return [
        Task(
            name=name,
            format=form,
            split=task.split,
            primary="acc_raw" if form == "mc" else task.primary,
            source=JsonlSource(path=Path(file)),
        )
        for form, file in files.items()
        if file
    ]


def _lm_loss(where: str, name: str, node: Mapping[str, Any]) -> LmLoss:
    loss = bind(_LmLossNode, node, where)
    if bool(loss.shards) == bool(loss.text):
        raise UserError(f"{where}: name either shards: (a directory) or text: (a file)")
    if loss.shards:
        return LmLoss(name=name, tokens=loss.tokens, shards=Path(loss.shards), split=loss.split)
    return LmLoss(name=name, tokens=loss.tokens, text=Path(loss.text or ""))
