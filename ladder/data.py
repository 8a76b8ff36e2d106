"""What a run trains on: prepared corpora, their shares, and whether they suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ladder.errors import UserError
from ladder.hashing import json_sha256
from ladder.rung import Rung
from ladder.shards import TokenShards


@dataclass(frozen=True)
class Mix:
    """What a run trains on: one prepared corpus, or several, each with its share of the sequences."""

    sources: tuple[TokenShards, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        first = self.sources[0]
        for shards, weight in zip(self.sources, self.weights, strict=True):
            if not weight > 0:
                raise UserError(f"data.mix: the weight of {shards.directory} is {weight:g}, it must be above 0")
            if shards.manifest["tokenizer_sha256"] != first.manifest["tokenizer_sha256"]:
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


def open_data(data: DictConfig, split: str = "train") -> Mix:
    """The corpus `data.directory`, or the corpora of `data.mix: {NAME: {directory: …, weight: …}, …}`."""
    if "mix" not in data:
        return Mix((TokenShards(_directory("data.directory", data.directory), split),), (1.0,))
    if not isinstance(data.mix, DictConfig) or not data.mix:
        raise UserError(f"data.mix={data.mix!s} must be {{NAME: {{directory: …, weight: …}}, …}}")
    for name, part in data.mix.items():
        if not isinstance(part, DictConfig) or set(part) != {"directory", "weight"}:
            raise UserError(f"data.mix.{name!s}={part} must be {{directory: …, weight: …}}")
        if isinstance(part.weight, bool) or not isinstance(part.weight, int | float):
            raise UserError(f"data.mix.{name!s}.weight={part.weight} must be a number above 0")
        _directory(f"data.mix.{name!s}.directory", part.directory)
    sources = tuple(TokenShards(Path(part.directory), split) for part in data.mix.values())
    return Mix(sources, tuple(float(part.weight) for part in data.mix.values()))


def _directory(key: str, value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise UserError(f"{key}={value} must name a directory")
    return Path(value)


def check_data(data: DictConfig, rungs: Sequence[Rung]) -> None:
    """Refuses data that the rungs cannot be trained on, before anything starts.

    Raises:
        UserError: no, truncated or altered data; ids outside a vocabulary; more epochs than `data.max_epochs`.
    """
    if isinstance(data.max_epochs, bool) or not isinstance(data.max_epochs, int | float) or data.max_epochs <= 0:
        raise UserError(f"data.max_epochs={data.max_epochs} must be a number above 0")
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
                f"{epochs:.1f} times (data.max_epochs={data.max_epochs}): prepare more text or raise data.max_epochs"
            )
