"""How much memory a training takes, of a GPU and of its node: for plans, jobs, and the micro-batch that is tried."""

from __future__ import annotations

from ladder.rungs.shape import ModelShape

ADAM_BYTES = 12
"""A resume state, per parameter: fp32 weight and two moments."""

COPY_BYTES = 2
"""Per parameter: the bf16 copy that is measured in the loop."""

USABLE = 0.92
"""Of a device's memory: the rest is CUDA's own, NCCL's and fragmentation."""

_TRAINING_BYTES = ADAM_BYTES + 4 + 2  # per parameter: with the gradient, and the weights in bf16
_PROCESS_BYTES = 10 * 10**9
_LOSS_POSITIONS = 8192  # `train/loss.py`: so many rows of logits at once, in bf16
_SAVED = (11, 3)  # values a token and layer that are kept for the backward pass, in bf16: times d_model, times ffn
_SAVED_EAGER = (40, 8)


def training_bytes(shape: ModelShape) -> int:
    """What does not depend on the micro-batch: state, gradients, logits, and the head's gradient while it is formed."""
    loss = _LOSS_POSITIONS * 2 * shape.vocab_size + 4 * shape.vocab_size * shape.d_model
    return _TRAINING_BYTES * shape.total_parameters + loss


def sequence_bytes(shape: ModelShape, length: int, compiled: bool = True) -> int:
    """Activations of one sequence, and the gradient of its last hidden states.

    Compiled, 23 values of width d a token and layer were counted at ffn = 4d, with the partitioner of torch's compiler.
    """
    of_width, of_ffn = _SAVED if compiled else _SAVED_EAGER
    saved = 2 * shape.n_layers * (of_width * shape.d_model + of_ffn * shape.ffn_hidden)
    return length * (saved + 12 * shape.d_model)


def host_bytes(parameters: int, processes: int) -> int:
    """Of a node's memory: processes with CUDA and their compilers, the pinned state that is written, and its weights.

    Pinned blocks have sizes that are powers of two, so up to twice the state.
    """
    return _PROCESS_BYTES * processes + (2 * ADAM_BYTES + 4) * parameters


def largest_micro_batch(share: int, sequence: float, room: float) -> int:
    """The most sequences that divide `share` (so that every pass has one shape) and fit `room` bytes; at least 1."""
    return next(number for number in divisors(share) if number * sequence <= room or number == 1)


def divisors(number: int) -> list[int]:
    """The largest first."""
    return [size for size in range(number, 0, -1) if number % size == 0]
