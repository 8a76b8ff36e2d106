"""Prepared data on disk: flat token shards with a manifest, read through memory maps.

<directory>/manifest.json          vocabulary, tokenizer hash, and per split the shards with sizes and checksums
<directory>/train-00000.bin, …     token ids, uint16 or uint32, little-endian, documents one after another
<directory>/val-00000.bin, …
<directory>/tokenizer/             the tokenizer in Hugging Face layout
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ladder.errors import UserError, unknown
from ladder.files.bind import Count, Place, Whole, bind, lenient
from ladder.files.hashing import json_sha256, sha256_of
from ladder.files.reading import read, read_json
from ladder.files.writing import write_json

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 1
TOKENIZER_DIRECTORY = "tokenizer"
_VERIFIED = ".verified.json"


@lenient
@dataclass(frozen=True, kw_only=True)
class Shard:
    file: Place  # relative to the manifest, or absolute
    tokens: Count
    sha256: str


@lenient
@dataclass(frozen=True, kw_only=True)
class Split:
    bytes: Whole  # of its text in UTF-8
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]

    @property
    def tokens(self) -> int:
        return sum(shard.tokens for shard in self.shards)


@lenient
@dataclass(frozen=True, kw_only=True)
class Manifest:
    schema: Literal[1]
    dtype: Literal["<u2", "<u4", "<i4", "<i8"]
    vocab_size: Count
    tokenizer_sha256: str
    splits: dict[str, Split]


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


def _file_state(path: Path, shard: Shard) -> list[Any]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, shard.sha256]


def remember_checksums(directory: Path) -> None:
    """Notes that every shard of the manifest is as it was when its checksum was taken: for whoever just took them."""
    splits = read(Manifest, directory / MANIFEST).splits.values()
    shards = [shard for split in splits for shard in split.shards]
    write_json(directory / _VERIFIED, {shard.file: _file_state(directory / shard.file, shard) for shard in shards})


def _remembered(directory: Path) -> dict[str, Any]:
    """File -> the state in which its checksum was right; nothing where that record is absent or damaged."""
    try:
        value = read_json(directory / _VERIFIED)
    except UserError:
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class TokenShards:
    """One split of a prepared corpus as a single long array of token ids.

    Raises:
        UserError: no or an unreadable manifest, an unknown split, a shard that is missing, truncated or altered.
    """

    directory: Path
    split: str
    manifest: Manifest = field(init=False)
    fingerprint: str = field(init=False)  # hash of the manifest: changes with any token, the tokenizer or the split
    _maps: list[np.ndarray] = field(init=False, repr=False)
    _starts: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        path = self.directory / MANIFEST
        if not path.exists():
            raise UserError(
                f"no prepared data in {self.directory} (no manifest.json); "
                "run: python scripts/prepare_data.py data=NAME, or ladder=NAME for a ladder's own"
            )
        content = read_json(path)
        try:
            manifest = bind(Manifest, content, str(path))
        except UserError as error:
            raise UserError(f"{error}; prepare the data again") from None
        if self.split not in manifest.splits:
            raise unknown(f"split of {self.directory}", self.split, manifest.splits)
        object.__setattr__(self, "manifest", manifest)
        object.__setattr__(self, "fingerprint", json_sha256(content))
        shards = manifest.splits[self.split].shards
        self._verify(shards)
        maps = [np.memmap(self.directory / shard.file, dtype=np.dtype(manifest.dtype), mode="r") for shard in shards]
        object.__setattr__(self, "_maps", maps)
        object.__setattr__(self, "_starts", np.cumsum([0] + [len(part) for part in maps]))

    def _verify(self, shards: Sequence[Shard]) -> None:
        """Sizes always; checksums once per file state (size and modification time), remembered beside the manifest."""
        verified = _remembered(self.directory)
        fresh = {}
        width = np.dtype(self.manifest.dtype).itemsize
        tokenizer = self.tokenizer_directory / "tokenizer.json"
        if tokenizer.exists() and sha256_of(tokenizer) != self.manifest.tokenizer_sha256:
            raise UserError(f"{tokenizer} is not the tokenizer that made this data; prepare the data again")
        for shard in shards:
            path = self.directory / shard.file
            if not path.exists():
                raise UserError(f"{path} is missing although the manifest lists it; prepare the data again")
            if (size := path.stat().st_size) != shard.tokens * width:
                raise UserError(
                    f"{path} has {size:,} bytes, not {shard.tokens * width:,} as in the manifest: "
                    "it is truncated or from another preparation; prepare the data again"
                )
            state = _file_state(path, shard)
            if verified.get(shard.file) == state:
                continue
            if sha256_of(path) != shard.sha256:
                raise UserError(
                    f"{path} does not have the checksum of the manifest: it was altered; prepare the data again"
                )
            fresh[shard.file] = state
        if fresh and os.access(self.directory, os.W_OK):
            write_json(self.directory / _VERIFIED, verified | fresh)

    @property
    def total(self) -> int:
        """Tokens in the split."""
        return int(self._starts[-1])

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the split's text."""
        return self.manifest.splits[self.split].bytes

    @property
    def vocab_size(self) -> int:
        return self.manifest.vocab_size

    @property
    def tokenizer_directory(self) -> Path:
        return self.directory / TOKENIZER_DIRECTORY

    def read(self, start: int, count: int) -> np.ndarray:
        """Token ids [start, start + count) as int64; the range must lie inside the split."""
        if start < 0 or start + count > self.total:
            raise IndexError(f"tokens {start}..{start + count} of {self.total}")
        out = np.empty(count, np.int64)
        shard = int(np.searchsorted(self._starts, start, side="right")) - 1
        filled = 0
        while filled < count:
            offset = start + filled - int(self._starts[shard])
            part = self._maps[shard][offset : offset + count - filled]
            out[filled : filled + len(part)] = part
            filled += len(part)
            shard += 1
        return out

    def windows(self, starts: np.ndarray, length: int) -> np.ndarray:
        """`length` token ids from each start: int64, shape (len(starts), length)."""
        if len(self._maps) == 1:
            return self._maps[0][starts[:, None] + np.arange(length)].astype(np.int64)
        return np.stack([self.read(int(start), length) for start in starts])
