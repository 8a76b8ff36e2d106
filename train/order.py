"""Which tokens step s sees: a pure function of (seed, s), so resuming and any number of processes need no state.

Sequences are fixed windows of T tokens over the whole split, across document borders, as in the published runs. Each
epoch visits every window once in its own pseudo-random order; from the second epoch on the windows start at a new
offset, so that a repeated token stands at another place.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ladder.errors import UserError
from ladder.shards import TokenShards

_ROUNDS = 6
_BLOCK_STEPS = 64


def _mix(value: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele et al. 2014): every input bit moves every output bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def permute(index: np.ndarray, size: int, key: int) -> np.ndarray:
    """A pseudo-random permutation of range(size), evaluated at `index` only.

    A Feistel network on the next even number of bits, walked along its cycle until it lands inside the range (Black
    and Rogaway 2002): no table, so 60 million windows cost no memory and no start-up time.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    keys = _mix(
        np.uint64(key & 0xFFFFFFFFFFFFFFFF) + np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    )

    def once(value: np.ndarray) -> np.ndarray:
        left, right = value >> shift, value & low
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & low)
        return (left << shift) | right

    out = once(index.astype(np.uint64))
    while (outside := out >= size).any():
        out[outside] = once(out[outside])
    return out.astype(np.int64)


@dataclass(frozen=True)
class BatchOrder:
    """The batches of one run.

    Raises:
        UserError: the split is shorter than one sequence.
    """

    shards: TokenShards
    sequence_length: int
    batch_sequences: int
    seed: int

    def __post_init__(self) -> None:
        if self.windows < 1:
            raise UserError(
                f"{self.shards.directory}: split {self.shards.split} has {self.shards.total:,} tokens, "
                f"not enough text for one sequence of {self.sequence_length}"
            )

    @property
    def windows(self) -> int:
        """Windows an epoch, the same for every offset."""
        return (self.shards.total - self.sequence_length + 1) // self.sequence_length

    def starts(self, step: int) -> np.ndarray:
        """First token of each sequence of batch `step` (from 1): int64, shape (batch_sequences,)."""
        block, row = divmod(step - 1, _BLOCK_STEPS)
        return _block_starts(self.windows, self.sequence_length, self.batch_sequences, self.seed, block)[row]

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> np.ndarray:
        """Token ids of this process's share of batch `step`: int64, shape (share, sequence_length)."""
        return self.shards.windows(self.starts(step)[rank::processes], self.sequence_length)


@functools.lru_cache(maxsize=2)
def _block_starts(windows: int, length: int, batch_sequences: int, seed: int, block: int) -> np.ndarray:
    """Starts of _BLOCK_STEPS batches at once, shape (_BLOCK_STEPS, batch_sequences): numpy's cost is per call."""
    samples = _BLOCK_STEPS * batch_sequences
    sample = block * samples + np.arange(samples, dtype=np.int64)
    out = np.empty_like(sample)
    epochs = sample // windows
    for epoch in np.unique(epochs):
        here = epochs == epoch
        key = int(_mix(np.array([seed * 0x10001 + int(epoch) + 1], np.uint64))[0])
        offset = key % length if epoch else 0
        out[here] = permute(sample[here] % windows, windows, key) * length + offset
    return out.reshape(_BLOCK_STEPS, batch_sequences)
