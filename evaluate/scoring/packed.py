"""The GPU's way: tries end to end in rows of one fixed length, so that one compiled graph and one kernel do them all.

A section's prefix is the stem of its tries: it is computed once in each row that holds some of them. Then the mask of a
whole row is that of a trie, k <= q < end[k], and which blocks of it are empty or full follows from the least and the
largest end in each block of keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface

from evaluate.scoring.attention import Kind, mask_argument
from evaluate.scoring.head import body_of
from evaluate.scoring.plan import Plan
from evaluate.tokens.trie import Ints

PACK_TOKENS = 32768
BLOCK = 128  # FlexAttention's own
ATTENTION = "model_ladder_trie"
MOST_SHAPES = 64
"""Of models that one process may measure: torch keeps a graph for each under one name, and gives up after 8."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """One row of tries; rows [first, last) of the plan lie in it."""

    first: int
    last: int
    tokens: Ints  # (length,)
    positions: Ints  # (length,) along the path
    ends: Ints  # (length,) index past the last descendant; padding is its own
    shifts: Ints  # (last - first,) where each of the plan's rows begins


def pack_length(plan: Plan, least: int) -> int:
    """Of all packs of the plan: a multiple of the block that holds its widest row."""
    return -(-max(least, plan.widest_row) // BLOCK) * BLOCK


def packs(plan: Plan, length: int) -> Iterator[Pack]:
    """The plan's rows in order, as many to a pack as it holds with a prefix before those of each section."""
    lengths, prefixes = np.diff(plan.row_offsets), np.diff(plan.prefix_offsets)
    first = 0
    while first < len(lengths):
        last, used, section = first, 0, -1
        while last < len(lengths):
            new = int(plan.row_section[last]) != section
            more = int(lengths[last]) + (int(prefixes[plan.row_section[last]]) if new else 0)
            if used + more > length:
                break
            last, used, section = last + 1, used + more, int(plan.row_section[last])
        yield _pack(plan, first, last, length)
        first = last


def _pack(plan: Plan, first: int, last: int, length: int) -> Pack:
    tokens, positions, ends = np.zeros(length, np.int32), np.zeros(length, np.int32), np.arange(1, length + 1)
    shifts, place, stem = np.zeros(last - first, np.int32), 0, slice(0, 0)
    for row in range(first, last):
        section = plan.row_section[row]
        if row == first or section != plan.row_section[row - 1]:
            prefix = plan.prefix_tokens[plan.prefix_offsets[section] : plan.prefix_offsets[section + 1]]
            stem = slice(place, place + len(prefix))
            tokens[stem], positions[stem] = prefix, np.arange(len(prefix))
            place += len(prefix)
        nodes = slice(plan.row_offsets[row], plan.row_offsets[row + 1])
        here = slice(place, place + nodes.stop - nodes.start)
        tokens[here], positions[here], ends[here] = plan.tokens[nodes], plan.positions[nodes], plan.ends[nodes] + place
        shifts[row - first], place = place, here.stop
        ends[stem] = place  # what follows it descends from it
    return Pack(first=first, last=last, tokens=tokens, positions=positions, ends=ends.astype(np.int32), shifts=shifts)


