"""Rows that branch by the model's own attention, under a mask: any device, any model that takes a mask."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from transformers import DynamicCache

from evaluate.scoring.attention import Kind, mask_argument, masks
from evaluate.scoring.head import body_of


class PrefixCache(DynamicCache):
    """Keys and values of one shared prefix, put before those of every row without being changed by them.

    Told of no configuration, it keeps what lies beyond a window.
    """

    shared = False

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        if not self.shared:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        layer, rows = self.layers[layer_idx], key_states.shape[0]
        keys = torch.cat([layer.keys.expand(rows, -1, -1, -1), key_states], dim=-2)
        values = torch.cat([layer.values.expand(rows, -1, -1, -1), value_states], dim=-2)
        return keys, values


class Masked:
    """A model's body under masks of branching rows."""

    def __init__(self, model: Any, kinds: Mapping[str, Kind]) -> None:
        self.body = body_of(model)
        self._config, self._kinds = model.config, kinds
        taken = inspect.signature(self.body.forward).parameters
        self.cache_argument = "cache" if "cache" in taken else "past_key_values"  # the older name, up to 5.39

    def prefix(self, tokens: torch.Tensor) -> PrefixCache:
        """Keys and values of the tokens (length,)."""
        cache = PrefixCache()
        self.body(input_ids=tokens[None], use_cache=True, **{self.cache_argument: cache})
        cache.shared = True
        return cache

    def hidden(
        self, tokens: torch.Tensor, positions: torch.Tensor, ends: torch.Tensor, cache: PrefixCache | None
    ) -> torch.Tensor:
        """Last hidden states (rows, width, d) of rows behind a prefix; the arguments are (rows, width).

        Raises:
            ValueError: the body's output has none. The model's code raises what it likes.
        """
        made = masks(self._kinds, ends, positions, cache.get_seq_length() if cache is not None else 0)
        eager = self._config._attn_implementation == "eager"
        output = self.body(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask_argument(made, self._additive if eager else lambda mask: mask),
            use_cache=cache is not None,
            **{self.cache_argument: cache},
        )
        if "last_hidden_state" not in output:
            raise ValueError(f"{type(self.body).__name__} returns no hidden states")
        return output.last_hidden_state

    def _additive(self, mask: torch.Tensor) -> torch.Tensor:
        """As eager attention takes it, which adds it to the scores."""
        dtype = next(self.body.parameters()).dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
