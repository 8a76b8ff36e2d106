"""The model of a rung: `transformers.Olmo2ForCausalLM` with the published initialisation, and its optimizer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import Olmo2Config, Olmo2ForCausalLM

from ladder.rungs.groups import Groups, group_of
from ladder.rungs.recipe import Recipe
from ladder.rungs.rung import Rung
from ladder.rungs.shape import ModelShape
from train.loss import next_token_loss

CAUSAL = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def model_config(shape: ModelShape, recipe: Recipe, eos: int | None = None, pad: int | None = None) -> Olmo2Config:
    return Olmo2Config(
        hidden_size=shape.d_model,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_heads,
        intermediate_size=shape.ffn_hidden,
        vocab_size=shape.vocab_size,
        max_position_embeddings=recipe.sequence_length,
        rope_theta=recipe.rope_theta,
        rms_norm_eps=recipe.norm_eps,
        initializer_range=recipe.init_std,
        tie_word_embeddings=False,
        attention_bias=False,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )


def build_model(config: Olmo2Config, groups: Groups, seed: int) -> Olmo2ForCausalLM:
    """Random weights: normal(0, std) truncated at 3 std for every matrix, embedding and head too.

    Seed and `groups` alone decide them: they are drawn on the CPU in the order of the parameter names.
    """
    model = Olmo2ForCausalLM._from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            initial = getattr(groups, group_of(name)).initial
            if parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=initial, a=-3 * initial, b=3 * initial, generator=generator)
            else:
                parameter.fill_(initial)
    return model


def compile_blocks(model: Olmo2ForCausalLM, backend: str | Callable[..., Any] = "inductor") -> None:
    """One graph for all blocks. On a GPU it is for one shape, and anything that would break it is an error.

    On a CPU the same model is also measured in the loop, with batches of many shapes.
    """
    # Else every block is cut where DDP's buckets end, which are for a model that is one graph: a block is sent as one.
    torch._dynamo.config.optimize_ddp = False
    static: dict[str, Any] = {"dynamic": False, "fullgraph": True} if model.device.type == "cuda" else {}
    for block in model.model.layers:
        block.compile(backend=backend, **static)


class LossModel(nn.Module):
    """Wraps a causal LM so that forward returns only the loss.

    accelerate converts every output of a prepared model to fp32, and DDP hooks need the loss to come out of forward;
    with logits as output that would be 1.6 GB for one sequence of 4,096 tokens over 100,352 ids.

    Args:
        document_end: the id that closes a document, where attention is to stay inside documents; None for no mask.
        static: the loss that is made for a GPU, compiled (`train/loss.py`).
    """

    def __init__(
        self, model: Olmo2ForCausalLM, z_weight: float, document_end: int | None = None, static: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.z_weight = z_weight
        self.document_end = document_end
        self.static = static
        self._angles: tuple[Tensor, Tensor] | None = None

    def forward(self, tokens: Tensor, scale: float, learned: int | None = None) -> tuple[Tensor, Tensor]:
        """Loss and cross-entropy of `tokens` (sequences, length), both summed over positions and times `scale`.

        Only the first `learned` sequences count, or all of them. The others are computed all the same, rare as they
        are: batches of one shape keep compiled blocks compiled, and every process has a backward pass.
        """
        hidden = self.hidden_states(tokens)
        loss, cross_entropy = next_token_loss(
            hidden, tokens, self.model.lm_head.weight, self.z_weight, learned, self.static
        )
        return loss * scale, cross_entropy * scale

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """What the head reads, (sequences, length, d_model).

        The parts of `Olmo2Model` are called here one by one: its own forward asks on every call whether the positions
        are those of packed sequences, and the host has to wait for the device's answer.
        """
        body: Any = self.model.model
        hidden = body.embed_tokens(tokens)
        rotary = self._rotary(hidden)
        mask = None if self.document_end is None else document_mask(tokens, self.document_end)
        with attention_order(hidden.device.type, masked=mask is not None):
            for block in body.layers:
                hidden = block(hidden, attention_mask=mask, position_embeddings=rotary)
        return body.norm(hidden)

    def _rotary(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the positions, fp32, each (1, length, head size): the same for every batch."""
        length = hidden.shape[1]
        if self._angles is None or self._angles[0].shape[1] != length or self._angles[0].device != hidden.device:
            positions = torch.arange(length, device=hidden.device)[None]
            self._angles = self.model.model.rotary_emb(hidden.float(), positions)
        return self._angles


def attention_order(device: str, masked: bool) -> contextlib.AbstractContextManager[Any]:
    """Which of torch's kernels computes attention: on a GPU the first of these that can.

    torch's own order puts cuDNN's last, which is the fastest for causal attention on Hopper. With a mask it is left
    out: it has had silent errors with masks (pytorch issues 191612, 193893, 196678).
    """
    if device != "cuda":
        return contextlib.nullcontext()
    return sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH] if masked else CAUSAL, set_priority=True)


def document_mask(tokens: Tensor, document_end: int) -> Tensor:
    """Causal attention that stays inside a document: bool, (sequences, 1, length, length), True where visible.

    The end-of-text token belongs to the document it closes. Positions go on counting: RoPE sees only differences.
    """
    ends = (tokens == document_end).long()
    document = ends.cumsum(1) - ends
    same = document[:, :, None] == document[:, None, :]
    return same.tril()[:, None]


def build_optimizer(model: Olmo2ForCausalLM, recipe: Recipe, rung: Rung) -> torch.optim.AdamW:
    """AdamW with a parameter group for each of `rung.groups.alike()`, in that order."""
    named: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        named.setdefault(group_of(name), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": [parameter for group in groups for parameter in named[group]],
                "lr": rung.hparams.peak_lr * multiplier,
                "weight_decay": decay,
            }
            for (multiplier, decay), groups in rung.groups.alike().items()
        ],
        betas=(recipe.adam_beta1, recipe.adam_beta2),
        eps=recipe.adam_eps,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, groups: Groups, lr: float) -> None:
    """The learning rate of the next update: `lr` is the run's, of which each parameter group has a multiple."""
    for parameters, (multiplier, _) in zip(optimizer.param_groups, groups.alike(), strict=True):
        parameters["lr"] = lr * multiplier
