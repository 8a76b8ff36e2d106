"""Whether a model's rows may branch: tried on a made-up trie as long and as wide as those to be scored, not looked up.

Models that take no mask and no positions, that put them to another use, or whose layers are not all attention along a
path, are found out here. They are run on plain sequences.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch

from evaluate.scoring.attention import SINGLE, Kind
from evaluate.scoring.plan import Plan, plan_of_requests
from evaluate.tokens.trie import Request
from ladder.records.metrics_file import Trial

SHORT = 32  # tokens: what every model is tried on first
PREDICTED = 3  # tokens of each request
TOLERANCE = 1e-3  # nats, in fp32


class Scoring(Protocol):
    """What is tried: an `evaluate.scoring.scorer.Scorer`."""

    model: Any
    body: Any  # all of it but its head
    vocabulary: int
    kinds: Mapping[str, Kind] | None
    packed: Any | None

    def loglikelihoods(self, plan: Plan) -> np.ndarray: ...


def try_tries(scorer: Scoring, longest_path: int, widest_row: int) -> Trial:
    """Scores a trie and, one by one, those of its requests that lie furthest apart, and compares.

    Args:
        longest_path: tokens of the longest request's input.
        widest_row: tokens that a row spans with its prefix; a window may count them in place of those of the path.

    Raises:
        RuntimeError: memory runs out. Other errors come from the model's code, but for those with which it refuses
            a mask that branches (ValueError, IndexError, RuntimeError).
    """
    if not {"attention_mask", "position_ids"} <= set(inspect.signature(scorer.body.forward).parameters):
        return Trial(outcome="no_mask", tokens=longest_path)
    if scorer.kinds is None or _turns_with_length(scorer.model.config.get_text_config(), longest_path):
        return Trial(outcome="partial_attention", tokens=longest_path)
    requests = trial_requests(scorer.vocabulary, longest_path, widest_row)
    compared = [requests[0], requests[len(requests) // 2], requests[-1]]  # sorted: the first and last of the row
    plain = scorer.loglikelihoods(plan_of_requests(compared, False, widest_row))
    refusals: tuple[type[Exception], ...] = (ValueError, IndexError, RuntimeError)
    if SINGLE not in scorer.kinds or scorer.packed is not None:  # these are refused in other ways too
        refusals += (AttributeError, TypeError, KeyError)
    try:
        branching = scorer.loglikelihoods(plan_of_requests(requests, True, widest_row))
    except refusals as error:
        if _out_of_memory(error):
            raise
        return Trial(outcome="refused", tokens=longest_path, error=f"{type(error).__name__}: {str(error)[:200]}")
    indices = [request.index for request in compared]
    difference = float(np.abs(plain[indices] - branching[indices]).max())
    exact = next(scorer.model.parameters()).dtype == torch.float32
    tolerance = TOLERANCE if exact else 0.1 + 0.02 * np.abs(plain).max()  # a logit of 20 has steps of 0.125 in bf16
    return Trial(
        outcome="same" if difference < tolerance else "differs",
        tokens=longest_path,
        attention="masked" if scorer.packed is None else "flex",
        difference=difference if math.isfinite(difference) else None,
    )


def trial_requests(vocabulary: int, longest_path: int, widest_row: int) -> list[Request]:
    """Requests of `longest_path` input tokens that branch at two depths behind a prefix, in the order of their row."""
    rng = np.random.default_rng(0)
    prefix = longest_path // 2
    branch = (longest_path - prefix + 1) // 2
    count = max(3, math.ceil((widest_row - longest_path) / branch) + 1)
    ids = rng.integers(0, vocabulary, size=(count + 1, longest_path), dtype=np.int32)
    ids[:, :prefix] = ids[0, :prefix]
    ids[1:, : longest_path - branch] = ids[1, : longest_path - branch]  # all but the first share a stem as well
    ordered = ids[np.lexsort(ids.T[::-1])]
    targets = rng.integers(0, vocabulary, size=(count + 1, min(PREDICTED, branch)), dtype=np.int32)
    return [
        Request(index=index, inputs=inputs, targets=answer)
        for index, (inputs, answer) in enumerate(zip(ordered, targets, strict=True))
    ]


def _turns_with_length(config: Any, longest_path: int) -> bool:
    """Whether rotary angles of inputs that long are others than those of shorter inputs (Phi-3's long contexts)."""
    rope = getattr(config, "rope_parameters", None) or {}
    original = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return rope.get("rope_type") == "longrope" and original is not None and longest_path > original


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
