"""A model's shape: parameter counts and FLOPs per token, each by a named convention."""

from __future__ import annotations

from dataclasses import dataclass

from ladder.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """An OLMo-2 transformer: SwiGLU of width `ffn_hidden`, QK-norm over the full width, no biases, untied head."""

    d_model: int
    n_layers: int
    n_heads: int
    ffn_hidden: int
    vocab_size: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int) or value < 1:
                raise UserError(f"model shape: {name}={value!r} must be a whole number of at least 1")
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            raise UserError(
                f"model shape: d_model={self.d_model} over n_heads={self.n_heads} must give an even, whole head size"
            )

    @property
    def body_parameters(self) -> int:
        """Transformer blocks and final norm: no embedding, no head."""
        attention = 4 * self.d_model**2 + 2 * self.d_model  # q, k, v, o and the two QK-norms
        feed_forward = 3 * self.d_model * self.ffn_hidden
        norms = 2 * self.d_model
        return self.n_layers * (attention + feed_forward + norms) + self.d_model

    @property
    def head_parameters(self) -> int:
        return self.d_model * self.vocab_size

    @property
    def n(self) -> int:
        """N as the paper counts it (Table 1): everything but the input embedding; the output head is in."""
        return self.body_parameters + self.head_parameters

    @property
    def total_parameters(self) -> int:
        return self.n + self.vocab_size * self.d_model

    @property
    def flops_per_token_6n(self) -> float:
        """Training FLOPs per token, 6N (Kaplan et al. 2020; the paper's section 2.1)."""
        return 6.0 * self.n

    def flops_per_token_with_attention(self, sequence_length: int) -> float:
        """6N + 12·L·d·T: the same plus full attention scores (PaLM, Chowdhery et al. 2022, appendix B)."""
        return 6.0 * self.n + 12.0 * self.n_layers * self.d_model * sequence_length
