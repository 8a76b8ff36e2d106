"""Four ranking tasks made from held-out prose.

next_phrase  the true next words against three spans of the same byte length from elsewhere in the same text
word         the true next word against three of its length and nearly its training frequency
order        the true next words against three versions with two neighbouring words swapped
agree        a function word (is/are, this/these, …) against its counterpart, with the rest of the phrase

In `agree` each word of a pair is gold equally often, so that length and word frequency do not give the answer away.
"""

from __future__ import annotations

import bisect
import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evaluate.tasks.made_tasks import RIVALS, Item, Maker, balanced_pairs

CONTEXT_BYTES = (60, 100)
PHRASE_BYTES = (20, 28)
SPAN_BYTES = (34, 46)
MIN_LETTERS = 4
NEIGHBOURS = 5  # words of the same length next in frequency, on either side, from which rivals are drawn

PAIRS = (
    *(("is", "are"), ("was", "were"), ("has", "have"), ("this", "these"), ("that", "those"), ("in", "of")),
    *(("to", "for"), ("by", "at"), ("on", "with"), ("their", "our"), ("it", "they"), ("a", "an"), ("his", "its")),
)

WORD = re.compile(r"(?<![A-Za-z])[a-z]+(?![A-Za-z])")


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


def makers(train_texts: Sequence[str], heldout_texts: Sequence[str]) -> dict[str, Maker]:
    """The four tasks, made from the held-out texts; word frequencies are those of the training texts."""
    frequencies = Counter(word for text in train_texts for word in WORD.findall(text))
    places = [place for number, text in enumerate(heldout_texts) for place in _places(number, text)]

    def shuffled(maker: Callable[[Sequence[Place], random.Random], Iterator[Item]]) -> Maker:
        return lambda rng: maker(rng.sample(places, len(places)), rng)

    return {
        "next_phrase": shuffled(_next_phrase),
        "word": shuffled(lambda places, rng: _word(places, rng, frequencies)),
        "order": shuffled(_order),
        "agree": shuffled(_agree),
    }


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

    def candidates() -> Iterator[tuple[str, str, Item]]:
        for place in places:
            word, other = place.words[0], counterpart.get(place.words[0])
            phrase = place.continuation(*PHRASE_BYTES)
            if other is not None and phrase:
                yield word, other, (place.context, phrase, [f" {other}{phrase[1 + len(word) :]}"])

    return balanced_pairs(candidates())
