"""Five ranking tasks made from held-out Python files.

next_line   the true next line against three lines of other files with its indentation and length
near_line   the same against three lines of its own file
line_order  the true next three lines against three other orders of them
identifier  the true identifier against three others of the file, of about its length
operator    a word or sign (and/or, ==/!=, keys/values, …) against its counterpart, with the rest of the line

The context ends where a line does, or before the identifier or operator with the space that belongs to it: where a
tokenizer would cut anyway. In `operator` each of a pair is gold equally often.
"""

from __future__ import annotations

import keyword
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evaluate.tasks.made_tasks import RIVALS, Item, Maker, balanced_pairs

CONTEXT_BYTES = 400  # at most, in whole lines
CONTEXT_LINES = 4  # at least
LINE_BYTES = (16, 60)  # without the indentation
LONGEST_REST = 40  # bytes after an operator

PAIRS = (
    *(("and", "or"), ("True", "False"), ("==", "!="), ("<", ">"), ("+", "-"), ("if", "while"), ("return", "raise")),
    *(("append", "extend"), ("keys", "values"), ("get", "pop"), ("start", "end"), ("args", "kwargs"), ("int", "str")),
    *(("list", "dict"), ("min", "max"), ("first", "last"), ("self", "cls"), ("in", "not in"), ("is", "is not")),
)
COUNTERPART = {word: other for pair in PAIRS for word, other in (pair, pair[::-1])}

IDENTIFIER = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z_][A-Za-z0-9_]{3,23}(?![A-Za-z0-9_])")
_WORDS = sorted((word for word in COUNTERPART if word[0].isalpha()), key=len, reverse=True)
_SIGNS = [word for word in COUNTERPART if not word[0].isalpha()]
OPERATOR = re.compile(
    rf"(?<![\w\"'-])(?:{'|'.join(_WORDS)})(?![\w\"'])(?! not\b)|(?<= )(?:{'|'.join(map(re.escape, _SIGNS))})(?= )"
)


@dataclass(frozen=True)
class Place:
    """A line of a file with enough lines before it."""

    file: int
    number: int


class Files:
    """The held-out files, line by line, and every place in them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.lines = [text.split("\n") for text in texts]
        self.places = [
            Place(file, number)
            for file, lines in enumerate(self.lines)
            for number in range(CONTEXT_LINES, len(lines))
            if usable(lines[number])
        ]

    def line(self, place: Place) -> str:
        return self.lines[place.file][place.number]

    def context(self, place: Place) -> str:
        """The lines before it, without the last one's end; "" where fewer than CONTEXT_LINES of them fit."""
        lines = self.lines[place.file]
        first, size = place.number, -1
        while first and size + 1 + len(lines[first - 1].encode()) <= CONTEXT_BYTES:
            first -= 1
            size += 1 + len(lines[first].encode())
        return "\n".join(lines[first : place.number]) if place.number - first >= CONTEXT_LINES else ""


def makers(train_texts: Sequence[str], heldout_texts: Sequence[str]) -> dict[str, Maker]:
    """The five tasks, made from the held-out files alone."""
    files = Files(heldout_texts)
    return {
        "next_line": lambda rng: _next_line(files, rng),
        "near_line": lambda rng: _near_line(files, rng),
        "line_order": lambda rng: _line_order(files, rng),
        "identifier": lambda rng: _identifier(files, rng),
        "operator": lambda rng: _operator(files, rng),
    }


def usable(line: str) -> bool:
    """Neither short nor long, plain ASCII, and code rather than a comment."""
    low, high = LINE_BYTES
    return low <= len(line.strip()) <= high and line.isascii() and not line.lstrip().startswith(("#", '"""'))


def indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _shuffled(files: Files, rng: random.Random) -> Iterator[tuple[Place, str]]:
    for place in rng.sample(files.places, len(files.places)):
        context = files.context(place)
        if context:
            yield place, context


