"""How a model is spread over processes: a copy on each (DDP through accelerate), or sharded (FSDP2, for 3B and up).

Both offer the trainer the same few things, and their states are interchangeable: full tensors by parameter name, so a
run may go on with another number of processes or the other kind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from transformers import Olmo2ForCausalLM

from ladder.errors import unknown
from train.model import LossModel

KINDS = ("ddp", "fsdp2")
BuildOptimizer = Callable[[Olmo2ForCausalLM], torch.optim.Optimizer]


class Replicated:
    """Every process holds the whole model; gradients are averaged by DDP where there are several."""

    def __init__(self, accelerator: Accelerator, wrapped: LossModel, build: BuildOptimizer) -> None:
        self._accelerator = accelerator
        # accelerate's optimizer would add a scaler, which bf16 does not need, and a search for packages at every step.
        self._plain, self.optimizer = wrapped, build(wrapped.model)
        self.module: Any = accelerator.prepare(wrapped)
        self._parameters = list(self.module.parameters())

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

    def load(self, state: dict[str, Any]) -> None:
        model = {f"model.{name}": value for name, value in state["model"].items()}
        set_state_dict(
            self._plain,
            self.optimizer,
            model_state_dict=model,
            optim_state_dict=state["optimizer"],
            options=StateDictOptions(full_state_dict=True),
        )

    _offload = False


class Sharded(Replicated):
    """Each process holds a slice of every block (FSDP2 on torch itself: accelerate's plugin still means version 1).

    Parameters are fp32 and gathered in the precision of training; gradients are reduced in fp32.
    """

    _offload = True

    def __init__(self, accelerator: Accelerator, wrapped: LossModel, build: BuildOptimizer) -> None:
        dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
        for block in wrapped.model.model.layers:
            fully_shard(block, mp_policy=policy)
        self._accelerator = accelerator
        self.module = fully_shard(wrapped, mp_policy=policy)
        self._plain = wrapped
        self.optimizer = build(wrapped.model)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        self.module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.module.set_requires_gradient_sync(True)

    def clip(self, max_norm: float) -> Tensor:
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), max_norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _flag(self, finite: Tensor) -> Tensor:
        mesh = next(p.device_mesh for p in self.module.parameters() if isinstance(p, DTensor))
        return distribute_tensor((~finite).float(), mesh, [Replicate()])


def parallelise(kind: str, accelerator: Accelerator, wrapped: LossModel, build: BuildOptimizer) -> Replicated:
    """Raises UserError for a kind that does not exist."""
    if kind not in KINDS:
        raise unknown("train.parallel", kind, KINDS)
    return (Sharded if kind == "fsdp2" else Replicated)(accelerator, wrapped, build)
