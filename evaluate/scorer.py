"""Log-likelihoods of a plan's requests under a causal language model, each token of each trie computed once.

A section's prefix fills the key-value cache once. Its rows then run in batches behind it, under the mask that
`evaluate.trie` describes; hidden states are projected to the vocabulary only where a token is predicted.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from evaluate.attention import layer_kinds, mask_argument, masks
from evaluate.head import Head, body_of
from evaluate.plan import Plan
from evaluate.trial import SHORT, try_tries
from ladder.errors import UserError

# What a batch may hold, by device type. A batch of the CPU's size fits its caches; a GPU wants to be filled.
BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
MASK_ELEMENTS = {"cpu": 2**23, "cuda": 2**28}  # queries x keys
LOGIT_ELEMENTS = {"cpu": 2**20, "cuda": 2**28}  # positions x vocabulary, in fp32
LEAST_ROWS = 128  # positions projected at once, whatever the vocabulary: fewer would mostly wait for the matrix


@dataclass(frozen=True)
class Batch:
    """Rows [first, last) of a section, padded to the longest; its heads are a contiguous range of the plan's."""

    section: int
    first: int
    last: int


class PrefixCache(DynamicCache):
    """Keys and values of one shared prefix, put before those of every row without being changed by them."""

    shared = False

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        if not self.shared:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        layer, rows = self.layers[layer_idx], key_states.shape[0]
        keys = torch.cat([layer.keys.expand(rows, -1, -1, -1), key_states], dim=-2)
        values = torch.cat([layer.values.expand(rows, -1, -1, -1), value_states], dim=-2)
        return keys, values


