"""Suites: which tasks and which running texts a checkpoint is measured on, out of the configuration's `suite` group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field
from yaml import YAMLError

from evaluate import olmes
from evaluate.names import known_names, words_of
from evaluate.tasks import FORMATS, GoldJsonlSource, GoldTask, JsonlSource, RankedTask, Task
from ladder.bind import LARGEST, Count, Name, NotNegative, Text, bind
from ladder.errors import UserError, shortened, unknown
from ladder.metrics_file import Group, TaskFormat
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
    groups: tuple[Group, ...] = ()

    def select(self, names: list[str], formats: list[str], limit: int | None) -> Suite:
        """The named tasks in the named formats, cut to `limit` documents; an empty list means all.

        A name that is none of the suite's may be any task of the OLMES wheel, by our word or lm-evaluation-harness's.

        Raises:
            UserError: a name or a format that nobody knows, or nothing left.
        """
        own = [*dict.fromkeys(task.name for task in self.tasks), *(loss.name for loss in self.lm_losses)]
        words = [word for name in names for word in ([name] if name in own else self._elsewhere(name, own))]
        added = [task for word in words if word not in own for task in olmes.tasks(word.replace(":", "_"), word)]
        for form in formats:
            if form not in FORMATS:
                raise unknown("format", form, FORMATS)
        tasks = [
            replace(task, limit=min(limit, task.limit or limit)) if limit else task
            for task in {task.key: task for task in (*self.tasks, *added)}.values()
            if (not names or task in added or task.name in words) and (not formats or task.format in formats)
        ]
        losses = tuple(loss for loss in self.lm_losses if not names or loss.name in words)
        if not tasks and not losses:
            raise UserError(f"suite {self.name} has none of {', '.join(names)} in format {', '.join(formats)}")
        keys = reported(tasks)
        groups = tuple(group for group in self.groups if group.weights.keys() <= keys)
        return replace(self, tasks=tuple(tasks), lm_losses=losses, groups=groups)

    def _elsewhere(self, name: str, own: Sequence[str]) -> Sequence[str]:
        """Our words for a name that is none of the suite's."""
        try:
            return words_of(name)
        except KeyError:
            raise unknown(f"task of suite {self.name}", name, [*own, *known_names()]) from None


def reported(tasks: Iterable[Task]) -> set[str]:
    """The names of all that is reported of those tasks: "task.format", and "category.format"."""
    keys = set()
    for task in tasks:
        keys.add(task.key)
        if isinstance(task, RankedTask):
            keys |= {f"{category}.{task.format}" for category in task.categories.values()}
    return keys


@dataclass(frozen=True, kw_only=True)
class _SuiteNode:
    name: Name
    tasks: dict[Name, dict[str, Any]] | None = None
    lm_loss: dict[Name, dict[str, Any]] | None = None
    max_length: Count | None = None
    forward_tokens: NotNegative | None = None
    groups: dict[Name, _GroupNode] | None = None


@dataclass(frozen=True, kw_only=True)
class _GroupNode:
    metric: Literal["bpb", "acc"]
    of: tuple[str, ...]  # "task.format", or the name of a group above


@dataclass(frozen=True, kw_only=True)
class _OlmesNode:
    olmes: str
    formats: tuple[TaskFormat, ...] = FORMATS
    limit: Count | None = None


@dataclass(frozen=True, kw_only=True)
class _JsonlNode:
    rc: Text | None = None
    mc: Text | None = None
    gold: Text | None = None
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
    groups = _groups(where, suite.groups or {}, tasks)
    return Suite(name=suite.name, tasks=tuple(tasks), lm_losses=losses, max_length=suite.max_length, groups=groups)


def _groups(where: str, nodes: Mapping[str, _GroupNode], tasks: Sequence[Task]) -> tuple[Group, ...]:
    """Groups as weights of tasks: each member of a group weighs the same, whether it is a task or a group."""
    groups: dict[str, Group] = {}
    having = {"bpb": reported(tasks), "acc": reported(task for task in tasks if isinstance(task, RankedTask))}
    for name, node in nodes.items():
        known = having[node.metric] | {other for other, group in groups.items() if group.metric == node.metric}
        weights: dict[str, float] = {}
        for member in node.of:
            if member not in known:
                raise unknown(
                    f"task.format, or group of the same metric above, in {where}, group {name}", member, sorted(known)
                )
            inside = groups[member].weights if member in groups else {member: 1.0}
            for key, weight in inside.items():
                weights[key] = weights.get(key, 0.0) + weight / len(node.of)
        if not weights:
            raise UserError(f"{where}, group {name}: of is empty, expected names such as arc_easy.rc")
        groups[name] = Group(name=name, metric=node.metric, weights=weights)
    return tuple(groups.values())


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
            raise UserError(f"{where}: {benchmark.olmes} is there in none of the formats {list(benchmark.formats)}")
        return [replace(task, limit=benchmark.limit) for task in chosen]
    task = bind(_JsonlNode, node, where)
    if not (task.rc or task.mc or task.gold):
        raise UserError(f"{where}: name a JSONL file as rc:, mc: or gold:")
    made: list[Task] = []
    if task.rc:
        source = JsonlSource(path=Path(task.rc))
        made.append(RankedTask(name=name, format="rc", split=task.split, primary=task.primary, source=source))
    if task.mc:
        source = JsonlSource(path=Path(task.mc))
        made.append(RankedTask(name=name, format="mc", split=task.split, primary="acc_raw", source=source))
    if task.gold:
        made.append(GoldTask(name=name, split=task.split, source=GoldJsonlSource(path=Path(task.gold))))
    return made


def _lm_loss(where: str, name: str, node: Mapping[str, Any]) -> LmLoss:
    loss = bind(_LmLossNode, node, where)
    if bool(loss.shards) == bool(loss.text):
        raise UserError(f"{where}: name either shards: (a directory) or text: (a file)")
    if loss.shards:
        return LmLoss(name=name, tokens=loss.tokens, shards=Path(loss.shards), split=loss.split)
    return LmLoss(name=name, tokens=loss.tokens, text=Path(loss.text or ""))
