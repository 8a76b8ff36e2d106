"""What a run trains on: prepared corpora, their shares, and whether they suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ladder.errors import UserError
from ladder.files.bind import Name, Place, Positive
from ladder.files.hashing import json_sha256
from ladder.records.shards import MANIFEST, TokenShards
from ladder.rungs.rung import Rung


@dataclass(frozen=True, kw_only=True)
class Part:
    """A prepared corpus of a mix."""

    directory: Place
    weight: Positive


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The `data` group: one prepared corpus, or a mix of several, which then stands in its place.

    `source`, `tokenizer`, `heldout_every` and `suite` say how it is prepared; `scripts/prepare_data.py` checks them.
    """

    name: Name
    directory: Place | None = None
    mix: Annotated[dict[str, Part], Field(min_length=1)] | None = None
    max_epochs: Positive = 1.0
    source: Any = None
    tokenizer: Any = None
    heldout_every: Any = None
    suite: Any = None

    def __post_init__(self) -> None:
        if self.directory is None and self.mix is None:
            raise UserError(f"data.directory is missing: where the prepared text of data={self.name} lies")


@dataclass(frozen=True)
class Mix:
    """What a run trains on: one prepared corpus, or several, each with its share of the sequences."""

    sources: tuple[TokenShards, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        first = self.sources[0]
        for shards in self.sources:
            if shards.manifest.tokenizer_sha256 != first.manifest.tokenizer_sha256:
                raise UserError(
                    f"data.mix: {shards.directory} and {first.directory} were made with different tokenizers"
                )

    @property
    def shares(self) -> list[float]:
        """The weights, summing to 1."""
        return [weight / sum(self.weights) for weight in self.weights]

    @property
    def vocab_size(self) -> int:
        return self.sources[0].vocab_size

    @property
    def tokenizer_directory(self) -> Path:
        return self.sources[0].tokenizer_directory

    @property
    def fingerprint(self) -> str:
        """Hash of the manifests and shares; of a single corpus its own."""
        if len(self.sources) == 1:
            return self.sources[0].fingerprint
        return json_sha256(
            [[shards.fingerprint, share] for shards, share in zip(self.sources, self.shares, strict=True)]
        )


def open_data(data: DataSettings, split: str = "train") -> Mix:
    """The corpus, or the mix, that the settings name. Raises UserError where one of it is absent or damaged."""
    if data.mix is None:
        return Mix((TokenShards(Path(data.directory or ""), split),), (1.0,))
    sources = tuple(TokenShards(Path(part.directory), split) for part in data.mix.values())
    return Mix(sources, tuple(part.weight for part in data.mix.values()))


def missing_data(data: DataSettings) -> Path | None:
    """The first directory that the settings name and that holds no prepared text."""
    named = [data.directory or ""] if data.mix is None else [part.directory for part in data.mix.values()]
    return next((Path(name) for name in named if not (Path(name) / MANIFEST).exists()), None)


def check_data(data: DataSettings, rungs: Sequence[Rung]) -> None:
    """Refuses data that the rungs cannot be trained on, before anything starts.

    Raises:
        UserError: no, truncated or altered data; ids outside a vocabulary; more epochs than `data.max_epochs`.
    """
    mix = open_data(data)
    if not (tokenizer := mix.tokenizer_directory / "tokenizer.json").exists():
        raise UserError(f"{tokenizer} is missing, checkpoints need it; prepare the data again")
    for rung in rungs:
        if mix.vocab_size > rung.shape.vocab_size:
            raise UserError(
                f"{mix.sources[0].directory} has token ids up to {mix.vocab_size - 1:,}, the model's vocabulary is "
                f"{rung.shape.vocab_size:,}: set ladder.vocab_size or prepare the data with a smaller tokenizer"
            )
    longest = max(rungs, key=lambda rung: rung.d)
    for shards, share in zip(mix.sources, mix.shares, strict=True):
        epochs = longest.d * share / shards.total
        if epochs > data.max_epochs:
            raise UserError(
                f"{shards.directory} has {shards.total:,} tokens, too few for {longest.name}, which would read them "
                f"{epochs:.1f} times (data.max_epochs={data.max_epochs:g}): prepare more text or raise data.max_epochs"
            )
