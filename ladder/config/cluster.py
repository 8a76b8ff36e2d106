"""What the rungs run on: GPUs for each of them, what a GPU can do and costs, and how SLURM is asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ladder.errors import UserError
from ladder.files.bind import Count, Text, Whole, as_given
from ladder.rungs.rung import Rung

_Amount = Annotated[float, Field(gt=0, le=1e30), as_given]


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """`peak_flops`: dense bf16 FLOP/s; `mfu`: the share of it that training reaches, attention counted."""

    name: Text
    memory_gb: _Amount
    peak_flops: _Amount
    mfu: Annotated[float, Field(gt=0, le=1), as_given]
    dollars_per_hour: Annotated[float, Field(ge=0, le=1e9), as_given]


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """How jobs are submitted. `options` are any of sbatch's, such as partition, account or constraint."""

    gpus_per_node: Count
    cpus_per_task: Count
    max_hours: Annotated[float, Field(ge=0.01, le=1e6)]
    signal_seconds: Count
    options: dict[str, str | int | float | bool | None]
    setup: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.signal_seconds >= 3600 * self.max_hours:
            raise UserError("cluster.slurm.signal_seconds must be less than cluster.slurm.max_hours")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The `cluster` group. `gpus` of one training: a number, one for each size and a `default`, or all that is here."""

    name: str
    gpus: Literal["auto"] | Whole | dict[str, Whole]
    parallel: Literal["auto"] | Count
    evaluators: Whole
    gpu: Gpu
    slurm: Slurm | None

    def __post_init__(self) -> None:
        if self.slurm is None:
            return
        for number in self.gpus.values() if isinstance(self.gpus, dict) else [self.gpus]:
            if isinstance(number, str):
                raise UserError("cluster.gpus=auto is for one machine; with SLURM say how many, such as cluster.gpus=8")
            if number > self.slurm.gpus_per_node and number % self.slurm.gpus_per_node:
                raise UserError(
                    f"cluster.gpus: {number} GPUs do not fill whole nodes of {self.slurm.gpus_per_node} "
                    "(cluster.slurm.gpus_per_node)"
                )

    def gpus_of(self, rung: Rung, here: int) -> int:
        """GPUs of the rung's training; `here`: what `auto` stands for."""
        if isinstance(self.gpus, Mapping):
            return self.gpus.get(rung.size, self.gpus.get("default", 0))
        return here if isinstance(self.gpus, str) else self.gpus

    def nodes_of(self, gpus: int) -> int:
        """Whole nodes that hold so many GPUs."""
        return max(1, -(-gpus // self.slurm.gpus_per_node)) if self.slurm else 1