def context_length(config: Any) -> int | None:
    """Input tokens that a model of this Hugging Face configuration was made for; None where it does not say."""
    text = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "seq_length", "n_ctx")
    return next((int(getattr(text, name)) for name in names if getattr(text, name, None)), None)


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """No gradients, no dropout; the model's training mode is put back afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


class Scorer:
    """A model and the way it can be run: `trial` says whether it takes rows that branch, and how that was found."""

    def __init__(self, model: Any) -> None:
        self.model, self.body = model, body_of(model)
        self.device = next(model.parameters()).device
        tables = (model.get_input_embeddings(), model.get_output_embeddings())  # Mllama embeds more than it predicts
        self.vocabulary = min(int(table.weight.shape[0]) for table in tables if table is not None)
        kind = self.device.type if self.device.type in BATCH_TOKENS else "cpu"
        self.batch_tokens, self.mask_elements = BATCH_TOKENS[kind], MASK_ELEMENTS[kind]
        self.logit_elements = LOGIT_ELEMENTS[kind]
        taken = inspect.signature(self.body.forward).parameters
        self.cache_argument = "cache" if "cache" in taken else "past_key_values"  # the older name, up to 5.39
        self.kinds = layer_kinds(model.config.get_text_config())
        with evaluating(model):
            self.head = Head(model)
        short = min(SHORT, context_length(model.config) or SHORT)
        self.trial, self._tried = try_tries(self, short, short), (short, short)

    @property
    def tries(self) -> bool:
        return self.trial.tries

    def try_at(self, longest_path: int, widest_row: int) -> None:
        """Tries the model at the size of what is to be scored, unless it was tried there or is run plainly anyway."""
        size = (max(longest_path, self._tried[0]), max(widest_row, self._tried[1]))
        if self.tries and size != self._tried:
            self.trial, self._tried = try_tries(self, *size), size

    def loglikelihoods(
        self, plan: Plan, rank: int = 0, ranks: int = 1, progress: Callable[[int], None] = lambda tokens: None
    ) -> np.ndarray:
        """Natural-log likelihood of every request, float64 (requests,); those of other ranks' batches are 0.

        A request lies in one row, so the ranks' results add up to exactly what one rank alone computes. Broken weights
        give values that are not finite.

        Raises:
            UserError: the plan's token ids exceed the model's vocabulary.
        """
        if plan.largest_token >= self.vocabulary:
            raise UserError(
                f"the tokenizer gives token {plan.largest_token}, but the model's embedding has {self.vocabulary} "
                "rows: tokenizer and model do not belong together"
            )
        parts, pairs = [], []
        with evaluating(self.model):
            cache, section = None, -1
            for batch in list(self.batches(plan))[rank::ranks]:
                if batch.section != section:
                    cache, section = self._prefix(plan, batch.section), batch.section
                scores, scored = self._run(plan, batch, cache)
                parts.append(scores)
                pairs.append(scored)
                progress(int(plan.row_offsets[batch.last] - plan.row_offsets[batch.first]))
        if not parts:
            return np.zeros(plan.requests)
        values = torch.cat(parts).double().cpu().numpy()
        requests = plan.pair_request[np.concatenate([np.arange(*span) for span in pairs])]
        return np.bincount(requests, weights=values, minlength=plan.requests)

    def sequence_losses(self, tokens: torch.Tensor, context: int = 1) -> torch.Tensor:
        """Mean nats per predicted token of each sequence (sequences,), all but the first `context`.

        Args:
            tokens: (sequences, length) int64.
        """
        tokens = tokens.to(self.device)
        count, length = tokens.shape
        if self.tries:
            output = self.body(input_ids=tokens, use_cache=False).last_hidden_state
        else:
            output = self.model(input_ids=tokens, use_cache=False).logits
        where = torch.arange(count * length, device=self.device).view(count, length)[:, context - 1 : -1].reshape(-1)
        sources = torch.arange(len(where), device=self.device)
        scores = self._pair_scores(output, where, sources, tokens[:, context:].reshape(-1), self.tries)
        return -scores.view(count, length - context).mean(dim=1)

    def batches(self, plan: Plan) -> Iterator[Batch]:
        """Rows of equal section, longest first, as many as the token, mask and logit budgets hold (at least one)."""
        lengths = np.diff(plan.row_offsets)
        first, rows = 0, len(lengths)
        while first < rows:
            section, longest = int(plan.row_section[first]), int(lengths[first])
            prefix = int(plan.prefix_offsets[section + 1] - plan.prefix_offsets[section])
            room = min(self.batch_tokens // longest, self.mask_elements // (longest * (longest + prefix)))
            if not plan.tries[0]:
                room = min(room, self.logit_elements // (longest * self.vocabulary))
            end = int(np.searchsorted(plan.row_section, section, side="right"))
            last = min(first + max(room, 1), end)
            yield Batch(section, first, last)
            first = last

    def _prefix(self, plan: Plan, section: int) -> PrefixCache | None:
        tokens = plan.prefix_tokens[plan.prefix_offsets[section] : plan.prefix_offsets[section + 1]]
        if not len(tokens):
            return None
        cache = PrefixCache()  # told of no configuration, it keeps what lies beyond a window
        self.body(input_ids=self._tensor(tokens)[None], use_cache=True, **{self.cache_argument: cache})
        cache.shared = True
        return cache

    def _run(self, plan: Plan, batch: Batch, cache: PrefixCache | None) -> tuple[torch.Tensor, tuple[int, int]]:
        """Log-probabilities of the batch's pairs (pairs,) fp32, and which pairs of the plan they are."""
        starts = plan.row_offsets[batch.first : batch.last]
        lengths = np.diff(plan.row_offsets[batch.first : batch.last + 1])
        width = int(lengths.max())
        columns = np.arange(width)
        filled = columns < lengths[:, None]  # (rows, width)
        places = np.minimum(starts[:, None] + columns, len(plan.tokens) - 1)
        tokens = self._tensor(np.where(filled, plan.tokens[places], 0))
        heads = np.searchsorted(plan.heads, [starts[0], starts[-1] + lengths[-1]])
        pairs = np.searchsorted(plan.pair_head, heads)
        nodes = plan.heads[heads[0] : heads[1]]
        row = np.searchsorted(starts, nodes, side="right") - 1
        where = self._tensor(row * width + nodes - starts[row])
        targets = self._tensor(plan.pair_token[pairs[0] : pairs[1]])
        sources = self._tensor(plan.pair_head[pairs[0] : pairs[1]] - heads[0])
        if plan.tries[0]:
            positions = self._tensor(np.where(filled, plan.positions[places], 0))
            ends = self._tensor(np.where(filled, plan.ends[places], columns + 1))  # padding sees itself alone
            hidden = self._hidden(tokens, positions, ends, cache)
        else:
            hidden = self.model(input_ids=tokens, use_cache=False).logits
        return self._pair_scores(hidden, where, sources, targets, bool(plan.tries[0])), (int(pairs[0]), int(pairs[1]))

    def _hidden(
        self, tokens: torch.Tensor, positions: torch.Tensor, ends: torch.Tensor, cache: PrefixCache | None
    ) -> torch.Tensor:
        """Last hidden states (rows, width, d) of rows that branch."""
        assert self.kinds is not None  # else it is run plainly
        made = masks(self.kinds, ends, positions, cache.get_seq_length() if cache is not None else 0)
        output = self.body(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask_argument(made, self._additive if self.eager else lambda mask: mask),
            use_cache=cache is not None,
            **{self.cache_argument: cache},
        )
        if "last_hidden_state" not in output:
            raise ValueError(f"{type(self.body).__name__} returns no hidden states")
        return output.last_hidden_state

    @property
    def eager(self) -> bool:
        return self.model.config._attn_implementation == "eager"

    def _additive(self, mask: torch.Tensor) -> torch.Tensor:
        """As eager attention takes it, which adds it to the scores."""
        dtype = next(self.model.parameters()).dtype
        return torch.zeros(mask.shape, dtype=dtype, device=self.device).masked_fill(~mask, torch.finfo(dtype).min)

    def _pair_scores(
        self, hidden: torch.Tensor, where: torch.Tensor, sources: torch.Tensor, targets: torch.Tensor, project: bool
    ) -> torch.Tensor:
        """log p(targets[j]) at position where[sources[j]], in fp32, over chunks of positions."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        chunk = max(LEAST_ROWS, self.logit_elements // self.vocabulary)
        bounds = torch.searchsorted(sources, torch.arange(0, len(where) + chunk, chunk, device=sources.device)).tolist()
        scores = []
        for number, start in enumerate(range(0, len(where), chunk)):
            states = flat[where[start : start + chunk]]
            logits = (self.head(states) if project else states).float()
            pairs = slice(bounds[number], bounds[number + 1])
            inside = sources[pairs] - start
            chosen = logits[inside, targets[pairs]]
            largest = logits.amax(dim=-1)
            # At the largest logit softmax is exp(largest - log Z).
            log_z = largest - torch.softmax(logits, dim=-1, out=logits).amax(dim=-1).log()
            scores.append(chosen - log_z[inside])
        return torch.cat(scores)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(self.device, non_blocking=True)