def blocks(ends: Ints, positions: Ints, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """(full, partial), each (blocks of queries, blocks of keys): all of a block is visible, or some of it may be."""
    by_block = ends.reshape(-1, BLOCK)
    least, most = by_block.min(axis=1), by_block.max(axis=1)
    index = np.arange(len(by_block))
    before = index[:, None] > index  # of queries, keys
    some = (before & (most > BLOCK * index[:, None])) | (index[:, None] == index)
    full = before & (least >= BLOCK * (index[:, None] + 1))
    if kind.window is not None:
        highest, lowest = positions.reshape(-1, BLOCK).max(axis=1), positions.reshape(-1, BLOCK).min(axis=1)
        full &= highest[:, None] - lowest < kind.window
    if kind.chunk is not None:
        full = np.zeros_like(full)
    return full, some & ~full


class Packed:
    """A model's body on packs, its layers compiled once for their length.

    Only models whose attention goes through transformers' interface can be run so, and only those whose attention is
    nothing but softmax over scaled products.
    """

    def __init__(
        self,
        model: Any,
        kinds: Mapping[str, Kind],
        least: int = PACK_TOKENS,
        compiled: Callable[..., Any] | None = None,
    ) -> None:
        """compiled: what makes a compiled function of a layer's forward; None: torch.compile for one static shape."""
        AttentionInterface.register(ATTENTION, _attention)
        torch._dynamo.config.recompile_limit = MOST_SHAPES
        self.least = least
        self._model, self._body, self._kinds = model, body_of(model), kinds
        names = set(getattr(model, "_no_split_modules", None) or [])
        layers = [module for module in self._body.modules() if type(module).__name__ in names]
        compiled = compiled or (lambda forward: torch.compile(forward, dynamic=False, fullgraph=True))
        self._layers = [(layer, compiled(layer.forward)) for layer in layers]
        self._length = 0

    def hidden(self, pack: Pack) -> torch.Tensor:
        """Last hidden states (length, d).

        Raises:
            ValueError: the model's attention does more than this way can. Its code raises what it likes.
        """
        self._allocate(len(pack.tokens))
        for buffer, values in ((self._ends, pack.ends), (self._positions, pack.positions)):
            buffer.copy_(self._move(values))  # the same tensors every time: masks that refer to them stay the same
        made = {name: self._block_mask(pack, name) for name in self._kinds}
        with self._changed():
            output = self._body(
                input_ids=self._move(pack.tokens)[None].long(),
                position_ids=self._positions[None].long(),
                attention_mask=mask_argument(made),
                use_cache=False,
            )
        return output.last_hidden_state[0]

    def _allocate(self, length: int) -> None:
        if length == self._length:
            return
        device, self._length = next(self._model.parameters()).device, length
        self._ends, self._positions = (torch.zeros(length, dtype=torch.int32, device=device) for _ in range(2))
        self._mask_mods = {name: _mask_mod(self._ends, self._positions, kind) for name, kind in self._kinds.items()}

    def _block_mask(self, pack: Pack, name: str) -> BlockMask:
        full, partial = blocks(pack.ends, pack.positions, self._kinds[name])
        return BlockMask.from_kv_blocks(
            *self._listed(partial),
            *self._listed(full),
            BLOCK_SIZE=BLOCK,
            mask_mod=self._mask_mods[name],
            seq_lengths=(self._length, self._length),
            compute_q_blocks=False,
        )

    def _listed(self, chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """How many blocks of keys each block of queries has (1, 1, blocks), and their numbers before all others'."""
        count, order = chosen.sum(axis=1), np.argsort(~chosen, axis=1, kind="stable")
        return self._move(count.astype(np.int32))[None, None], self._move(order.astype(np.int32))[None, None]

    def _move(self, array: np.ndarray) -> torch.Tensor:
        return move(array, next(self._model.parameters()).device)

    @contextlib.contextmanager
    def _changed(self) -> Iterator[None]:
        """The model's attention in place of its own, and its layers compiled."""
        config = self._model.config
        before = config._attn_implementation
        config._attn_implementation = ATTENTION
        for layer, forward in self._layers:
            layer.forward = forward
        try:
            yield
        finally:
            config._attn_implementation = before
            for layer, _ in self._layers:
                del layer.forward


def move(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """To a GPU from pinned memory: the host goes on with the next batch meanwhile."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _mask_mod(ends: torch.Tensor, positions: torch.Tensor, kind: Kind) -> Callable[..., torch.Tensor]:
    def visible(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        path = (key <= query) & (query < ends[key])
        near = kind.sees(positions[query], positions[key])
        return path if near is None else path & near

    return visible


def _attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **more: Any
) -> tuple[torch.Tensor, None]:
    """As transformers' attention functions: (1, heads, length, head size) in, (1, length, heads, size of value) out."""
    for name in ("softcap", "s_aux", "position_bias"):
        if more.get(name) is not None:
            raise ValueError(f"attention with {name}")
    if not isinstance(attention_mask, BlockMask):
        raise ValueError("the mask does not reach the attention")
    grouped = query.shape[1] != key.shape[1]
    output = flex_attention(query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=grouped)
    return output.transpose(1, 2).contiguous(), None
