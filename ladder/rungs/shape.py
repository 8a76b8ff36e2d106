"""A model's shape: parameter counts and FLOPs per token, each by a named convention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

Width = Annotated[int, Field(ge=1, le=10**7)]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a ladder's file says of a size."""

    d_model: Width
    n_layers: Width
    n_heads: Width
    ffn_hidden: Width

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            raise ValueError(
                f"must give an even, whole head size, d_model={self.d_model} over n_heads={self.n_heads} does not"
            )


@dataclass(frozen=True, kw_only=True)
class ModelShape(Shape):
    """An OLMo-2 transformer: SwiGLU of width `ffn_hidden`, QK-norm over the full width, no biases, untied head."""

    vocab_size: Width

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
