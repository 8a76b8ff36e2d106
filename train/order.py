"""Which tokens step s sees: a pure function of (seed, s), so resuming and any number of processes need no state.

Sequences are fixed windows of T tokens over the whole split, across document borders, as in the published runs. Each
epoch visits every window once in its own pseudo-random order; from the second epoch on the windows start at a new
offset, so that a repeated token stands at another place.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ladder.config.data import Mix
from ladder.errors import UserError

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

    Of a mix, every block of 64 steps holds each source's share of the sequences to within one, in a pseudo-random
    order, and each source is read through in epochs of its own.

    Raises:
        UserError: a source is shorter than one sequence, or its share too small to be read at all.
    """

    mix: Mix
    sequence_length: int
    batch_sequences: int
    seed: int

    def __post_init__(self) -> None:
        for shards, windows in zip(self.mix.sources, self.windows, strict=True):
            if windows < 1:
                raise UserError(
                    f"{shards.directory}: split {shards.split} has {shards.total:,} tokens, "
                    f"not enough text for one sequence of {self.sequence_length}"
                )
        size = _BLOCK_STEPS * self.batch_sequences
        counts = _apportion(tuple(self.mix.shares), size)
        if not all(counts):
            never = counts.index(0)
            place, share = self.mix.sources[never].directory, self.mix.shares[never]
            raise UserError(
                f"{place}: its share of the mix, {share:.2g}, is less than one of the {size:,} sequences of "
                f"{_BLOCK_STEPS} steps, so that it would never be read; leave it out of data.mix, or give it a larger "
                "weight"
            )

    @property
    def windows(self) -> tuple[int, ...]:
        """Windows an epoch of each source, the same for every offset."""
        return tuple((shards.total - self.sequence_length + 1) // self.sequence_length for shards in self.mix.sources)

    def starts(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and first token of each sequence of batch `step` (from 1): int64, both (batch_sequences,)."""
        block, row = divmod(step - 1, _BLOCK_STEPS)
        key = (self.windows, tuple(self.mix.shares), self.sequence_length, self.batch_sequences, self.seed, block)
        sources, starts = _block(*key)
        return sources[row], starts[row]

    def batch(self, step: int, rank: int = 0, processes: int = 1) -> np.ndarray:
        """Token ids of this process's share of batch `step`: int64, shape (share, sequence_length)."""
        sources, starts = (part[rank::processes] for part in self.starts(step))
        if len(self.mix.sources) == 1:
            return self.mix.sources[0].windows(starts, self.sequence_length)
        out = np.empty((len(starts), self.sequence_length), np.int64)
        for number, shards in enumerate(self.mix.sources):
            out[sources == number] = shards.windows(starts[sources == number], self.sequence_length)
        return out


@functools.lru_cache(maxsize=2)
def _block(
    windows: tuple[int, ...], shares: tuple[float, ...], length: int, batch: int, seed: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sources and starts of _BLOCK_STEPS batches at once, both (_BLOCK_STEPS, batch): numpy's cost is per call."""
    size = _BLOCK_STEPS * batch
    counts = _apportion(shares, size)
    sources = np.repeat(np.arange(len(counts)), counts)
    if len(counts) > 1:
        sources = sources[permute(np.arange(size), size, _key(seed, -1, block))]
    starts = np.empty(size, np.int64)
    for number, count in enumerate(counts):
        sample = block * count + np.arange(count, dtype=np.int64)
        starts[sources == number] = _window_starts(sample, windows[number], length, seed, number)
    return sources.reshape(_BLOCK_STEPS, batch), starts.reshape(_BLOCK_STEPS, batch)


def _apportion(shares: tuple[float, ...], size: int) -> list[int]:
    """Whole numbers in the proportion of `shares` that sum to `size`: the largest remainders are rounded up."""
    counts = [int(share * size) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i] * size)
    for i in by_remainder[: size - sum(counts)]:
        counts[i] += 1
    return counts


def _window_starts(sample: np.ndarray, windows: int, length: int, seed: int, source: int) -> np.ndarray:
    """First token of the `sample`-th sequences that a run reads of one source."""
    starts = np.empty_like(sample)
    epochs = sample // windows
    for epoch in np.unique(epochs):
        here = epochs == epoch
        key = _key(seed, source, int(epoch))
        offset = key % length if epoch else 0
        starts[here] = permute(sample[here] % windows, windows, key) * length + offset
    return starts


def _key(*numbers: int) -> int:
    """A 64-bit key from a few whole numbers."""
    key = np.zeros(1, np.uint64)
    for number in numbers:
        key = _mix(key ^ np.array([number & 0xFFFFFFFFFFFFFFFF], np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    return int(_mix(key)[0])
