"""Token files that exist already: read where they lie, described in a manifest, not copied."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from ladder.errors import UserError, unknown
from ladder.files.hashing import sha256_of
from ladder.files.reading import read_text
from preparing.tokens import SPLITS

RAW_DTYPES = ("uint16", "uint32", "int32", "int64", "u2", "u4", "i4", "i8")


def raw_dtype(data: DictConfig) -> np.dtype[Any]:
    """Raises UserError where it is none that token files have."""
    name = str(data.source.raw.dtype)
    if name.lstrip("<") not in RAW_DTYPES:
        raise unknown("data.source.raw.dtype", name, RAW_DTYPES)
    return np.dtype(name)


def raw_splits(data: DictConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """A manifest of token files that lie elsewhere: flat arrays without a header, as AI2's `.npy` shards are.

    `source.raw.train` and `source.raw.val` are lists of paths or patterns; a `.txt` file among them is one of AI2's mix
    files: a path a line, relative to `source.raw.root`, after a label and a comma or without, and with {TOKENIZER} in
    the place of `source.raw.tokenizer`.
    """
    raw = data.source.raw
    widths = byte_widths(tokenizer)
    splits = {}
    for split in SPLITS:
        shards, total, size, documents = [], 0, 0, 0
        for path in tqdm(_raw_paths(raw, raw.get(split) or []), desc=split, disable=not sys.stderr.isatty()):
            tokens = np.memmap(path, dtype=raw.dtype, mode="r")
            largest = 0
            for part in np.array_split(tokens, 1 + len(tokens) // 2**26):
                largest, least = max(largest, int(part.max())), int(part.min())
                if largest >= len(tokenizer) or least < 0:
                    raise UserError(
                        f"{path} holds id {min(least, 0) or largest:,}, the tokenizer has {len(tokenizer):,} entries: "
                        "another tokenizer, or a wrong data.source.raw.dtype"
                    )
                size += int(widths[part].sum())
                documents += int((part == tokenizer.eos_token_id).sum())
            shards.append({"file": str(path), "tokens": len(tokens), "largest_id": largest, "sha256": sha256_of(path)})
            total += len(tokens)
        splits[split] = {"tokens": total, "bytes": size, "documents": documents, "shards": shards}
    if not splits["train"]["tokens"]:
        raise UserError(f"data={data.name}: source.raw.train names no files")
    return {split: part for split, part in splits.items() if part["tokens"]}


def byte_widths(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """UTF-8 bytes that each id stands for, int64 (vocabulary,): a byte-level entry has one character per byte."""
    if "ByteLevel" not in str(tokenizer.backend_tokenizer.decoder):
        raise UserError("data.source.raw needs a byte-level BPE tokenizer, to count the bytes of its text")
    widths = np.zeros(len(tokenizer), np.int64)
    for entry, number in tokenizer.get_vocab().items():
        widths[number] = len(entry)
    widths[list(tokenizer.added_tokens_decoder)] = 0
    return widths


def _raw_paths(raw: DictConfig, patterns: Iterable[str]) -> list[Path]:
    root = Path(raw.get("root") or ".").resolve()
    paths: list[Path] = []
    for pattern in patterns:
        if pattern.endswith(".txt"):
            lines = [line.strip() for line in read_text(root / pattern).splitlines()]
            names = [line for line in lines if line and not line.startswith("#")]
            names = [name if (root / name).exists() else name.rpartition(",")[2].strip() for name in names]
            paths += [root / name.replace("{TOKENIZER}", raw.get("tokenizer") or "{TOKENIZER}") for name in names]
        else:
            paths += sorted(map(Path, glob.glob(str(root / pattern), recursive=True))) or [root / pattern]  # noqa: PTH207
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise UserError(f"{missing} does not exist; check data.source.raw")
    width = np.dtype(raw.dtype).itemsize
    for odd in (path for path in paths if path.stat().st_size % width or not path.stat().st_size):
        raise UserError(f"{odd} has {odd.stat().st_size:,} bytes, no whole number of {raw.dtype} ids; check the dtype")
    return paths
