"""Completion in the shell: what may follow the words of a command line so far, from its parser and `configs/`.

argcomplete asks the command itself, by starting it with the line in the environment; each parser of ours answers when
it is about to parse. So options, choices, and the names of ladders, suites and targets are the ones that hold.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable

ASKED = "_ARGCOMPLETE"  # set by the shell; the number of words that name the program


def words_so_far() -> list[str]:
    """The words after the program but the one that is being typed: a command may choose its parser by them."""
    from argcomplete.lexers import split_line

    _, _, _, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    return words[1:]


def answer(parser: argparse.ArgumentParser, commands: Iterable[str]) -> None:
    """Tells the shell what may follow, and ends the process. `commands` may stand first."""
    import argcomplete

    names = parser.prog.replace("python -m", "model-ladder").split()
    os.environ[ASKED] = str(len(names))
    first = len(words_so_far()) < len(names)
    if not any(action.nargs == "*" for action in parser._get_positional_actions()):
        parser.add_argument("overrides", nargs="*")
    for action in parser._actions:
        if action.dest == "command":
            _complete(action, list(commands))
        elif action.dest == "target":
            _complete(action, _options("target"))
        elif action.dest == "overrides":
            action.completer = lambda prefix, **_: [*_overrides(prefix), *(commands if first else ())]  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options=False)


def _complete(action: argparse.Action, names: list[str]) -> None:
    action.completer = lambda **_: names  # type: ignore[attr-defined]


def _options(group: str) -> list[str]:
    from ladder.config.config_files import options

    return options(group)


def _overrides(prefix: str) -> list[str]:
    from ladder.config.config_files import GROUPS, options

    group, equals, _ = prefix.partition("=")
    if equals:
        return [f"{group}={name}" for name in options(group)] if group in GROUPS else []
    return [f"{name}=" for name in GROUPS]
