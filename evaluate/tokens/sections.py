"""Which requests share a prefix that is computed once, and the rows behind it.

Most tasks have one few-shot prompt, and so one section. Where prompts differ (examples drawn for each document, many
questions on one text) each prompt that several documents have becomes a section of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluate.tokens.trie import Ints, Request, Row, chain_rows, pack, trie_rows

SHORT_ROW, LONG_ROW = 128, 1024  # nodes; see `row_tokens`
NEAR = 1.03  # times the distinct token prefixes: fewer tokens are not looked for
FEW = 4  # documents: fewer are no section of their own
SECTION_TOKENS = 64  # what a section costs beside its tokens: batches do not span two
DEEPEST = 12  # sections within sections


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows behind a prefix; of plain sequences the prefix is empty."""

    prefix: Ints
    rows: list[Row]


def plain_section(ordered: Sequence[Request], shared: Ints) -> Section:
    """Sorted requests as plain sequences."""
    return Section(prefix=np.empty(0, dtype=np.int32), rows=chain_rows(ordered, shared))


def branching_sections(ordered: Sequence[Request], shared: Ints) -> list[Section]:
    """Sorted requests, `shared[i]` being what each has in common with the one before, as tries behind prefixes."""
    spans = _Spans.of(ordered, shared).split(0, len(ordered))
    return [branching_section(ordered[first:last], shared[first:last]) for first, last in spans]


def branching_section(
    ordered: Sequence[Request], shared: Ints, share: bool = True, row_nodes: int | None = None
) -> Section:
    """One section; without `share` its prefix is empty."""
    prefix = _Spans.of(ordered, shared).prefix(0, len(ordered)) if share else 0
    behind = [Request(index=one.index, inputs=one.inputs[prefix:], targets=one.targets) for one in ordered]
    row_nodes = row_nodes or row_tokens(prefix, max(len(request.inputs) for request in behind))
    rows = trie_rows(behind, np.maximum(shared - prefix, 0), row_nodes)
    return Section(prefix=ordered[0].inputs[:prefix], rows=rows)


def row_tokens(prefix: int, longest: int) -> int:
    """Nodes per row: as long as the prefix, so that attention within the row costs no more than attention to it."""
    return max(longest, min(LONG_ROW, max(SHORT_ROW, prefix)))


@dataclass(frozen=True, kw_only=True)
class _Spans:
    """Sorted requests as numbers; a span is [first, last) of them."""

    lengths: npt.NDArray[np.int64]  # (requests,) input tokens
    shared: npt.NDArray[np.int64]  # (requests,) those in common with the request before
    room: npt.NDArray[np.int64]  # (requests,) input tokens before the first that predicts

    @classmethod
    def of(cls, ordered: Sequence[Request], shared: Ints) -> _Spans:
        lengths = np.array([len(request.inputs) for request in ordered], dtype=np.int64)
        targets = np.array([len(request.targets) for request in ordered], dtype=np.int64)
        return cls(lengths=lengths, shared=shared.astype(np.int64), room=lengths - targets)

    def prefix(self, first: int, last: int) -> int:
        """What all have in common, up to the first token that predicts an answer."""
        return int(min(self.shared[first + 1 : last].min(initial=self.lengths[first]), self.room[first:last].min()))

    def tokens(self, first: int, last: int) -> int:
        """What the span costs as one section."""
        prefix = self.prefix(first, last)
        lengths = self.lengths[first:last] - prefix
        shared = np.maximum(self.shared[first:last] - prefix, 0)
        shared[0] = 0
        rows = pack(lengths, shared.astype(np.int32), row_tokens(prefix, int(lengths.max())))
        again = sum(int(shared[start]) for start, _ in rows[1:])  # what a row begins with, the one before had too
        return prefix + int(lengths.sum() - shared.sum()) + again

    def split(self, first: int, last: int, depth: int = 0) -> list[tuple[int, int]]:
        """The span as one section, or as several where they cost fewer tokens."""
        whole = self.tokens(first, last)
        nodes = int(self.lengths[first:last].sum() - self.shared[first + 1 : last].sum())
        cuts = self._cuts(first, last) if whole > NEAR * nodes and depth < DEEPEST else []
        if not cuts:
            return [(first, last)]
        parts = [
            span
            for start, stop in itertools.pairwise([first, *cuts, last])
            for span in self.split(start, stop, depth + 1)
        ]
        return parts if sum(SECTION_TOKENS + self.tokens(*part) for part in parts) < whole else [(first, last)]

    def _cuts(self, first: int, last: int) -> list[int]:
        """Where the fewest tokens are in common, but not between two parts of few documents each."""
        inner = self.shared[first + 1 : last]
        places = first + 1 + np.flatnonzero(inner == inner.min(initial=2**31 - 1))
        new = (self.shared < self.lengths).cumsum()  # requests of other inputs than the one before
        borders = [first, *places.tolist(), last]
        sizes = [int(new[stop - 1] - new[start]) + 1 for start, stop in itertools.pairwise(borders)]
        return [place for place, pair in zip(borders[1:-1], itertools.pairwise(sizes), strict=True) if max(pair) >= FEW]
