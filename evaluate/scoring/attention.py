"""Which keys a node of a trie attends to: those of its path, all of them or, in layers with a window, the nearest.

Windows and chunks count positions along the path. Siblings that lie between two nodes of a row count nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

SINGLE = ""  # the kind of a model that takes one mask for all of its layers


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Layers that attend to the last `window` positions, or to those of the same `chunk`, or to all."""

    window: int | None = None
    chunk: int | None = None

    def sees(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
        """Of two tensors of positions, as Hugging Face's masking functions have it; None: always."""
        if self.window is not None:
            return query - key < self.window
        if self.chunk is not None:
            return query // self.chunk == key // self.chunk
        return None


def layer_kinds(config: Any) -> Mapping[str, Kind] | None:
    """The kinds of a model's layers by the names in its configuration's `layer_types`.

    None: some of its layers are no attention along a path (state spaces, convolutions).
    """
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    names = set(getattr(config, "layer_types", None) or [])
    if not names:
        return {SINGLE: Kind(window=window)}
    kinds = {
        "full_attention": Kind(),
        "sliding_attention": Kind(window=getattr(config, "sliding_window", None)),
        "chunked_attention": Kind(chunk=getattr(config, "attention_chunk_size", None)),
    }
    if not names <= kinds.keys():
        return None
    return {name: kinds[name] for name in names} if len(names) > 1 else {SINGLE: kinds[names.pop()]}


def masks(
    kinds: Mapping[str, Kind], ends: torch.Tensor, positions: torch.Tensor, prefix: int
) -> dict[str, torch.Tensor]:
    """Boolean masks (rows, 1, nodes, prefix + nodes) of each kind, True where a query sees a key.

    Args:
        ends: (rows, nodes) index past the last descendant.
        positions: (rows, nodes) those of the path, the prefix counted.
    """
    index = torch.arange(ends.shape[1], device=ends.device)
    path = (index <= index[:, None]) & (index[:, None] < ends[:, None, :])  # (rows, queries, keys)
    if prefix:
        path = torch.cat([path.new_ones((*path.shape[:2], prefix)), path], dim=-1)
    before = torch.arange(prefix, device=ends.device).expand(len(ends), -1)
    query, key = positions[:, :, None], torch.cat([before, positions], dim=1)[:, None]
    made = {}
    for name, kind in kinds.items():
        near = kind.sees(query, key)
        made[name] = (path if near is None else path & near)[:, None]
    return made


def mask_argument(made: Mapping[str, Any], change: Callable[[Any], Any] = lambda mask: mask) -> Any:
    """What a model takes as `attention_mask`: one mask, or one for each kind of its layers."""
    changed = {name: change(mask) for name, mask in made.items()}
    return changed.get(SINGLE, changed)
