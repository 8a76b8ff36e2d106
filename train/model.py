"""The model of a rung: `transformers.Olmo2ForCausalLM` with the published initialisation, and its optimizer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Olmo2Config, Olmo2ForCausalLM

from ladder.recipe import HParams, Recipe
from ladder.shape import ModelShape
from train.loss import linear_cross_entropy


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


def build_model(config: Olmo2Config, seed: int) -> Olmo2ForCausalLM:
    """Random weights: normal(0, std) truncated at 3 std for every matrix, embedding and head too; norms 1.

    The seed alone decides them: they are drawn on the CPU in the order of the parameter names.
    """
    model = Olmo2ForCausalLM._from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    std = config.initializer_range
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=std, a=-3 * std, b=3 * std, generator=generator)
            else:
                parameter.fill_(1.0)
    return model


class LossModel(nn.Module):
    """Wraps a causal LM so that forward returns only the loss.

    accelerate converts every output of a prepared model to fp32, and DDP hooks need the loss to come out of forward;
    with logits as output that would be 1.6 GB for one sequence of 4,096 tokens over 100,352 ids.
    """

    def __init__(self, model: Olmo2ForCausalLM, z_weight: float, document_end: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.z_weight = z_weight
        self.document_end = document_end

    def forward(self, tokens: Tensor, scale: float, learned: int | None = None) -> tuple[Tensor, Tensor]:
        """Loss and cross-entropy of `tokens` (sequences, length), both summed over positions and times `scale`.

        Only the first `learned` sequences count, or all of them. The others are computed all the same, rare as they
        are: batches of one shape keep compiled blocks compiled, and every process has a backward pass.
        """
        mask = None if self.document_end is None else document_mask(tokens, self.document_end)
        output = self.model.model(input_ids=tokens, attention_mask=mask, use_cache=False)
        hidden, labels = output.last_hidden_state[:learned, :-1], tokens[:learned, 1:]
        loss, cross_entropy = linear_cross_entropy(
            hidden.flatten(0, 1), self.model.lm_head.weight, labels.flatten(), self.z_weight
        )
        return loss * scale, cross_entropy * scale


def document_mask(tokens: Tensor, document_end: int) -> Tensor:
    """Causal attention that stays inside a document: bool, (sequences, 1, length, length), True where visible.

    The end-of-text token belongs to the document it closes. Positions go on counting: RoPE sees only differences.
    """
    ends = (tokens == document_end).long()
    document = ends.cumsum(1) - ends
    same = document[:, :, None] == document[:, None, :]
    return same.tril()[:, None]


def build_optimizer(model: Olmo2ForCausalLM, recipe: Recipe, hparams: HParams) -> torch.optim.AdamW:
    """AdamW in two groups: the input embedding without weight decay, everything else with it (the published runs)."""
    embedding = model.get_input_embeddings().weight
    decayed = [parameter for parameter in model.parameters() if parameter is not embedding]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": [embedding], "weight_decay": 0.0}],
        lr=hparams.peak_lr,
        betas=(recipe.adam_beta1, recipe.adam_beta2),
        eps=recipe.adam_eps,
        fused=True,
    )
