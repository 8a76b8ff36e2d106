"""A rung is one run of a ladder: a model size and a token budget, named like `190M-1xC`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from ladder.errors import UserError, did_you_mean, unknown
from ladder.rungs.groups import Groups
from ladder.rungs.recipe import HParams, Recipe
from ladder.rungs.shape import ModelShape
from ladder.rungs.transfer import Extent

_RUN_NAME = re.compile(r"(?P<size>[^/]+?)-(?P<multiple>\d+(?:\.\d+)?)xC(?:-(?P<tag>.+))?")
TEN_TIMES = "10x-"
_RERUN = re.compile(r"(?:rerun\d*)?")
_VARIATION = re.compile(r"(?:batch(?P<batch>\d+(?:\.\d+)?))?-?(?:lr(?P<lr>\d+(?:\.\d+)?))?")


def rung_name(size: str, multiple: float) -> str:
    return f"{size}-{multiple:g}xC"


@dataclass(frozen=True, kw_only=True)
class Variation:
    """By which factors a run's batch and peak learning rate differ from its recipe's rule: a point of a sweep."""

    batch: float = 1.0
    lr: float = 1.0

    @property
    def tag(self) -> str:
        """As in the name `190M-1xC-batch2-lr0.5`; empty where nothing differs."""
        parts = (("batch", self.batch), ("lr", self.lr))
        return "-".join(f"{name}{factor:g}" for name, factor in parts if factor != 1)

    @classmethod
    def of(cls, tag: str) -> Variation | None:
        """What the tag of a run's name says; None where it says something else, or nothing."""
        match = _VARIATION.fullmatch(tag) if tag else None
        variation = cls(**{name: float(factor) for name, factor in match.groupdict("1").items()}) if match else None
        return variation if variation and variation.tag == tag and min(vars(variation).values()) > 0 else None


class RunName(NamedTuple):
    """What a run's name says; `tag` is what it is beside its size and multiple, such as "rerun"; mostly empty."""

    size: str
    multiple: float
    tag: str

    @property
    def variation(self) -> Variation | None:
        """The point of a sweep that it is, the rule's own without a tag; None where the tag says something else."""
        return Variation.of(self.tag) if self.tag else Variation()


def parse_run_name(name: str) -> RunName | None:
    """`190M-0.5xC-rerun` -> ("190M", 0.5, "rerun"); None where the name has another form."""
    match = _RUN_NAME.fullmatch(name)
    return RunName(match["size"], float(match["multiple"]), match["tag"] or "") if match else None


