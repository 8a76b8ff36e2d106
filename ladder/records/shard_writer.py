"""Writes what `ladder/records/shards.py` reads, in a way that can be stopped and gone on with."""

from __future__ import annotations

import itertools
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ladder.files.bind import Whole, lenient
from ladder.files.hashing import sha256_of
from ladder.files.writing import cannot_write, fsync_path

SHARD_TOKENS = 2**28


@lenient
@dataclass(frozen=True, kw_only=True)
class WrittenShard:
    tokens: Whole
    documents: Whole
    largest_id: Whole


@lenient
@dataclass(frozen=True, kw_only=True)
class Written:
    """What a writer has made so far: UTF-8 bytes of the texts, documents, and its shards in their order."""

    bytes: Whole = 0
    documents: Whole = 0
    shards: tuple[WrittenShard, ...] = ()


class ShardWriter:
    """Appends documents to numbered files of about SHARD_TOKENS tokens, with the end of each document beside them.

    What is on disk beyond `state()` is cut off by `restore`, so a state that was saved is always a place to go on from.
    """

    def __init__(self, directory: Path, split: str, dtype: np.dtype[Any]) -> None:
        self.directory, self.split, self.dtype = directory, split, dtype
        self._written = Written()

    def add(self, batch: list[list[int]], texts: list[str]) -> None:
        if not batch:
            return
        before = self._written
        shards = list(before.shards)
        if not shards or shards[-1].tokens >= SHARD_TOKENS:
            shards.append(WrittenShard(tokens=0, documents=0, largest_id=0))
        shard = shards[-1]
        ends = shard.tokens + np.cumsum([len(ids) for ids in batch], dtype=np.int64)
        tokens = np.fromiter(itertools.chain.from_iterable(batch), self.dtype, count=int(ends[-1]) - shard.tokens)
        for suffix, values in ((".bin", tokens), (".ends", ends.astype("<i8"))):
            path = self._path(len(shards) - 1, suffix)
            try:
                with path.open("ab") as file:
                    file.write(values.tobytes())
            except OSError as error:
                raise cannot_write(path, error) from None
        shards[-1] = WrittenShard(
            tokens=int(ends[-1]),
            documents=shard.documents + len(batch),
            largest_id=max(shard.largest_id, int(tokens.max())),
        )
        self._written = Written(
            bytes=before.bytes + sum(len(text.encode("utf-8")) for text in texts),
            documents=before.documents + len(batch),
            shards=tuple(shards),
        )

    def state(self) -> Written:
        """Everything needed to go on; what it describes is on the disk."""
        for number in range(max(0, len(self._written.shards) - 1), len(self._written.shards)):
            fsync_path(self._path(number, ".bin"))
            fsync_path(self._path(number, ".ends"))
        return self._written

    def restore(self, written: Written) -> None:
        """Goes on from there: what was written after it is cut off."""
        self._written = written
        for number, shard in enumerate(written.shards):
            os.truncate(self._path(number, ".bin"), shard.tokens * self.dtype.itemsize)
            os.truncate(self._path(number, ".ends"), shard.documents * 8)
        for path in self.directory.glob(f"{self.split}-*"):
            if int(path.stem.rpartition("-")[2]) >= len(written.shards):
                path.unlink()

    def manifest(self) -> dict[str, Any]:
        """The split as it stands in the manifest of prepared data (`ladder.records.shards`)."""
        shards = [
            {"file": path.name, "ends": path.with_suffix(".ends").name, "sha256": sha256_of(path)} | asdict(shard)
            for number, shard in enumerate(self._written.shards)
            if (path := self._path(number, ".bin"))
        ]
        tokens = sum(shard.tokens for shard in self._written.shards)
        return asdict(self._written) | {"tokens": tokens, "shards": shards}

    def _path(self, number: int, suffix: str) -> Path:
        return self.directory / f"{self.split}-{number:05d}{suffix}"
