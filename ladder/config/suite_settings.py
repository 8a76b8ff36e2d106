"""What a suite measures, as the configuration's `suite` group says it, and the content of that by its hash.

`evaluate` makes tasks of it (evaluate/tasks/suite.py). A metrics file keeps the hashes of what it was measured with,
so that a suite that was changed since is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ladder.errors import UserError
from ladder.files.bind import LARGEST, Count, Name, Place, Text, Word
from ladder.files.hashing import json_sha256
from ladder.files.reading import read_json, read_sha256
from ladder.records.metrics_file import FORMATS, TaskFormat, group_entry, text_entry
from ladder.records.shards import MANIFEST

Primary = Literal["acc_per_char", "acc_per_byte", "acc_raw"]
SPLIT = "test"  # of a file of one's own that names none


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """One of the tasks of the OLMES wheel, or files of one's own.

    `rc` is ranked by the answer's text, `mc` by its letter, `gold` has right answers alone. `split` and `primary` are
    of one's own files, `formats` and `limit` (documents; of MMLU of each subject) of OLMES.
    """

    olmes: Text | None = None
    formats: Annotated[tuple[TaskFormat, ...], Field(min_length=1)] | None = None
    limit: Count | None = None
    rc: Place | None = None
    mc: Place | None = None
    gold: Place | None = None
    split: Text | None = None
    primary: Primary | None = None

    @property
    def rc_primary(self) -> str:
        """The accuracy that is reported of one's own file."""
        return self.primary or "acc_per_char"

    @property
    def files(self) -> dict[TaskFormat, str]:
        files: dict[TaskFormat, str | None] = {"rc": self.rc, "mc": self.mc, "gold": self.gold}
        return {form: file for form, file in files.items() if file}

    def check(self, where: str) -> None:
        """Raises UserError for keys that do not go together."""
        ours, theirs = ("rc", "mc", "gold", "split", "primary"), ("formats", "limit")
        if self.olmes is None and not self.files:
            raise UserError(f"{where}: name a JSONL file as rc:, mc: or gold:, or one of OLMES' tasks as olmes:")
        if odd := [key for key in (ours if self.olmes else theirs) if getattr(self, key) is not None]:
            raise UserError(f"{where}: {odd[0]} does not go with {'olmes' if self.olmes else 'files of your own'}")

    def content(self) -> list[Any] | None:
        """What is measured; None where a file of it cannot be read."""
        if self.olmes is not None:
            return [self.olmes, sorted(self.formats or FORMATS), self.limit]
        files = {form: _sha256(Path(file)) for form, file in self.files.items()}
        return None if None in files.values() else [files, self.split or SPLIT, self.rc_primary if self.rc else None]


@dataclass(frozen=True, kw_only=True)
class LmLossSettings:
    """The first `tokens` tokens of prepared `shards` or of a `text` file."""

    tokens: Annotated[int, Field(ge=2, le=LARGEST)]
    shards: Place | None = None
    split: Text = "val"
    text: Place | None = None

    def content(self) -> list[Any] | None:
        """None where it cannot be read."""
        if self.shards is None:
            sha256 = _sha256(Path(self.text or ""))
            return [sha256, self.tokens] if sha256 else None
        try:
            return [json_sha256(read_json(Path(self.shards) / MANIFEST)), self.split, self.tokens]
        except UserError:
            return None


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """Tasks that are reported as one number: "task.format", or the name of a group above."""

    metric: Literal["bpb", "acc"]
    of: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """The `suite` group.

    `max_length` is of the input in tokens (None: the model's context); `forward_tokens` is what one evaluation of a
    checkpoint runs through the model, for `python -m ladder plan`.
    """

    name: Name
    tasks: dict[Word, TaskSettings] | None = None
    lm_loss: dict[Name, LmLossSettings] | None = None
    groups: dict[Name, GroupSettings] | None = None
    max_length: Count | None = None
    forward_tokens: Annotated[float, Field(ge=0, le=1e30)] | None = None

    def __post_init__(self) -> None:
        for name, task in (self.tasks or {}).items():
            task.check(f"suite {self.name}, task {name}")
        for name, loss in (self.lm_loss or {}).items():
            if bool(loss.shards) == bool(loss.text):
                raise UserError(
                    f"suite {self.name}, lm_loss {name}: name either shards: (a directory) or text: (a file)"
                )
        if not self.tasks and not self.lm_loss:
            raise UserError(f"suite {self.name} has neither tasks nor lm_loss")

    def entries(self) -> dict[str, str]:
        """Hash of the definition of all that is measured, and of each group (`group_entry`)."""
        groups = {group_entry(name): [group.metric, group.of] for name, group in (self.groups or {}).items()}
        return self.measured_entries() | {name: json_sha256(content) for name, content in groups.items()}

    def measured_entries(self) -> dict[str, str]:
        """Hash of the definition of each task, by its name, and of each text (`text_entry`).

        Of what its files hold, not of where they lie; what cannot be read is left out.
        """
        tasks = {name: task.content() for name, task in (self.tasks or {}).items()}
        texts = {text_entry(name): loss.content() for name, loss in (self.lm_loss or {}).items()}
        contents = {name: [content, self.max_length] for name, content in tasks.items() if content}
        if self.max_length:
            texts = {name: [content, self.max_length] for name, content in texts.items() if content}
        return {name: json_sha256(content) for name, content in (contents | texts).items() if content}


def _sha256(path: Path) -> str | None:
    try:
        return read_sha256(path)
    except UserError:
        return None