def _next_line(files: Files, rng: random.Random) -> Iterator[Item]:
    alike: dict[tuple[int, int], list[Place]] = {}
    for place in files.places:
        line = files.line(place)
        alike.setdefault((indentation(line), len(line)), []).append(place)
    for place, context in _shuffled(files, rng):
        line = files.line(place)
        elsewhere = alike[indentation(line), len(line)]
        drawn = [
            files.line(other) for other in rng.sample(elsewhere, min(8, len(elsewhere))) if other.file != place.file
        ]
        rivals = [rival for rival in dict.fromkeys(drawn) if rival != line][:RIVALS]
        if len(rivals) == RIVALS:
            yield context, f"\n{line}", [f"\n{rival}" for rival in rivals]


def _near_line(files: Files, rng: random.Random) -> Iterator[Item]:
    for place, context in _shuffled(files, rng):
        line, shown = files.line(place), set(context.split("\n"))
        alike = {
            other
            for other in files.lines[place.file]
            if usable(other)
            and other not in shown
            and indentation(other) == indentation(line)
            and abs(len(other) - len(line)) <= 4
        }
        ranked = sorted(sorted(alike), key=lambda other: (len(other), rng.random()))
        at = ranked.index(line) if line in alike else 0
        # The number of longer rivals is uniform, so that the gold line's length rank among the four is too.
        above = rng.randrange(RIVALS + 1)
        if line in alike and len(ranked) - at - 1 >= above and at >= RIVALS - above:
            rivals = [*rng.sample(ranked[at + 1 :], above), *rng.sample(ranked[:at], RIVALS - above)]
            yield context, f"\n{line}", [f"\n{rival}" for rival in rivals]


def _line_order(files: Files, rng: random.Random) -> Iterator[Item]:
    orders = [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for place, context in _shuffled(files, rng):
        lines = files.lines[place.file][place.number : place.number + 3]
        same = len({indentation(line) for line in lines}) == 1
        if len(set(lines)) == 3 and all(map(usable, lines)) and same:
            shuffled = [[lines[i] for i in order] for order in rng.sample(orders, RIVALS)]
            yield context, "\n" + "\n".join(lines), ["\n" + "\n".join(other) for other in shuffled]


def _identifier(files: Files, rng: random.Random) -> Iterator[Item]:
    used = [
        Counter(word for word in IDENTIFIER.findall("\n".join(lines)) if not keyword.iskeyword(word))
        for lines in files.lines
    ]
    for place, context in _shuffled(files, rng):
        line = files.line(place)
        names = [match for match in IDENTIFIER.finditer(line) if used[place.file][match[0]] > 1]
        if not names:
            continue
        match = rng.choice(names)
        space = match.start() - (line[match.start() - 1 : match.start()] == " ")
        rivals = [
            word
            for word, count in used[place.file].items()
            if word != match[0] and count > 1 and abs(len(word) - len(match[0])) <= 2
        ]
        if len(rivals) >= RIVALS and space >= indentation(line):
            before = f"{context}\n{line[:space]}"
            lead = line[space : match.start()]
            yield before, lead + match[0], [lead + rival for rival in rng.sample(sorted(rivals), RIVALS)]


def _operator(files: Files, rng: random.Random) -> Iterator[Item]:
    def candidates() -> Iterator[tuple[str, str, Item]]:
        for place, context in _shuffled(files, rng):
            line = files.line(place)
            matches = [match for match in OPERATOR.finditer(line) if match.start() > indentation(line)]
            if not matches:
                continue
            match = rng.choice(matches)
            word, following = match[0], line[match.end() : match.end() + LONGEST_REST]
            space = match.start() - (line[match.start() - 1] == " ")
            lead = line[space : match.start()]
            item = (f"{context}\n{line[:space]}", f"{lead}{word}{following}", [f"{lead}{COUNTERPART[word]}{following}"])
            yield word, COUNTERPART[word], item

    return balanced_pairs(candidates())
