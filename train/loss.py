"""Next-token loss straight from hidden states: the logits of only some of the tokens exist at a time.

Two ways to the same numbers. `LinearCrossEntropy` is made of torch's own operations and takes as many labels as there
are. `StaticCrossEntropy` is for a GPU: one compiled body over chunks of one size, which moves about 12 bytes a logit in
place of 40 (log-sum-exp, gradient and the sums in two passes over bf16 logits, which become their own gradient).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_LOGITS = {"cpu": 2**19, "cuda": 2**28}
"""Logits alive at once. On a CPU 2 MiB of them stay in its cache; a GPU wants large matrix products."""
MIN_CHUNK = 256
STATIC_CHUNK = 8192
"""Positions of the compiled body at most: 1.6 GB of bf16 logits over 100,352 ids."""
IGNORED = -1
NARROW = 128
"""d_model below which a matrix product on a CPU is faster with the vocabulary as the contiguous side."""


class LinearCrossEntropy(torch.autograd.Function):
    """Sum over tokens of cross-entropy and of z-loss for logits = hidden @ weight.T.

    Both gradients are formed chunk by chunk during the forward pass, while the chunk's logits are at hand: three
    matrix products in all, nothing is recomputed, and no full matrix of logits is ever stored. The matrix products
    run in the dtype of autocast where it is on; log-sum-exp and softmax are always fp32.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, z_weight: float, chunk: int
    ) -> tuple[Tensor, Tensor]:
        device = hidden.device.type
        product = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        narrow = device == "cpu" and product == torch.float32 and weight.shape[1] < NARROW
        matrix = weight.to(product).T.contiguous().T if narrow else weight.to(product)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(matrix, dtype=torch.float32)
        logits_buffer = matrix.new_empty(min(chunk, len(labels)), len(weight))
        cross_entropy, z_loss = (hidden.new_zeros((), dtype=torch.float32) for _ in range(2))
        with torch.autocast(device, enabled=False):
            for start in range(0, len(labels), chunk):
                part = hidden[start : start + chunk].to(product)
                target = labels[start : start + chunk, None]
                logits = torch.mm(part, matrix.T, out=logits_buffer[: len(part)]).float()
                label_logit = logits.gather(1, target)
                largest = logits.amax(-1, keepdim=True)
                softmax = torch.softmax(logits, -1, out=logits)
                # At the largest logit softmax is exp(largest - log Z).
                log_z = largest - softmax.amax(-1, keepdim=True).log()
                cross_entropy += (log_z - label_logit).sum()
                z_loss += z_weight * log_z.square().sum()
                # d/dlogits of (log Z - logit_y + w · log² Z) = s · (softmax - onehot(y) / s) with s = 1 + 2 w log Z, a
                # number per row, which costs less on the narrow side of the products than on the logits.
                scale = 1 + 2 * z_weight * log_z
                gradient = softmax.scatter_add_(1, target, -1 / scale).to(product)
                grad_hidden[start : start + chunk] = (gradient @ matrix) * scale
                part = (part * scale).to(product)
                if narrow:
                    grad_weight.T.addmm_(part.T, gradient)
                elif product == torch.float32:
                    grad_weight.addmm_(gradient.T, part)
                else:
                    grad_weight += gradient.T @ part
        ctx.save_for_backward(grad_hidden, grad_weight.to(weight.dtype).contiguous())
        ctx.mark_non_differentiable(cross_entropy)
        return cross_entropy + z_loss, cross_entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        # In place: a second copy of the head's gradient would be the largest tensor of the step.
        return grad_hidden.mul_(gradients[0]), grad_weight.mul_(gradients[0]), None, None, None


