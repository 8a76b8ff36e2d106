"""User errors: one line that says what was given, what is allowed and what to do; exit code 2."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_PREEMPTED = 75  # the state is saved, the same command goes on
LONGEST = 290  # characters of a message: what is quoted in it may be anything
LONGEST_WORD = 70  # where the message is too long
LONGEST_PATHS = (70, 55, 45, 36)  # there: they give way before what is said of them
_NAME = re.compile(r"\w[./_=]\w|[/\"]")  # of a file, a key or what was given
_LAST_NAME = re.compile(r"/?[^\s/]*\Z")
_BREAK = re.compile(r"[\s,;/]+")


class UserError(Exception):
    """Something the user can mend. Its message is one line and is all that is shown."""

    def __str__(self) -> str:
        text = "".join(letter if letter.isprintable() else " " for letter in super().__str__())
        text = " ".join(text.split())
        if len(text) <= LONGEST:
            return text
        for longest in LONGEST_PATHS:
            words = [shortened(word, longest if "/" in word else LONGEST_WORD) for word in text.split()]
            if len(said := " ".join(words)) <= LONGEST:
                return said
        if len(words) > LONGEST:
            words = words[: LONGEST // 2] + words[-LONGEST // 2 :]
        return shortened(_fewer(words, LONGEST), LONGEST)


def _fewer(words: list[str], most: int) -> str:
    """The words in so many characters: those of the middle give way, names of files and keys after all others."""
    left: list[str | None] = list(words)
    middle = 0.6 * len(words)
    order = sorted(range(len(words)), key=lambda place: (bool(_NAME.search(words[place])), abs(place - middle)))
    for place in order:
        if len(text := _with_gaps(left)) <= most:
            return text
        left[place] = None
    return _with_gaps(left)


def _with_gaps(words: list[str | None]) -> str:
    groups = itertools.groupby(words, key=lambda word: word is None)
    return " ".join("…" if gap else " ".join(word for word in group if word) for gap, group in groups)


def shortened(text: str, most: int = 60) -> str:
    """On one line, its middle left out where it is longer than `most` characters: for what is quoted in an error.

    Cut between words where that goes; of a path most of its end stays, between folders, and its last name whole.
    """
    line = "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))
    if len(line) <= most:
        return line
    end = len(line) - (most // 3 if " " in line or "/" not in line else 3 * most // 4)
    tail = len(line) - most  # all that is looked at: of a long line the search would take as long as it is, squared
    if end > (last := tail + _LAST_NAME.search(line[tail:]).start()) > tail + most // 6:  # type: ignore[union-attr]
        end = last
    elif (later := _BREAK.search(line, end)) and later.start() < len(line) - most // 6:
        end = later.start()
    head = line[: most - 1 - (len(line) - end)]
    breaks = [match.end() for match in _BREAK.finditer(head)]
    return f"{head[: breaks[-1]] if breaks and breaks[-1] > len(head) // 2 else head}…{line[end:]}"


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
