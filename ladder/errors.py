"""User errors: one line that says what was given, what is allowed and what to do; exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_PREEMPTED = 75  # the state is saved, the same command goes on
LONGEST = 290  # characters of a message: what is quoted in it may be anything
LONGEST_WORD = 70  # where the message is too long


class UserError(Exception):
    """Something the user can mend. Its message is one line and is all that is shown."""

    def __str__(self) -> str:
        text = "".join(letter if letter.isprintable() else " " for letter in super().__str__())
        text = " ".join(text.split())
        if len(text) > LONGEST:  # long paths give way first, which are known by their ends
            text = " ".join(_ending(word) if len(word) > LONGEST_WORD else word for word in text.split())
        return shortened(text, LONGEST)


def _ending(word: str) -> str:
    return f"{word[:10]}…{word[len(word) - LONGEST_WORD + 11 :]}"


def shortened(text: str, most: int = 60) -> str:
    """On one line, its middle left out where it is longer than `most` characters: for what is quoted in an error."""
    line = "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))
    if len(line) <= most:
        return line
    return f"{line[: most - most // 3]}…{line[len(line) - most // 3 :]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'did you mean "x"?' for the nearest known word, followed by all of them (at most 20)."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word[:200], names, n=1, cutoff=0.5) or [
        name for name in names if name.lower() == word.lower()
    ]
    listed = shortened(", ".join(shortened(name, 40) for name in names[:20]) + (", …" if len(names) > 20 else ""), 160)
    return (f'did you mean "{near[0]}"? ' if near else "") + f"known: {listed}"


def unknown(kind: str, word: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a list of names."""
    return UserError(f'unknown {kind} "{shortened(word)}"; {did_you_mean(word, known)}')
