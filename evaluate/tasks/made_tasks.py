"""Ranking tasks made from held-out text, for models too small for any benchmark: their form, and how they are written.

The gold answer's place is balanced exactly, so that it gives nothing away; each maker sees to it that length and
frequency do not either.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ladder.errors import UserError
from ladder.files.writing import write_text

RIVALS = 3

Item = tuple[str, str, list[str]]  # context, the true continuation, its rivals
Maker = Callable[[random.Random], Iterator[Item]]


def write_tasks(makers: Mapping[str, Maker], directory: Path, seed: int, items: int) -> None:
    """Writes NAME.jsonl for every maker, `items` documents each; the same ones for the same seed.

    Raises:
        UserError: the held-out texts do not yield that many documents; nothing is written.
    """
    files = {}
    for name, maker in makers.items():
        rng = random.Random(f"{seed}:{name}")
        made = list(itertools.islice(maker(rng), items))
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


def balanced_pairs(candidates: Iterator[tuple[str, str, Item]]) -> Iterator[Item]:
    """Of (word, its counterpart, item), as many items with the one as with the other, and so pairs that say nothing."""
    waiting: dict[str, list[Item]] = {}
    for word, other, item in candidates:
        if waiting.get(other):
            yield waiting[other].pop()
            yield item
        else:
            waiting.setdefault(word, []).append(item)
