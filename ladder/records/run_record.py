"""What is written down of a run before its first step (run.json): typed, versioned, checked.

Files of version 0.1.0 have no schema number; they are of schema 1.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ladder.files.bind import Count, Name, Number, Text, Whole, lenient
from ladder.files.hashing import json_sha256
from ladder.files.reading import read
from ladder.files.writing import write_json
from ladder.records.metrics_file import Origin

Values = dict[str, Number | str]


@lenient
@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes two runs the same run. Without `data_fingerprint` the data is left out of the comparison."""

    ladder: Name
    size: Name
    multiple: Number
    n: Count
    d: Count
    shape: dict[str, Count]
    hparams: Values
    recipe: Values
    seed: Whole
    document_mask: bool = False
    groups: dict[str, dict[str, Number]] | None = None  # None: as the recipe's constants have it
    data_fingerprint: Text | None = None

    def values(self) -> dict[str, object]:
        """As JSON; what is hashed."""
        names = [item.name for item in dataclasses.fields(Identity)]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def sha256(self) -> str:
        return json_sha256(self.values())


@lenient
@dataclass(frozen=True, kw_only=True)
class RunRecord(Identity):
    """run.json, written before the first step."""

    schema: Literal[1] = 1
    run: Name
    config_hash: Text  # of its identity when it was begun
    git_revision: Text
    total_steps: Count
    checkpoint_steps: tuple[Count, ...]

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Raises UserError that names file and key."""
        return read(cls, path)

    def dump(self, path: Path) -> None:
        write_json(path, dataclasses.asdict(self))

    def checkpoint(self, step: int, tokens: int, lr: float) -> CheckpointRecord:
        """What is written beside the weights of `step`, trained on `tokens`, its last update at learning rate `lr`."""
        return CheckpointRecord(
            run=self.run,
            ladder=self.ladder,
            size=self.size,
            multiple=self.multiple,
            n=self.n,
            d=self.d,
            step=step,
            tokens=tokens,
            lr=lr,
            config_hash=self.config_hash,
            data_fingerprint=self.data_fingerprint,
            git_revision=self.git_revision,
        )


@lenient
@dataclass(frozen=True, kw_only=True)
class CheckpointRecord(Origin):
    """rung.json, beside a checkpoint's weights: which run and step they are of. Measuring needs its `Origin`."""

    schema: Literal[1] = 1
    ladder: Name
    multiple: Number
    lr: Number
    config_hash: Text
    data_fingerprint: Text | None = None
    git_revision: Text

    def origin(self) -> Origin:
        return Origin(run=self.run, size=self.size, n=self.n, d=self.d, step=self.step, tokens=self.tokens)

    @classmethod
    def load(cls, path: Path) -> CheckpointRecord:
        """Raises UserError that names file and key."""
        return read(cls, path)

    def dump(self, path: Path) -> None:
        write_json(path, dataclasses.asdict(self))


@lenient
@dataclass(frozen=True, kw_only=True)
class RunOutline:
    """What other stages read of run.json, which then may be of another program."""

    total_steps: Count | None = None
