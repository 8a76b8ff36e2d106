"""Four tasks for models too small for any benchmark, made from held-out text and chance-checked by construction.

next_phrase  the true next words against three spans of the same byte length from elsewhere in the same text
word         the true next word against three of its length and nearly its training frequency
order        the true next words against three versions with two neighbouring words swapped
agree        a function word (is/are, this/these, …) against its counterpart, with the rest of the phrase

The gold answer's place is balanced exactly; in `agree` each word of a pair is gold equally often, so that neither
position, length nor word frequency gives the answer away.
"""

from __future__ import annotations

import bisect
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ladder.errors import UserError
from ladder.files import write_text

CONTEXT_BYTES = (60, 100)
PHRASE_BYTES = (20, 28)
SPAN_BYTES = (34, 46)
RIVALS = 3
MIN_LETTERS = 4
NEIGHBOURS = 5  # words of the same length next in frequency, on either side, from which rivals are drawn

PAIRS = (
    *(("is", "are"), ("was", "were"), ("has", "have"), ("this", "these"), ("that", "those"), ("in", "of")),
    *(("to", "for"), ("by", "at"), ("on", "with"), ("their", "our"), ("it", "they"), ("a", "an"), ("his", "its")),
)

WORD = re.compile(r"(?<![A-Za-z])[a-z]+(?![A-Za-z])")

Item = tuple[str, str, list[str]]  # context, the true continuation, its rivals


@dataclass(frozen=True)
class Place:
    """A point between two words of a sentence: what stands before it, and the next words of the paragraph."""

    text: int
    context: str
    words: tuple[str, ...]

    def continuation(self, low: int, high: int) -> str:
        """The next words, " like this", as many as fit in `high` bytes; "" where they are fewer than `low` bytes."""
        phrase = ""
        for word in self.words:
            if len(phrase) + 1 + len(word) > high:
                break
            phrase += " " + word
        return phrase if len(phrase) >= low and phrase.isascii() else ""


def build(train_texts: list[str], heldout_texts: list[str], directory: Path, seed: int, items: int) -> None:
    """Writes next_phrase.jsonl, word.jsonl, order.jsonl and agree.jsonl, `items` documents each.

    Raises:
        UserError: the held-out texts do not yield that many documents.
    """
    frequencies = Counter(word for text in train_texts for word in WORD.findall(text))
    places = [place for number, text in enumerate(heldout_texts) for place in _places(number, text)]
    makers: dict[str, Callable[[Sequence[Place], random.Random], Iterator[Item]]] = {
        "next_phrase": _next_phrase,
        "word": lambda places, rng: _word(places, rng, frequencies),
        "order": _order,
        "agree": _agree,
    }
    files = {}
    for name, maker in makers.items():
        rng = random.Random(f"{seed}:{name}")
        shuffled = rng.sample(places, len(places))
        made = list(itertools.islice(maker(shuffled, rng), items))
        if len(made) < items:
            raise UserError(
                f"the held-out texts yield {len(made)} of {items} documents of {name}; give more text or ask for fewer"
            )
        files[directory / f"{name}.jsonl"] = _jsonl(made, rng)
    for path, text in files.items():
        write_text(path, text)


def _jsonl(made: Sequence[Item], rng: random.Random) -> str:
    size = 1 + len(made[0][2])
    golds = [number % size for number in range(len(made))]
    rng.shuffle(golds)
    lines = []
    for (context, true, rivals), gold in zip(made, golds, strict=True):
        choices = [*rivals[:gold], true, *rivals[gold:]]
        lines.append(json.dumps({"context": context, "choices": choices, "gold": gold}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def _places(number: int, text: str) -> Iterator[Place]:
    """Every point before a lower-case word within a sentence that has enough context before it."""
    low, high = CONTEXT_BYTES
    for paragraph in text.split("\n"):
        words = paragraph.split()
        starts = [0, *itertools.accumulate(len(word.encode()) + 1 for word in words)]  # bytes, with a space after each
        for index in range(1, len(words)):
            if words[index][0].islower() and words[index - 1][-1] not in ".?!:;":
                end = starts[index] - 1
                first = bisect.bisect_left(starts, end - high)
                if low <= end - starts[first]:
                    yield Place(number, " ".join(words[first:index]), tuple(words[index : index + 12]))


def _next_phrase(places: Sequence[Place], rng: random.Random) -> Iterator[Item]:
    spans: dict[tuple[int, int], list[str]] = {}
    for place in places:
        phrase = place.continuation(*PHRASE_BYTES)
        if phrase:
            spans.setdefault((place.text, len(phrase)), []).append(phrase)
    for place in places:
        phrase = place.continuation(*PHRASE_BYTES)
        rivals = sorted(set(spans.get((place.text, len(phrase)), ())) - {phrase})
        if phrase and len(rivals) >= RIVALS:
            yield place.context, phrase, rng.sample(rivals, RIVALS)


def _word(places: Sequence[Place], rng: random.Random, frequencies: Counter[str]) -> Iterator[Item]:
    by_length: dict[int, list[str]] = {}
    for word in sorted(frequencies, key=lambda word: (-frequencies[word], word)):
        by_length.setdefault(len(word), []).append(word)
    rank = {word: index for words in by_length.values() for index, word in enumerate(words)}
    for place in places:
        word = place.words[0]
        peers, at = by_length.get(len(word), []), rank.get(word, 0)
        if len(word) >= MIN_LETTERS and NEIGHBOURS <= at < len(peers) - NEIGHBOURS:
            # The number of more frequent rivals is uniform, so that the gold word's rank among the four is too.
            above = rng.randrange(RIVALS + 1)
            rivals = rng.sample(peers[at - NEIGHBOURS : at], above)
            rivals += rng.sample(peers[at + 1 : at + 1 + NEIGHBOURS], RIVALS - above)
            yield place.context, f" {word}", [f" {rival}" for rival in rivals]


def _order(places: Sequence[Place], rng: random.Random) -> Iterator[Item]:
    for place in places:
        words = place.continuation(*SPAN_BYTES).split()
        plain = all(re.fullmatch(r"[a-z]+", word) for word in words)
        swaps = [i for i in range(len(words) - 1) if words[i] != words[i + 1]]
        if plain and len(swaps) >= RIVALS:
            rivals = []
            for i in rng.sample(swaps, RIVALS):
                swapped = [*words[:i], words[i + 1], words[i], *words[i + 2 :]]
                rivals.append(" " + " ".join(swapped))
            yield place.context, " " + " ".join(words), rivals


def _agree(places: Sequence[Place], rng: random.Random) -> Iterator[Item]:
    """Equal numbers of each word of a pair, pairs in proportion to the rarer of the two."""
    counterpart = {word: other for pair in PAIRS for word, other in (pair, pair[::-1])}
    waiting: dict[str, list[Item]] = {word: [] for word in counterpart}
    for place in places:
        word, other = place.words[0], counterpart.get(place.words[0])
        phrase = place.continuation(*PHRASE_BYTES)
        if other is None or not phrase:
            continue
        item = (place.context, phrase, [f" {other}{phrase[1 + len(word) :]}"])
        if waiting[other]:
            yield waiting[other].pop()
            yield item
        else:
            waiting[word].append(item)
