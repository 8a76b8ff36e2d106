"""How many sequences a pass takes: on a GPU what a formula says fits, tried once, and fewer where it does not fit."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from ladder.errors import UserError
from ladder.rungs.memory import COPY_BYTES, USABLE, divisors, largest_micro_batch, sequence_bytes, training_bytes
from ladder.rungs.shape import ModelShape
from train.model import LossModel

_CPU_TOKENS = 16384  # of a pass; beyond this a CPU gains nothing and only needs more memory


def find_micro_batch(
    wrapped: LossModel, shape: ModelShape, accelerator: Accelerator, share: int, length: int, copied: bool
) -> int:
    """Sequences a pass, of the `share` of a batch that this process has.

    Args:
        length: tokens of a sequence.
        copied: room is needed for the bf16 copy that is measured in the loop.

    Raises:
        UserError: not even one sequence fits a GPU.
    """
    if accelerator.device.type == "cuda":
        return what_fits(wrapped, shape, accelerator, share, length, copied)
    return max(1, min(share, _CPU_TOKENS // length))


def what_fits(
    wrapped: LossModel, shape: ModelShape, accelerator: Accelerator, share: int, length: int, copied: bool
) -> int:
    """It divides the share, so that every pass has the shapes that the try compiled."""
    free, total = torch.cuda.mem_get_info()
    held = 4 * shape.total_parameters  # the weights are there already
    kept = COPY_BYTES * shape.total_parameters * copied
    room = free - (1 - USABLE) * total - (training_bytes(shape) - held) - kept
    first = largest_micro_batch(share, sequence_bytes(shape, length, wrapped.static), room)
    for micro_batch in divisors(first):
        if fits(wrapped, accelerator, micro_batch, length, copied):
            own = torch.tensor([micro_batch], device=accelerator.device)
            return int(accelerator.gather(own).min().item())
    raise UserError("one sequence does not fit this GPU's memory; use a larger GPU or a smaller size")


def fits(wrapped: LossModel, accelerator: Accelerator, micro_batch: int, length: int, copied: bool) -> bool:
    """Whether two passes succeed beside what training will hold: AdamW's moments, and the copy if `copied`.

    They are those of training to the letter, so that nothing is compiled again for it.
    """
    parameters = list(wrapped.parameters())
    wrapped.train()
    try:
        held = [torch.empty_like(parameter) for parameter in parameters for _ in range(2)]
        held += [torch.empty_like(parameter, dtype=torch.bfloat16) for parameter in parameters if copied]
        tokens = torch.zeros(micro_batch, length, dtype=torch.long, device=accelerator.device)
        for _ in range(2):  # the second pass meets the gradients of the first
            with accelerator.autocast():
                loss = wrapped(tokens, 0.0)[0]
            loss.backward()
        del held
        return True
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        wrapped.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