class StaticCrossEntropy(torch.autograd.Function):
    """The same over positions of which some have no label (`IGNORED`), in chunks of one size.

    The logits are in the dtype of autocast and become their gradient in place; everything between is fp32. The head's
    gradient is added up in fp32 by the matrix product itself.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, z_weight: float) -> tuple[Tensor, Tensor]:
        device = hidden.device.type
        product = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        chunk = largest_divisor(len(labels), STATIC_CHUNK)
        matrix = weight.to(product)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(matrix, dtype=torch.float32)
        logits = matrix.new_empty(chunk, len(weight))
        sums = hidden.new_zeros(2, dtype=torch.float32)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(labels), chunk):
                part = hidden[start : start + chunk].to(product)
                torch.mm(part, matrix.T, out=logits)
                sums += compiled_gradient()(logits, labels[start : start + chunk], z_weight)
                grad_hidden[start : start + chunk] = logits @ matrix
                _add_product(grad_weight, logits, part)
        ctx.save_for_backward(grad_hidden, grad_weight.to(weight.dtype))
        cross_entropy, z_loss = sums.unbind()
        ctx.mark_non_differentiable(cross_entropy)
        return cross_entropy + z_loss, cross_entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden.mul_(gradients[0]), grad_weight.mul_(gradients[0]), None, None


def to_gradient(logits: Tensor, labels: Tensor, z_weight: float) -> Tensor:
    """Turns logits into their gradient, in place; returns the sums of cross-entropy and z-loss, (2,) fp32."""
    kept, target = labels != IGNORED, labels.clamp(min=0)[:, None]
    label_logit = logits.gather(1, target)[:, 0].float()
    values = logits.float()
    # In the form of a softmax, of which the compiler takes maximum and sum in one pass; logsumexp takes two.
    largest = values.amax(-1, keepdim=True)
    log_z = (largest + (values - largest).exp().sum(-1, keepdim=True).log())[:, 0]
    scale = torch.where(kept, 1 + 2 * z_weight * log_z, 0.0)
    is_label = (torch.arange(logits.shape[1], device=logits.device) == target) & kept[:, None]
    logits.copy_((values - log_z[:, None]).exp() * scale[:, None] - is_label.float())
    losses = torch.stack([log_z - label_logit, z_weight * log_z.square()])
    return torch.where(kept, losses, 0.0).sum(1)


@functools.cache
def compiled_gradient() -> Callable[[Tensor, Tensor, float], Tensor]:
    return torch.compile(to_gradient, dynamic=False, fullgraph=True)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left.T @ right, where `total` is fp32."""
    if left.dtype == total.dtype:
        total.addmm_(left.T, right)
    elif left.is_cuda:
        torch.addmm(total, left.T, right, out_dtype=torch.float32, out=total)
    else:  # a CPU has no product of bf16 into fp32
        total += left.T @ right


def largest_divisor(number: int, most: int) -> int:
    return next(size for size in range(min(number, most), 0, -1) if number % size == 0)


def next_token_loss(
    hidden: Tensor,
    tokens: Tensor,
    weight: Tensor,
    z_weight: float = 0.0,
    learned: int | None = None,
    static: bool = False,
) -> tuple[Tensor, Tensor]:
    """Loss and cross-entropy (detached) of predicting each token from those before it, in nats, summed.

    Args:
        hidden: (sequences, length, d_model).
        tokens: ids, (sequences, length).
        learned: only the first so many sequences count.
        static: `StaticCrossEntropy`, whose shapes do not depend on `learned`.
    """
    if not static:
        kept, labels = hidden[:learned, :-1], tokens[:learned, 1:]
        return linear_cross_entropy(kept.flatten(0, 1), weight, labels.flatten(), z_weight)
    labels = functional.pad(tokens[:, 1:], (0, 1), value=IGNORED)
    if learned is not None:
        labels[learned:] = IGNORED
    return StaticCrossEntropy.apply(hidden.flatten(0, 1), weight, labels.flatten(), z_weight)


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, labels: Tensor, z_weight: float = 0.0, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Summed loss in nats, and its cross-entropy part alone (detached).

    Args:
        hidden: (tokens, d_model).
        weight: the output head, (vocab_size, d_model).
        labels: (tokens,) int64.
        z_weight: weight of log²Z, the auxiliary loss that keeps logits from drifting (PaLM, section 5).
        chunk: tokens whose logits exist at a time.
    """
    size = chunk or max(MIN_CHUNK, CHUNK_LOGITS.get(hidden.device.type, 2**28) // len(weight))
    return LinearCrossEntropy.apply(hidden, weight, labels, z_weight, size)
