"""A model in training: its weights, each whole also where they are sharded, and a copy of it to be scored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from evaluate.models.loading import cast_parameters


def is_sharded(model: Any) -> bool:
    return any(isinstance(value, DTensor) for value in model.parameters())


def whole_tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """What `save_pretrained` writes, one tensor at a time; of a sharded model every process has to take all of them."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    for name, value in model.state_dict().items():
        if name not in tied:
            yield name, value.full_tensor() if isinstance(value, DTensor) else value


def whole_copy(model: Any, dtype: str) -> Any:
    """An unsharded model with the same weights and buffers, its parameters in `dtype`."""
    with torch.device("meta"):
        made = type(model)._from_config(model.config, dtype=torch.float32)
    cast_parameters(made, dtype)
    made.to_empty(device=model.device)
    made.tie_weights()
    for mine, live in zip(made.buffers(), model.buffers(), strict=True):
        mine.copy_(live)
    update(made, model)
    return made.eval()


@torch.no_grad()
def update(copy: Any, model: Any) -> None:
    """Gives the copy the weights that the model has now."""
    mine = copy.state_dict()
    for name, value in whole_tensors(model):
        mine[name].copy_(value)
