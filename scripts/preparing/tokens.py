"""Documents as shards of token ids, in a way that can be stopped and gone on with."""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from ladder.errors import UserError
from ladder.files.bind import Whole, lenient
from ladder.files.hashing import json_sha256
from ladder.files.reading import read
from ladder.files.writing import write_json
from ladder.records.shard_writer import ShardWriter, Written
from ladder.records.shards import token_dtype
from preparing.documents import Document, read_documents
from preparing.tokenizer import encode

BATCH_DOCUMENTS = 1024
SAVE_TOKENS = 2**24  # between two points from which a stopped preparation goes on
PROGRESS = "progress.json"
SPLITS = ("train", "val")


@lenient
@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a preparation can go on: `key` is a hash of its settings and tokenizer, `documents` were read.

    `texts` is a hash of those: other text at their place is not gone on with.
    """

    key: str
    documents: Whole
    texts: str
    splits: dict[str, Written]


def write_shards(
    documents: list[Document] | None, tokenizer: PreTrainedTokenizerFast, data: DictConfig, directory: Path
) -> dict[str, Any]:
    """Tokenises on all cores; an end-of-text id closes every document."""
    dtype = token_dtype(len(tokenizer))
    names = (*SPLITS, *heldout_splits(data).values())
    writers = {split: ShardWriter(directory, split, dtype) for split in names}
    key = json_sha256({"data": OmegaConf.to_container(data), "tokenizer": tokenizer.backend_tokenizer.to_str()})
    progress = directory / PROGRESS
    saved = _saved_progress(progress, key, names)
    stream, texts = iter(documents or read_documents(data)), hashlib.sha256()
    _add(texts, itertools.islice(stream, saved.documents if saved else 0))
    if saved and texts.hexdigest() != saved.texts:
        print("the text has changed since this was stopped: it begins again", file=sys.stderr, flush=True)
        saved, stream, texts = None, iter(documents or read_documents(data)), hashlib.sha256()
    if not saved:
        progress.unlink(missing_ok=True)  # before what it describes: it may be of text that comes back
    for split, writer in writers.items():
        writer.restore(saved.splits[split] if saved else Written())
    done, tokens = saved.documents if saved else 0, 0
    bar = tqdm(desc="tokens", unit="tok", unit_scale=True, disable=not sys.stderr.isatty())
    while batch := list(itertools.islice(stream, BATCH_DOCUMENTS)):
        ids = encode(tokenizer, [document.text for document in batch])
        for split, writer in writers.items():
            chosen = [i for i, document in enumerate(batch) if split in splits_of(document, data)]
            writer.add([ids[i] for i in chosen], [batch[i].text for i in chosen])
        _add(texts, batch)
        done += len(batch)
        count = sum(map(len, ids))
        bar.update(count)
        tokens += count
        if tokens >= SAVE_TOKENS:
            tokens = 0
            states = {split: writer.state() for split, writer in writers.items()}
            reached = Progress(key=key, documents=done, texts=texts.hexdigest(), splits=states)
            write_json(progress, asdict(reached))
    bar.close()
    splits = {split: writer.manifest() for split, writer in writers.items()}
    for split in names:
        if not splits[split]["documents"]:
            raise UserError(f"data={data.name}: not enough text, no document fell into the {split} split")
    return splits


def _saved_progress(path: Path, key: str, splits: Sequence[str]) -> Progress | None:
    """Where a preparation of the same configuration was stopped; None where there is none, or that is damaged."""
    try:
        saved = read(Progress, path)
    except UserError:
        return None
    return saved if saved.key == key and all(split in saved.splits for split in splits) else None


def _add(texts: hashlib._Hash, documents: Iterable[Document]) -> None:
    for document in documents:
        content = document.text.encode("utf-8", "surrogatepass")
        texts.update(len(content).to_bytes(8, "little") + content)


def heldout_splits(data: DictConfig) -> dict[str, str]:
    """The split that holds the held-out part of each kind of text once more, where the corpus is of several kinds."""
    kinds = [str(kind) for kind in data.source.get("wheels") or ()]
    return {kind: f"val_{kind}" for kind in kinds} if len(kinds) > 1 else {}


def splits_of(document: Document, data: DictConfig) -> tuple[str, ...]:
    if not document.heldout:
        return ("train",)
    kind = heldout_splits(data).get(document.kind)
    return ("val", kind) if kind else ("val",)
