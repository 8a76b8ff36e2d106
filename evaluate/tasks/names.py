"""What the tasks of the OLMES wheel are called elsewhere: lm-evaluation-harness's names, and families in one word."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ladder.config.olmes_manifest import entries_of, names
from ladder.rungs.benchmarks import LM_EVAL_NAMES

HARNESS = {"ai2_arc": ("arc_easy", "arc_challenge")} | {theirs: (ours,) for theirs, ours in LM_EVAL_NAMES.items()}


@functools.cache
def families() -> dict[str, tuple[str, ...]]:
    """A word for several tasks -> theirs."""
    plain = [name for name in names() if ":" not in name]
    prefixes = ("arc", "basic_skills", "lab_bench", "minerva_math", "mt_mbpp")
    found = {prefix: tuple(name for name in plain if name.startswith(f"{prefix}_")) for prefix in prefixes}
    found["minerva_math"] = tuple(name for name in found["minerva_math"] if not name.endswith("_500"))
    return found


def words_of(name: str) -> Sequence[str]:
    """Our words for a task, or a family of tasks, whoever's name it is; a way such as `:val` goes to each of them.

    Raises:
        UserError: a way in which a task is not there.
        KeyError: nobody's name.
    """
    task, colon, way = name.partition(":")
    if task not in known_names():
        raise KeyError(name)
    words = [f"{word}{colon}{way}" for word in (families() | HARNESS).get(task, (task,))]
    for word in words:
        entries_of(word)
    return words


def known_names() -> list[str]:
    return [*dict.fromkeys(name.partition(":")[0] for name in names()), *families(), *HARNESS]
