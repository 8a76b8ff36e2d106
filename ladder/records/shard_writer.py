"""Writes what `ladder/records/shards.py` reads, in a way that can be stopped and gone on with."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np

from ladder.files.hashing import sha256_of
from ladder.files.writing import cannot_write, fsync_path

SHARD_TOKENS = 2**28


class ShardWriter:
    """Appends documents to numbered files of about SHARD_TOKENS tokens, with the end of each document beside them.

    What is on disk beyond `state()` is cut off by `restore`, so a state that was saved is always a place to go on from.
    """

    def __init__(self, directory: Path, split: str, dtype: np.dtype[Any]) -> None:
        self.directory, self.split, self.dtype = directory, split, dtype
        self._state: dict[str, Any] = {"bytes": 0, "documents": 0, "shards": []}

    def add(self, batch: list[list[int]], texts: list[str]) -> None:
        if not batch:
            return
        shards = self._state["shards"]
        if not shards or shards[-1]["tokens"] >= SHARD_TOKENS:
            shards.append({"tokens": 0, "documents": 0, "largest_id": 0})
        shard = shards[-1]
        ends = shard["tokens"] + np.cumsum([len(ids) for ids in batch], dtype=np.int64)
        tokens = np.fromiter(itertools.chain.from_iterable(batch), self.dtype, count=int(ends[-1]) - shard["tokens"])
        for suffix, values in ((".bin", tokens), (".ends", ends.astype("<i8"))):
            path = self._path(len(shards) - 1, suffix)
            try:
                with path.open("ab") as file:
                    file.write(values.tobytes())
            except OSError as error:
                raise cannot_write(path, error) from None
        shard["tokens"] = int(ends[-1])
        shard["documents"] += len(batch)
        shard["largest_id"] = max(shard["largest_id"], int(tokens.max()))
        self._state["documents"] += len(batch)
        self._state["bytes"] += sum(len(text.encode("utf-8")) for text in texts)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on; what it describes is on the disk."""
        for number in range(max(0, len(self._state["shards"]) - 1), len(self._state["shards"])):
            fsync_path(self._path(number, ".bin"))
            fsync_path(self._path(number, ".ends"))
        return self._state

    def restore(self, state: dict[str, Any]) -> None:
        self._state = state
        widths = {".bin": ("tokens", self.dtype.itemsize), ".ends": ("documents", 8)}
        for number, shard in enumerate(state["shards"]):
            for suffix, (key, width) in widths.items():
                os.truncate(self._path(number, suffix), shard[key] * width)
        for path in self.directory.glob(f"{self.split}-*"):
            if int(path.stem.rpartition("-")[2]) >= len(state["shards"]):
                path.unlink()

    def manifest(self) -> dict[str, Any]:
        shards = [
            {"file": path.name, "ends": path.with_suffix(".ends").name, "sha256": sha256_of(path)} | shard
            for number, shard in enumerate(self._state["shards"])
            if (path := self._path(number, ".bin"))
        ]
        return self._state | {"tokens": sum(shard["tokens"] for shard in shards), "shards": shards}

    def _path(self, number: int, suffix: str) -> Path:
        return self.directory / f"{self.split}-{number:05d}{suffix}"
