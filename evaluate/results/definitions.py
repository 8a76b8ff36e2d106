"""One name, one definition: a measurement is never replaced by one of other documents under the same name."""

from __future__ import annotations

from pathlib import Path

from evaluate.tasks.suite import LmLoss, Suite
from evaluate.tasks.tasks import GoldTask, RankedTask, Source, Task
from ladder.errors import UserError
from ladder.records.metrics_file import MetricsFile, Provenance


def check_own_suite(asked: Suite, own: Suite, config_file: Path) -> None:
    """Refuses what would be stored with a run under a name by which the run's own suite means something else.

    Raises:
        UserError: it names what is asked for and what the run's configuration names.
    """
    tasks, losses = {task.key: task for task in own.tasks}, {loss.name: loss for loss in own.lm_losses}
    hint = "name it anew, or give --output DIR"
    for task in asked.tasks:
        if task.key in tasks and (change := _change(task, tasks[task.key])):
            raise UserError(f"{task.key} of suite {asked.name} is not what {config_file} means by it: {change}; {hint}")
    for loss in asked.lm_losses:
        if loss.name in losses and loss != losses[loss.name]:
            raise UserError(
                f"lm_loss {loss.name} of suite {asked.name} ({_text(loss)}) is not what {config_file} means by it "
                f"({_text(losses[loss.name])}); {hint}"
            )
    same = any(task.key in tasks for task in asked.tasks) or any(loss.name in losses for loss in asked.lm_losses)
    if asked.max_length != own.max_length and same:
        raise UserError(
            f"suite {asked.name} has max_length={asked.max_length}, {config_file} has {own.max_length}, for tasks or "
            f"texts of the same names; {hint}"
        )


def check_kept(asked: Suite, provenance: Provenance, path: Path, before: MetricsFile) -> None:
    """Refuses to replace rows of the metrics file at `path` by those of other documents.

    Raises:
        UserError: it names that file and the task's.
    """
    stored = before.provenance
    if not stored.same_model(provenance):
        return
    hint = "name it anew, give --output DIR, or --changed to measure it anew"
    for task in asked.tasks:
        if stored.plans.get(task.key, provenance.plans[task.key]) != provenance.plans[task.key]:
            raise UserError(
                f"{path} holds {task.key} of other documents or of another context length than suite {asked.name} has "
                f"it, of {task.source}; {hint}"
            )
        if (kept := _kept(before, task)) and (kept != (now := _definition(task))):
            raise UserError(
                f"{path} holds {task.key} with {_words(kept)}, suite {asked.name} asks for {_words(now)}; {hint}"
            )
    for loss in asked.lm_losses:
        if stored.texts.get(loss.name, provenance.texts[loss.name]) != provenance.texts[loss.name]:
            was = f"of another text or context length than {_text(loss)}, or as an earlier version scored it"
            raise UserError(f"{path} holds lm_loss {loss.name} {was}; {hint}")


def _change(task: Task, own: Task) -> str:
    """How two tasks of one name differ; empty where they do not."""
    if task.source != own.source and not _same_content(task.source, own.source):
        return f"{task.source} in place of {own.source}"
    now, was = ({**_definition(one), "limit": one.limit} for one in (task, own))
    changed = [name for name in now if now[name] != was.get(name)]
    return f"{changed[0]}={now[changed[0]]} in place of {was.get(changed[0])}" if changed else ""


def _definition(task: Task) -> dict[str, object]:
    """What a row of a metrics file says of how it came about."""
    match task:
        case RankedTask():
            return {"split": task.split, "primary": task.primary}
        case GoldTask():
            return {"split": task.split}


def _kept(before: MetricsFile, task: Task) -> dict[str, object]:
    """The same of the file's row for that task; empty where it has none."""
    match task:
        case RankedTask():
            ranked = [row for row in before.results if (row.task, row.format) == (task.name, task.format)]
            return {"split": ranked[0].split, "primary": ranked[0].primary} if ranked else {}
        case GoldTask():
            gold = [row for row in before.gold if row.task == task.name]
            return {"split": gold[0].split} if gold else {}


def _words(definition: dict[str, object]) -> str:
    return " and ".join(f"{name}={value}" for name, value in definition.items())


def _same_content(source: Source, own: Source) -> bool:
    try:
        return source.fingerprint() == own.fingerprint()
    except UserError:  # one of them is not there
        return False


def _text(loss: LmLoss) -> str:
    return f"{loss.tokens:,} tokens of {loss.path}"
