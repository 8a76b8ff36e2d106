"""Which rows of a plan run together: rows of like length, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evaluate.scoring.plan import Plan


@dataclass(frozen=True)
class Batch:
    """Rows [first, last) of a section, padded to the longest; its heads are a contiguous range of the plan's."""

    section: int
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a batch may hold, and what one more batch costs."""

    tokens: int
    mask_elements: int  # queries x keys
    logit_elements: int  # positions x vocabulary, in fp32
    batch_cost: int  # tokens that run in the time that a batch takes beside that of its tokens

    def rows(self, width: int, prefix: int) -> int:
        """How many rows of that width run together behind a prefix; at least one does."""
        return max(1, min(self.tokens // width, self.mask_elements // (width * (width + prefix))))

    def plain_rows(self, width: int, vocabulary: int) -> int:
        """As `rows`, of plain sequences whose every position gets logits."""
        return max(1, min(self.rows(width, 0), self.logit_elements // (width * vocabulary)))


# A batch of the CPU's size fits its caches; a GPU wants to be filled. Measured on a CPU at widths of 768 and 3,072, a
# product of matrices takes as long as if it had 20 rows more.
BUDGETS = {
    "cpu": Budget(tokens=4096, mask_elements=2**23, logit_elements=2**20, batch_cost=20),
    "cuda": Budget(tokens=32768, mask_elements=2**28, logit_elements=2**28, batch_cost=1024),
}


def batches(plan: Plan, budget: Budget, vocabulary: int) -> Iterator[Batch]:
    """Rows of equal section, longest first, cut where padding and the batches' own cost are least."""
    lengths = np.diff(plan.row_offsets).astype(np.int64)
    borders = np.flatnonzero(np.diff(plan.row_section, prepend=-1, append=-1))
    for first, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        section = int(plan.row_section[first])
        prefix = int(plan.prefix_offsets[section + 1] - plan.prefix_offsets[section])
        widths = lengths[first:end].tolist()
        rooms = [budget.rows(w, prefix) if plan.tries[0] else budget.plain_rows(w, vocabulary) for w in widths]
        for start, stop in _cuts(widths, rooms, budget.batch_cost):
            yield Batch(section, first + start, first + stop)


def _cuts(widths: list[int], rooms: list[int], batch_cost: int) -> Iterator[tuple[int, int]]:
    """Spans of rows, longest first, of least cost: rows times the first one's width, and `batch_cost` a span.

    Args:
        rooms: how many rows a span that begins there may have.
    """
    count = len(widths)
    least = np.zeros(count + 1, dtype=np.int64)  # cost of the rows from here on
    stops = [0] * count
    for start in range(count - 1, -1, -1):
        last = min(count, start + rooms[start])
        costs = widths[start] * np.arange(1, last - start + 1) + least[start + 1 : last + 1]
        best = int(costs.argmin())
        least[start], stops[start] = costs[best] + batch_cost, start + 1 + best
    start = 0
    while start < count:
        yield start, stops[start]
        start = stops[start]