@dataclass(frozen=True, kw_only=True)
class Rung:
    """`rerun` tells a run apart that repeats another one, with another seed: `190M-1xC-rerun`.

    `variation` is that of a point of a sweep, whose `hparams` have it.
    """

    size: str
    multiple: float
    shape: ModelShape
    hparams: HParams
    groups: Groups
    rerun: str = ""
    variation: Variation = Variation()

    @property
    def name(self) -> str:
        return "-".join(part for part in (rung_name(self.size, self.multiple), self.variation.tag, self.rerun) if part)

    @property
    def n(self) -> int:
        return self.shape.n

    @property
    def d(self) -> int:
        return self.hparams.d

    @property
    def extent(self) -> Extent:
        return Extent(shape=self.shape, batch_tokens=self.hparams.batch_tokens, d=self.d)

    @property
    def flops_6nd(self) -> float:
        return self.shape.flops_per_token_6n * self.d

    @property
    def flops_with_attention(self) -> float:
        return self.shape.flops_per_token_with_attention(self.hparams.sequence_length) * self.d


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is to be predicted: a model of N parameters trained on D tokens."""

    name: str
    n: float
    d: float

    @property
    def flops_6nd(self) -> float:
        return 6.0 * self.n * self.d  # floats: N · D of real targets exceeds int64


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The rungs are every size of `sizes` at every multiple; `larger_sizes` are shapes for targets and extra runs."""

    name: str
    recipe: Recipe
    sizes: dict[str, ModelShape]
    larger_sizes: dict[str, ModelShape]
    multiples: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.sizes or not self.multiples:
            raise UserError(f"ladder {self.name}: needs at least one size and one multiple")
        if len(set(self.multiples)) < len(self.multiples):
            listed = ", ".join(f"{multiple:g}" for multiple in self.multiples)
            raise UserError(f"ladder.multiples=[{listed}] has one of them twice")
        if both := self.sizes.keys() & self.larger_sizes.keys():
            raise UserError(f"ladder {self.name}: {min(both)} stands in sizes and in larger_sizes; leave one out")
        for size in self.sizes | self.larger_sizes:
            for multiple in self.multiples:
                if parse_run_name(name := rung_name(size, multiple)) != (size, multiple, ""):
                    raise UserError(
                        f"ladder {self.name}: a run of size {size} at multiple {multiple!r} would be called {name}, "
                        "which does not say so: give multiples of at most 6 digits below a million, and sizes that are "
                        "not named like runs"
                    )

    @property
    def rungs(self) -> list[Rung]:
        return [self.make_rung(size, multiple) for size in self.sizes for multiple in self.multiples]

    def branches_of(self, rung: Rung) -> list[Rung]:
        """The shorter rungs of its size that go on from its states; none unless the schedule is WSD.

        None either where peak rate or decay depend on the number of tokens.
        """
        if rung.hparams.schedule != "wsd" or rung.variation.tag:
            return []
        shorter = [self.make_rung(rung.size, multiple) for multiple in self.multiples if multiple < rung.multiple]
        return [one for one in shorter if (one.hparams.peak_lr, one.groups) == (rung.hparams.peak_lr, rung.groups)]

    @property
    def base(self) -> Rung | None:
        """The rung from which the recipe carries its values to the others; None where it has one rule for all.

        Raises:
            UserError: `ladder.recipe.transfer.base` is no size of the ladder.
        """
        if self.recipe.transfer is None:
            return None
        return self._before_transfer(
            self.recipe.transfer.base or min(self.sizes, key=lambda size: self.sizes[size].n), 1
        )

    def make_rung(self, size: str, multiple: float, variation: Variation = Variation()) -> Rung:
        """Raises UserError for a size that the ladder does not have, and for a multiple that no run can have."""
        rung, transfer, base = self._before_transfer(size, multiple, variation.batch), self.recipe.transfer, self.base
        peak_lr, groups = rung.hparams.peak_lr, rung.groups
        if transfer is not None and base is not None:
            times = transfer.peak_lr(rung.extent, base.extent, self.recipe.peak_lr_horizon_exponent)
            peak_lr = base.hparams.peak_lr * times
            groups = transfer.groups(rung.extent, base.extent, base.groups, times)
        hparams = replace(rung.hparams, peak_lr=peak_lr * variation.lr)
        return replace(rung, hparams=hparams, groups=groups, variation=variation)

    def _before_transfer(self, size: str, multiple: float, batch: float = 1.0) -> Rung:
        shapes = self.sizes | self.larger_sizes
        if size not in shapes:
            raise unknown(f"size of ladder {self.name}", size, shapes)
        recipe = replace(self.recipe, reference_batch_tokens=self.recipe.reference_batch_tokens * batch)
        return Rung(
            size=size,
            multiple=multiple,
            shape=shapes[size],
            hparams=recipe.hparams(shapes[size].n, multiple),
            groups=recipe.groups(),
        )

    def rung(self, name: str) -> Rung:
        """The rung of that name: any known size at any multiple, so `3B-2xC` works too, `190M-1xC-rerun2`, and a point
        of a sweep such as `190M-1xC-lr2`."""
        parsed = parse_run_name(name)
        of_a_size = parsed is not None and parsed.size in self.sizes | self.larger_sizes
        if parsed is None or not of_a_size or not (parsed.variation or _RERUN.fullmatch(parsed.tag)):
            names = [rung.name for rung in self.rungs]
            raise UserError(f'unknown rung "{name}" of ladder {self.name}; {did_you_mean(name, names)}')
        if parsed.variation:
            return self.make_rung(parsed.size, parsed.multiple, parsed.variation)
        return replace(self.make_rung(parsed.size, parsed.multiple), rerun=parsed.tag)

    def select(self, sizes: Iterable[str] = (), multiples: Iterable[float] = ()) -> list[Rung]:
        """The rungs of those sizes and multiples; empty means all."""
        sizes, multiples = list(sizes), list(multiples)
        for size in sizes:
            if size not in self.sizes:
                raise unknown(f"size of ladder {self.name}", size, self.sizes)
        for multiple in multiples:
            if multiple not in self.multiples:
                raise unknown(f"multiple of ladder {self.name}", f"{multiple:g}", [f"{m:g}" for m in self.multiples])
        return [
            rung
            for rung in self.rungs
            if (not sizes or rung.size in sizes) and (not multiples or rung.multiple in multiples)
        ]


def ten_times(one: Target) -> Target:
    """At ten times the compute: N and D by the same factor."""
    return Target(name=f"{TEN_TIMES}{one.name}", n=10**0.5 * one.n, d=10**0.5 * one.d)


def run_as_target(name: str, ladder: Ladder, targets: tuple[str, ...] = ()) -> Target:
    """A run of the ladder, such as `3B-10xC`, or ten times one, `10x-1.3B-10xC`, as a target.

    Raises:
        UserError: the ladder has none of that name.
    """
    base = name.removeprefix(TEN_TIMES)
    parsed = parse_run_name(base)
    if parsed is None or parsed.size not in ladder.sizes | ladder.larger_sizes:
        names = (*targets, *(f"{size}-{ladder.multiples[-1]:g}xC" for size in ladder.larger_sizes))
        raise UserError(f'unknown target "{name}"; {did_you_mean(name, names)}; or give --n and --d')
    try:
        rung = ladder.rung(base)
    except UserError as error:
        raise UserError(f"target {name}: {error}") from None
    one = Target(name=base, n=float(rung.n), d=float(rung.d))
    return one if base == name else ten_times(one)
