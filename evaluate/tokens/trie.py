"""Token sequences as tries, laid out so that every distinct prefix is computed once.

A row holds a trie in depth-first preorder. Then the descendants of node k are exactly the nodes k < q < end[k], so key
k is visible from query q if and only if k <= q < end[k], and three integer vectors (token, position, end) say all that
a transformer needs to know about the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trie of `nodes` tokens, and what is predicted where: node `pair_node[j]` predicts `pair_token[j]`."""

    tokens: Ints  # (nodes,)
    positions: Ints  # (nodes,) depth in the trie; the shared prefix is not counted
    ends: Ints  # (nodes,) index in the row past the last descendant
    pair_node: Ints  # (pairs,)
    pair_token: Ints  # (pairs,)
    pair_request: Ints  # (pairs,) the request whose log-likelihood this term belongs to


@dataclass(frozen=True, kw_only=True)
class Request:
    """Input tokens `inputs`, of which the last `len(targets)` predict `targets`, one each."""

    index: int
    inputs: Ints
    targets: Ints


def common_prefix(left: Ints, right: Ints) -> int:
    """The number of leading tokens that two sequences share."""
    shorter = min(len(left), len(right))
    different = left[:shorter] != right[:shorter]
    first = int(different.argmax()) if shorter else 0
    return first if shorter and different[first] else shorter


def sort_requests(requests: Sequence[Request]) -> tuple[list[Request], Ints]:
    """Requests in lexicographic order of their inputs, and each one's common prefix with the one before (0 first).

    The number of nodes of the whole trie is the sum of the lengths minus the sum of the common prefixes.
    """
    keys = [request.inputs.astype(">u4").tobytes() for request in requests]  # byte order is then token order
    order = sorted(range(len(requests)), key=keys.__getitem__)
    ordered = [requests[index] for index in order]
    shared = np.zeros(len(ordered), dtype=np.int32)
    for place in range(1, len(ordered)):
        if keys[order[place]] == keys[order[place - 1]]:
            shared[place] = len(ordered[place].inputs)
        else:
            shared[place] = common_prefix(ordered[place].inputs, ordered[place - 1].inputs)
    return ordered, shared


def distinct_prefixes(ordered: Sequence[Request], shared: Ints) -> int:
    """The number of nodes of the whole trie of sorted requests: the least number of tokens that can be processed."""
    return sum(len(request.inputs) for request in ordered) - int(shared.sum())


def trie_rows(ordered: Sequence[Request], shared: Ints, row_tokens: int) -> list[Row]:
    """Sorted requests packed into tries of at most `row_tokens` nodes (one longer request makes a longer row)."""
    lengths = np.array([len(request.inputs) for request in ordered], dtype=np.int64)
    spans = pack(lengths, shared, row_tokens)
    return [_lay_out(ordered[start:stop], shared[start:stop]) for start, stop in spans]


def pack(lengths: npt.NDArray[np.int64], shared: Ints, row_tokens: int) -> list[tuple[int, int]]:
    """Which of the sorted requests each row holds, as (start, stop).

    A full row is cut in its second half, where the fewest nodes must be computed again in the next row.
    """
    grown = np.cumsum(lengths - shared)
    spans, start = [], 0
    while start < len(lengths):
        base = grown[start] - lengths[start]  # a row from `start` to request i has grown[i] - base nodes
        stop = max(int(np.searchsorted(grown, base + row_tokens, side="right")), start + 1)
        if stop < len(lengths):
            low = max(int(np.searchsorted(grown, base + row_tokens // 2)), start) + 1
            cuts = shared[min(low, stop) : stop + 1]
            stop -= int(np.argmin(cuts[::-1]))
        spans.append((start, stop))
        start = stop
    return spans


def chain_rows(ordered: Sequence[Request], shared: Ints) -> list[Row]:
    """Sorted requests as plain sequences, one a row, for models that take no tries.

    A request whose inputs begin the next one's needs no row of its own (answer letters share their question).
    """
    rows, start = [], 0
    for place in range(1, len(ordered) + 1):
        if place == len(ordered) or shared[place] < len(ordered[place - 1].inputs):
            rows.append(_lay_out(ordered[start:place], shared[start:place]))
            start = place
    return rows


def _lay_out(ordered: Sequence[Request], shared: Ints) -> Row:
    """The trie of sorted requests; `shared[0]` is ignored, the first request opens the row."""
    nodes = sum(len(request.inputs) for request in ordered) - int(shared[1:].sum())
    tokens, positions, ends = (np.empty(nodes, dtype=np.int32) for _ in range(3))
    path = np.empty(max(len(request.inputs) for request in ordered), dtype=np.int32)  # the open node at each depth
    pair_nodes, count, depth = [], 0, 0
    for request, common in zip(ordered, [0, *shared[1:].tolist()], strict=True):
        length = len(request.inputs)
        if common < length:
            ends[path[common:depth]] = count  # what lies deeper than the branching point is complete
            path[common:length] = np.arange(count, count + length - common)
            tokens[count : count + length - common] = request.inputs[common:]
            positions[count : count + length - common] = np.arange(common, length)
            count, depth = count + length - common, length
        pair_nodes.append(path[length - len(request.targets) : length].copy())
    ends[path[:depth]] = count
    return Row(
        tokens=tokens,
        positions=positions,
        ends=ends,
        pair_node=np.concatenate(pair_nodes),
        pair_token=np.concatenate([request.targets for request in ordered]),
        pair_request=np.concatenate([np.full(len(r.targets), r.index, dtype=np.int32) for r in ordered]),
    )
