"""The configuration as types: what each group of `configs/` may hold, and in which range."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ladder.config.cluster import Cluster
from ladder.config.data import DataSettings
from ladder.config.suite_settings import SuiteSettings
from ladder.errors import UserError, unknown
from ladder.files.bind import Count, Name, Place, Positive, Share, Text, Whole, Word
from ladder.rungs.recipe import Recipe
from ladder.rungs.rung import Ladder, Rung, Target, run_as_target, ten_times
from ladder.rungs.shape import ModelShape, Shape, Width


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    precision: Literal["auto", "bf16", "fp32"]
    weights: Literal["fp32", "bf16"]
    micro_batch: Count | None
    compile: Literal["auto"] | bool
    log_every: Count
    evaluate: bool
    parallel: Literal["ddp", "fsdp2"]
    document_mask: bool
    keep_checkpoints: Count | None
    max_skipped: Count


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """The `target` group: a model of one's own, or the name of a run of the ladder, which then has no N and D here."""

    name: Name | None = None
    n: Annotated[float, Field(gt=0, le=1e30)] | None = None
    d: Annotated[float, Field(gt=0, le=1e30)] | None = None
    method: Text = "default"

    def of(self, ladder: Ladder) -> Target:
        """The target; where none is named, ten times the compute of the largest rung.

        Raises:
            UserError: a name without N and D that is no run of the ladder.
        """
        if self.name is None:
            largest = max(ladder.rungs, key=lambda rung: rung.flops_6nd)
            return ten_times(Target(name=largest.name, n=float(largest.n), d=float(largest.d)))
        if self.n is not None and self.d is not None:
            return Target(name=self.name, n=self.n, d=self.d)
        return run_as_target(self.name, ladder)


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """How checkpoints become data points (sections 3.1 and 3.2); `configs/model_ladder_defaults.yaml` says how."""

    final_checkpoints: Count
    window: Count
    skip_fraction: Share


def _option_of(group: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"must be the name of a file in configs/{group}")
        return value

    return BeforeValidator(check)


@dataclass(frozen=True, kw_only=True)
class LadderFile:
    """A file of `configs/ladder/`. `data`, `suite`, `target` and `cluster` are names, as on the command line."""

    name: Name
    vocab_size: Width
    sizes: Annotated[dict[Word, Shape], Field(min_length=1)]
    data: Annotated[Name, _option_of("data")]
    suite: Annotated[Name, _option_of("suite")] | None = None
    target: Name | None = None
    cluster: Annotated[Name, _option_of("cluster")] | None = None
    multiples: tuple[Positive, ...] | None = None
    larger_sizes: dict[Word, Shape] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)

    def shapes(self) -> dict[str, ModelShape]:
        """Of all sizes, the larger ones too."""
        return _shapes(self.sizes | self.larger_sizes, self.vocab_size)


@dataclass(frozen=True, kw_only=True)
class LadderSettings:
    """The `ladder` group: a ladder's file on top of `configs/model_ladder_defaults.yaml`."""

    name: Name
    vocab_size: Width
    sizes: dict[Word, Shape]
    larger_sizes: dict[Word, Shape]
    multiples: tuple[Positive, ...]
    recipe: Recipe
    fit: Smoothing

    def build(self) -> Ladder:
        """Raises UserError for a shape or a multiple that no model can have."""
        return Ladder(
            name=self.name,
            recipe=self.recipe,
            sizes=_shapes(self.sizes, self.vocab_size),
            larger_sizes=_shapes(self.larger_sizes, self.vocab_size),
            multiples=self.multiples,
        )


def _shapes(sizes: dict[str, Shape], vocab_size: int) -> dict[str, ModelShape]:
    return {size: ModelShape(vocab_size=vocab_size, **vars(shape)) for size, shape in sizes.items()}


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration. `scripts/prepare_data.py` reads the rest of `data`."""

    runs_dir: Place
    rung: Text | None
    seed: Whole
    wandb: Literal["off", "offline", "online"]
    wandb_project: Text
    profile: bool
    train: TrainSettings
    data: DataSettings
    suite: SuiteSettings
    cluster: Cluster
    target: TargetSettings
    ladder: LadderSettings

    def __post_init__(self) -> None:
        place = Path(self.runs_dir)
        if odd := next((path for path in (place, *place.parents) if path.exists() and not path.is_dir()), None):
            raise UserError(f"runs_dir={self.runs_dir}: {odd} is no directory; name another one")

    @property
    def directory(self) -> Path:
        """Where the ladder's runs lie."""
        return Path(self.runs_dir) / self.ladder.name

    def chosen_rung(self, ladder: Ladder) -> Rung:
        """The rung that `rung=NAME` asks for."""
        if not self.rung:
            raise UserError(f"say which rung: rung=NAME, one of {', '.join(rung.name for rung in ladder.rungs)}")
        return ladder.rung(self.rung)

    def chosen_target(self, ladder: Ladder) -> Target:
        """The target of the configuration; where it names none, ten times the compute of the largest rung.

        Raises:
            UserError: a name without N and D that is no run of the ladder.
        """
        return self.target.of(ladder)


def check_sizes(config: Config, others: set[str]) -> None:
    """Raises UserError where `cluster.gpus` omits a size, or names one of no ladder; `others`: of the other ladders."""
    gpus, sizes = config.cluster.gpus, config.ladder.sizes | config.ladder.larger_sizes
    if not isinstance(gpus, dict):
        return
    for size in gpus:
        if size not in sizes and size != "default" and size not in others:
            raise unknown("size in cluster.gpus", size, ["default", *sizes])
    if missing := [size for size in sizes if size not in gpus and "default" not in gpus]:
        raise UserError(f"cluster.gpus has no number for {', '.join(missing)}; add them or default")
