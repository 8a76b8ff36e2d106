"""How a model is spread over processes: a copy on each (DDP through accelerate), or sharded (FSDP2, for 3B and up).

Both offer the trainer the same few things, and their states are interchangeable: full tensors by parameter name, so a
run may go on with another number of processes or the other kind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.nn.parallel import DistributedDataParallel
from transformers import Olmo2ForCausalLM

from ladder.errors import unknown
from ladder.process.agreement import agree
from train.model import LossModel

KINDS = ("ddp", "fsdp2")
T = TypeVar("T")
BuildOptimizer = Callable[[Olmo2ForCausalLM], torch.optim.Optimizer]


class Replicated:
    """Every process holds the whole model; gradients are averaged by DDP where there are several."""

    def __init__(self, accelerator: Accelerator, wrapped: LossModel, build: BuildOptimizer) -> None:
        self._accelerator = accelerator
        # accelerate's optimizer would add a scaler, which bf16 does not need, and a search for packages at every step.
        self._plain, self.optimizer = wrapped, build(wrapped.model)
        self.module: Any = accelerator.prepare(wrapped)
        self._parameters = list(self.module.parameters())

    def settle(self, tokens: Tensor) -> None:
        """A pass that is thrown away, before the first update of a start on a CPU: so all of its updates round alike.

        DDP lays gradients out anew after its first pass, and where a gradient lies decides in which order gloo adds
        those of more than two processes.
        """
        if isinstance(self.module, DistributedDataParallel):
            self.module(tokens, 0.0)[0].backward()
            self.optimizer.zero_grad(set_to_none=True)

    def no_sync(self) -> contextlib.AbstractContextManager[Any]:
        return self._accelerator.no_sync(self.module)

    def clip(self, max_norm: float) -> Tensor:
        """Global gradient norm before clipping."""
        return torch.nn.utils.clip_grad_norm_(self._parameters, max_norm)

    def step(self, finite: Tensor) -> None:
        # The fused kernel itself leaves everything as it was where found_inf is set: no wait for the host.
        self.optimizer.found_inf = self._flag(finite)  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _flag(self, finite: Tensor) -> Tensor:
        return (~finite).float()

    def state(self) -> dict[str, Any]:
        """Model and optimizer as full tensors; on the main process only where the model is sharded."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=self._offload)
        model, optimizer = get_state_dict(self._plain, self.optimizer, options=options)
        return {"model": {name.removeprefix("model."): value for name, value in model.items()}, "optimizer": optimizer}

    def load(self, state: dict[str, Any] | None) -> None:
        """Takes over a state that the main process has; the others get theirs from it."""
        own = state or {"model": {}, "optimizer": {}}
        several = self._accelerator.num_processes > 1
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=several)
        model = {f"model.{name}": value for name, value in own["model"].items()}
        # One after the other: together, a process without a state of its own leaves the model out.
        set_model_state_dict(self._plain, model, options=options)
        set_optimizer_state_dict(self._plain, self.optimizer, own["optimizer"], options=options)

    _offload = False


class Sharded(Replicated):
    """Each process holds a slice of every block (FSDP2 on torch itself: accelerate's plugin still means version 1).

    Parameters are fp32, those of blocks gathered in the precision of training; gradients are reduced in fp32, after
    every micro-batch: kept until the last one they would be as large as the whole model. What flows between the blocks
    is fp32 as with DDP, and so are the rotary tables.
    """

    _offload = True

    def __init__(self, accelerator: Accelerator, wrapped: LossModel, build: BuildOptimizer) -> None:
        bf16 = accelerator.mixed_precision == "bf16"
        whole = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        blocks = dataclasses.replace(whole, param_dtype=torch.bfloat16 if bf16 else None)
        mesh = _mesh(accelerator)
        for block in wrapped.model.model.layers:
            fully_shard(block, mesh=mesh, mp_policy=blocks)
        self._accelerator, self._mesh = accelerator, mesh
        wrapped.forward = accelerator.autocast()(wrapped.forward)  # type: ignore[method-assign]
        self.module = fully_shard(wrapped, mesh=mesh, mp_policy=whole)
        self._plain = wrapped
        self.optimizer = build(wrapped.model)

    def no_sync(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def clip(self, max_norm: float) -> Tensor:
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), max_norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _flag(self, finite: Tensor) -> Tensor:
        placements = [Replicate()] * self._mesh.ndim
        return DTensor.from_local((~finite).float(), self._mesh, placements, run_check=False)


def _mesh(accelerator: Accelerator) -> DeviceMesh:
    processes = accelerator.num_processes
    shape = mesh_shape(processes, int(os.environ.get("LOCAL_WORLD_SIZE", processes)))
    return init_device_mesh(accelerator.device.type, shape, mesh_dim_names=("replicate", "shard")[-len(shape) :])


def mesh_shape(processes: int, per_node: int) -> tuple[int, ...]:
    """Slices over the processes of a node, and a copy on each node (HSDP): gathering is for the fast network alone."""
    if 1 < per_node < processes and processes % per_node == 0:
        return processes // per_node, per_node
    return (processes,)


def from_main(accelerator: Accelerator, read: Callable[[], T]) -> T:
    """What the main process reads, in all of them; an error in it is raised in all of them."""
    if accelerator.num_processes == 1:
        return read()
    return agree(read, main=accelerator.is_main_process, broadcast=functools.partial(dist.broadcast_object_list, src=0))


def parallelise(kind: str, accelerator: Accelerator, wrapped: LossModel, build: BuildOptimizer) -> Replicated:
    """Raises UserError for a kind that does not exist."""
    if kind not in KINDS:
        raise unknown("train.parallel", kind, KINDS)
    return (Sharded if kind == "fsdp2" else Replicated)(accelerator, wrapped, build)
