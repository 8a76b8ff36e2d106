"""What the rungs run on: GPUs for each of them, what a GPU can do and costs, and how SLURM is asked for it."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from ladder.config import config_files
from ladder.errors import UserError, unknown
from ladder.reading import read_yaml
from ladder.rung import Rung

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """`peak_flops`: dense bf16 FLOP/s; `mfu`: the share of it that training reaches, attention counted."""

    name: str
    memory_gb: float
    peak_flops: float
    mfu: float
    dollars_per_hour: float

    def __post_init__(self) -> None:
        for key in ("memory_gb", "peak_flops", "mfu"):
            if not 0 < getattr(self, key) < math.inf:
                raise UserError(f"cluster.gpu.{key}={getattr(self, key):g} must be a number above 0")
        if self.mfu > 1:
            raise UserError(f"cluster.gpu.mfu={self.mfu:g} is a share of the peak, at most 1")


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """How jobs are submitted. `options` are any of sbatch's, such as partition, account or constraint."""

    gpus_per_node: int
    cpus_per_task: int
    max_hours: float
    signal_seconds: int
    options: Mapping[str, Any]
    setup: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    name: str
    gpus: int | str | Mapping[str, int]
    parallel: int | str
    evaluators: int
    gpu: Gpu
    slurm: Slurm | None

    def gpus_of(self, rung: Rung, here: int) -> int:
        """GPUs of the rung's training; `here`: what `auto` stands for."""
        if isinstance(self.gpus, Mapping):
            return self.gpus.get(rung.size, self.gpus["default"])
        return here if isinstance(self.gpus, str) else self.gpus

    def nodes_of(self, gpus: int) -> int:
        """Whole nodes that hold so many GPUs."""
        return max(1, -(-gpus // self.slurm.gpus_per_node)) if self.slurm else 1


def cluster_from_config(config: DictConfig, sizes: Mapping[str, Any]) -> Cluster:
    """The `cluster` group, checked; `sizes` are the ladder's.

    Raises:
        UserError: an unknown or missing key, a value of the wrong type or range, a size that the ladder has not.
    """
    node: Any = OmegaConf.to_container(config.cluster, resolve=True)
    _known("cluster", node, Cluster)
    _known("cluster.gpu", node["gpu"], Gpu)
    for key in ("memory_gb", "peak_flops", "mfu", "dollars_per_hour"):
        _number(f"cluster.gpu.{key}", node["gpu"][key], 0)
    gpu = Gpu(**node["gpu"])
    gpus = _gpus(node["gpus"], sizes)
    _auto("cluster.parallel", node["parallel"])
    _whole("cluster.evaluators", node["evaluators"], 0)
    slurm = None
    if node["slurm"] is not None:
        slurm = _slurm(node["slurm"])
        numbers = gpus.values() if isinstance(gpus, dict) else [gpus]
        for number in numbers:
            if isinstance(number, str):
                raise UserError("cluster.gpus=auto is for one machine; with SLURM say how many, such as cluster.gpus=8")
            if number > slurm.gpus_per_node and number % slurm.gpus_per_node:
                raise UserError(
                    f"cluster.gpus: {number} GPUs do not fill whole nodes of {slurm.gpus_per_node} "
                    "(cluster.slurm.gpus_per_node)"
                )
    return Cluster(
        name=str(node["name"]),
        gpus=gpus,
        parallel=node["parallel"],
        evaluators=node["evaluators"],
        gpu=gpu,
        slurm=slurm,
    )


def _slurm(node: Any) -> Slurm:
    _known("cluster.slurm", node, Slurm)
    for key, least in {"gpus_per_node": 1, "cpus_per_task": 1, "signal_seconds": 1}.items():
        _whole(f"cluster.slurm.{key}", node[key], least)
    _number("cluster.slurm.max_hours", node["max_hours"], 0.01)
    if not isinstance(node["setup"], list) or not isinstance(node["options"], dict):
        raise UserError("cluster.slurm.setup must be a list of shell lines, and cluster.slurm.options hold key: value")
    if node["signal_seconds"] >= 3600 * node["max_hours"]:
        raise UserError("cluster.slurm.signal_seconds must be less than cluster.slurm.max_hours")
    return Slurm(**(node | {"setup": tuple(node["setup"]), "options": node["options"]}))


def _gpus(value: Any, sizes: Mapping[str, Any]) -> int | str | dict[str, int]:
    if isinstance(value, dict):
        for size, number in value.items():
            if size not in sizes and size != "default" and size not in sizes_of_all_ladders():
                raise unknown("size in cluster.gpus", str(size), ["default", *sizes])
            _whole(f"cluster.gpus.{size}", number, 0)
        if missing := [size for size in sizes if size not in value and "default" not in value]:
            raise UserError(f"cluster.gpus has no number for {', '.join(missing)}; add them or default")
        return {"default": 0, **value}
    _auto("cluster.gpus", value, 0)
    return value


def sizes_of_all_ladders() -> set[str]:
    """A cluster's file may have numbers for the sizes of several ladders."""
    nodes = [node for path in config_files("ladder").values() if isinstance(node := read_yaml(path), dict)]
    return {str(size) for node in nodes for group in ("sizes", "larger_sizes") for size in node.get(group) or {}}


def _known(where: str, node: Any, kind: type) -> None:
    names = [field.name for field in fields(kind)]
    if not isinstance(node, dict):
        raise UserError(f"{where}={node} must hold {', '.join(names)}")
    for key in node:
        if key not in names:
            raise unknown(f"key of {where}", str(key), names)
    if missing := [name for name in names if name not in node]:
        raise UserError(f"{where} has no {', '.join(missing)}; see configs/cluster/")


def _whole(key: str, value: Any, least: int) -> None:
    if type(value) is not int or value < least:
        raise UserError(f"{key}={value} must be a whole number of at least {least}")


def _auto(key: str, value: Any, least: int = 1) -> None:
    if value != "auto" and (type(value) is not int or value < least):
        raise UserError(f"{key}={value} must be auto or a whole number of at least {least}")


def _number(key: str, value: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise UserError(f"{key}={value} must be a number of at least {least:g}")


def visible_gpus() -> list[str]:
    """CUDA devices that this process may use, by what CUDA_VISIBLE_DEVICES calls them; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    listed = [str(index) for index in range(sum(line.startswith("GPU ") for line in done.stdout.splitlines()))]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return listed
    words = itertools.takewhile(lambda word: word and not word.startswith("-"), visible.split(","))  # -1 hides all
    return list(words)[: len(listed)]
