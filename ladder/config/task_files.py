"""A line of a task's file, and whether its texts are parted where they are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ladder.config.suite_settings import SuiteSettings
from ladder.errors import UserError
from ladder.files.bind import Text, bind, lenient
from ladder.files.reading import read_json_lines
from ladder.records.metrics_file import TaskFormat

UNSPACED = (
    "most choices follow a letter or digit of their context without a space, and texts are scored as they stand; "
    'begin each choice with a space, as in " meows."'
)


@lenient
@dataclass(frozen=True, kw_only=True)
class ChoicesRow:
    """`context` is one for all choices, or one each."""

    context: str | tuple[str, ...]
    choices: tuple[str, ...]
    gold: int

    @property
    def contexts(self) -> tuple[str, ...]:
        return (self.context,) * len(self.choices) if isinstance(self.context, str) else self.context


@lenient
@dataclass(frozen=True, kw_only=True)
class GoldRow:
    context: str
    answer: Text


def is_unspaced(contexts: Sequence[str], choices: Sequence[str]) -> bool:
    """Whether a context ends in a letter or digit and its choice begins with one."""
    pairs = zip(contexts, choices, strict=False)
    return any(_in_spaced_word(context[-1:]) and _in_spaced_word(choice[:1]) for context, choice in pairs)


def _in_spaced_word(character: str) -> bool:
    """A digit or a letter of a script with capitals; of the others many, such as Chinese, part no words by spaces."""
    return character.isdigit() or character.lower() != character.upper()


def note_on_spaces(suite: SuiteSettings) -> str:
    """Names the tasks of one's own in which most choices grow together with their contexts.

    A file that cannot be read is passed over: `evaluate` says what is wrong with it.
    """
    tasks = (suite.tasks or {}).items()
    files = [(name, form, Path(file)) for name, task in tasks for form, file in task.files.items()]
    odd = [f"{name}.{form}" for name, form, file in files if _mostly_unspaced(form, file)]
    return f"{', '.join(odd)}: {UNSPACED}" if odd else ""


def _mostly_unspaced(form: TaskFormat, path: Path) -> bool:
    try:
        rows = read_json_lines(path)
        if form == "gold":
            gold = [bind(GoldRow, row, where) for where, row in rows]
            odd = [is_unspaced((row.context,), (row.answer,)) for row in gold]
        else:
            odd = [is_unspaced(row.contexts, row.choices) for row in (bind(ChoicesRow, row, at) for at, row in rows)]
    except UserError:
        return False
    return 2 * sum(odd) > len(odd)
