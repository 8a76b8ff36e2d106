"""Suites: which tasks and which running texts a checkpoint is measured on, out of the configuration's `suite` group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evaluate.tasks import olmes
from evaluate.tasks.names import known_names, words_of
from evaluate.tasks.tasks import GoldJsonlSource, GoldTask, JsonlSource, RankedTask, Task
from ladder.config.suite_settings import SPLIT, GroupSettings, LmLossSettings, SuiteSettings, TaskSettings
from ladder.errors import UserError, unknown
from ladder.records.metrics_file import FORMATS, Group, group_entry, text_entry


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
    entries: Mapping[str, str] = field(default_factory=dict)  # what each is by its hash

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
            raise UserError(f"suite {self.name} has no {' or '.join(names) or 'task'} in format {', '.join(formats)}")
        keys = reported(tasks)
        groups = tuple(group for group in self.groups if group.weights.keys() <= keys)
        chosen = replace(self, tasks=tuple(tasks), lm_losses=losses, groups=groups)
        return replace(chosen, entries={} if limit else self._entries_in(chosen))

    def _entries_in(self, part: Suite) -> dict[str, str]:
        """The entries that are measured in whole where only `part` is."""
        cut = {task.name for task in self.tasks if task not in part.tasks}
        names = {task.name for task in part.tasks} - cut
        names |= {text_entry(loss.name) for loss in part.lm_losses}
        names |= {group_entry(group.name) for group in part.groups}
        return {name: sha256 for name, sha256 in self.entries.items() if name in names}

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


def make_suite(settings: SuiteSettings) -> Suite:
    """Raises UserError for a task that OLMES does not have, and for a group of what is not there."""
    where = f"suite {settings.name}"
    named = (settings.tasks or {}).items()
    tasks = [task for name, one in named for task in _tasks(f"{where}, task {name}", name, one)]
    return Suite(
        name=settings.name,
        tasks=tuple(tasks),
        lm_losses=tuple(_lm_loss(name, one) for name, one in (settings.lm_loss or {}).items()),
        max_length=settings.max_length,
        groups=_groups(where, settings.groups or {}, tasks),
        entries=settings.entries(),
    )


def _groups(where: str, nodes: Mapping[str, GroupSettings], tasks: Sequence[Task]) -> tuple[Group, ...]:
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


def _tasks(where: str, name: str, settings: TaskSettings) -> list[Task]:
    if settings.olmes is not None:
        try:
            chosen = olmes.tasks(name, settings.olmes, settings.formats or FORMATS)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        return [replace(task, limit=settings.limit) for task in chosen]
    split = settings.split or SPLIT
    made: list[Task] = []
    if settings.rc:
        source = JsonlSource(path=Path(settings.rc))
        made.append(RankedTask(name=name, format="rc", split=split, primary=settings.rc_primary, source=source))
    if settings.mc:
        source = JsonlSource(path=Path(settings.mc))
        made.append(RankedTask(name=name, format="mc", split=split, primary="acc_raw", source=source))
    if settings.gold:
        made.append(GoldTask(name=name, split=split, source=GoldJsonlSource(path=Path(settings.gold))))
    return made


def _lm_loss(name: str, settings: LmLossSettings) -> LmLoss:
    if settings.shards:
        return LmLoss(name=name, tokens=settings.tokens, shards=Path(settings.shards), split=settings.split)
    return LmLoss(name=name, tokens=settings.tokens, text=Path(settings.text or ""))
