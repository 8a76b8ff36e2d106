"""Log-likelihoods of a plan's requests under a causal language model, each token of each trie computed once.

A section's prefix fills the key-value cache once. Its rows then run in batches behind it, under the mask that
`evaluate.tokens.trie` describes; on a GPU they run end to end (`evaluate.scoring.packed`). Hidden states are projected
to the vocabulary only where a token is predicted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from evaluate.scoring.attention import layer_kinds
from evaluate.scoring.batches import BUDGETS, Batch, batches
from evaluate.scoring.head import Head, body_of, log_normaliser
from evaluate.scoring.masked import Masked, PrefixCache
from evaluate.scoring.packed import Pack, Packed, move, pack_length, packs
from evaluate.scoring.plan import Plan
from evaluate.scoring.trial import SHORT, try_tries
from ladder.errors import UserError

LEAST_ROWS = 128  # positions projected at once, whatever the vocabulary: fewer would mostly wait for the matrix


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
        self.budget = BUDGETS.get(self.device.type, BUDGETS["cpu"])
        self.kinds = layer_kinds(model.config.get_text_config())
        self.masked = Masked(model, self.kinds or {})
        # What is tried first; None: rows that branch run under masks.
        self.packed = Packed(model, self.kinds) if self.kinds and self.device.type == "cuda" else None
        with evaluating(model):
            self.head = Head(model)
        short = min(SHORT, context_length(model.config) or SHORT)
        self._try(short, short)

    @property
    def tries(self) -> bool:
        return self.trial.tries

    def try_at(self, longest_path: int, widest_row: int) -> None:
        """Tries the model at the size of what is to be scored, unless it was tried there or is run plainly anyway."""
        size = (max(longest_path, self._tried[0]), max(widest_row, self._tried[1]))
        if self.tries and size != self._tried:
            self._try(*size)

    def _try(self, longest_path: int, widest_row: int) -> None:
        self._tried = longest_path, widest_row
        self.trial = try_tries(self, longest_path, widest_row)
        if self.packed is not None and not self.tries:
            self.packed, without = None, self.trial
            self.trial = replace(try_tries(self, longest_path, widest_row), without_flex=without.outcome)
            self.trial = self.trial if self.trial.error else replace(self.trial, error=without.error)

    def loglikelihoods(
        self, plan: Plan, rank: int = 0, ranks: int = 1, progress: Callable[[int], None] = lambda tokens: None
    ) -> np.ndarray:
        """Natural-log likelihood of every request, float64 (requests,); those of other ranks' batches are 0.

        The ranks' results add up to what one rank alone computes: exactly where a request lies in one row, as all do
        but those whose answer is longer than the context. Broken weights give values that are not finite.

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
            for scores, scored, tokens in self._parts(plan, rank, ranks):
                parts.append(scores)
                pairs.append(scored)
                progress(tokens)
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
        where = np.arange(count * length).reshape(count, length)[:, context - 1 : -1].reshape(-1)
        targets = tokens[:, context:].reshape(-1)
        scores = self._pair_scores(output, where, np.arange(len(where)), targets, self.tries)
        return -scores.view(count, length - context).mean(dim=1)

    def _parts(self, plan: Plan, rank: int, ranks: int) -> Iterator[tuple[torch.Tensor, tuple[int, int], int]]:
        """Log-probabilities of some pairs (pairs,) fp32, which pairs of the plan they are, and how many nodes it took.

        Nothing here waits for the device: the next batch is prepared while this one runs.
        """
        if plan.tries[0] and self.packed is not None:
            for pack in list(packs(plan, pack_length(plan, self.packed.least)))[rank::ranks]:
                yield *self._run_pack(plan, pack), int(plan.row_offsets[pack.last] - plan.row_offsets[pack.first])
            return
        cache, section = None, -1
        for batch in list(batches(plan, self.budget, self.vocabulary))[rank::ranks]:
            if batch.section != section:
                cache, section = self._prefix(plan, batch.section), batch.section
            yield *self._run(plan, batch, cache), int(plan.row_offsets[batch.last] - plan.row_offsets[batch.first])

    def _prefix(self, plan: Plan, section: int) -> PrefixCache | None:
        tokens = plan.prefix_tokens[plan.prefix_offsets[section] : plan.prefix_offsets[section + 1]]
        return self.masked.prefix(self._tensor(tokens)) if len(tokens) else None

    def _run(self, plan: Plan, batch: Batch, cache: PrefixCache | None) -> tuple[torch.Tensor, tuple[int, int]]:
        starts = plan.row_offsets[batch.first : batch.last]
        lengths = np.diff(plan.row_offsets[batch.first : batch.last + 1])
        width = int(lengths.max())
        columns = np.arange(width)
        filled = columns < lengths[:, None]  # (rows, width)
        places = np.minimum(starts[:, None] + columns, len(plan.tokens) - 1)
        tokens = self._tensor(np.where(filled, plan.tokens[places], 0))
        if plan.tries[0]:
            positions = self._tensor(np.where(filled, plan.positions[places], 0))
            ends = self._tensor(np.where(filled, plan.ends[places], columns + 1))  # padding sees itself alone
            hidden = self.masked.hidden(tokens, positions, ends, cache)
        else:
            hidden = self.model(input_ids=tokens, use_cache=False).logits
        return self._score(plan, batch.first, batch.last, np.arange(len(starts)) * width, hidden)

    def _run_pack(self, plan: Plan, pack: Pack) -> tuple[torch.Tensor, tuple[int, int]]:
        assert self.packed is not None
        return self._score(plan, pack.first, pack.last, pack.shifts, self.packed.hidden(pack))

    def _score(
        self, plan: Plan, first: int, last: int, places: np.ndarray, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """The pairs of rows [first, last), of which each begins at its place among the hidden states."""
        starts = plan.row_offsets[first : last + 1]
        heads = np.searchsorted(plan.heads, [starts[0], starts[-1]])
        pairs = np.searchsorted(plan.pair_head, heads)
        nodes = plan.heads[heads[0] : heads[1]]
        row = np.searchsorted(starts[:-1], nodes, side="right") - 1
        where, sources = places[row] + nodes - starts[row], plan.pair_head[pairs[0] : pairs[1]] - heads[0]
        targets = self._tensor(plan.pair_token[pairs[0] : pairs[1]])
        scores = self._pair_scores(hidden, where, sources, targets, bool(plan.tries[0]))
        return scores, (int(pairs[0]), int(pairs[1]))

    def _pair_scores(
        self, hidden: torch.Tensor, where: np.ndarray, sources: np.ndarray, targets: torch.Tensor, project: bool
    ) -> torch.Tensor:
        """log p(targets[j]) at position where[sources[j]], in fp32, over chunks of positions."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        chunk = max(LEAST_ROWS, self.budget.logit_elements // self.vocabulary)
        bounds = np.searchsorted(sources, np.arange(0, len(where) + chunk, chunk))
        positions, rows = self._tensor(where), self._tensor(sources)
        scores = []
        for number, start in enumerate(range(0, len(where), chunk)):
            states = flat[positions[start : start + chunk]]
            pairs = slice(bounds[number], bounds[number + 1])
            inside = rows[pairs] - start
            logits = self.head.fp32(states) if project else states.float()
            chosen = logits[inside, targets[pairs]]
            scores.append(chosen - log_normaliser(logits)[inside])
        return torch.cat(scores)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return move(np.asarray(array, dtype=np.int64), self.device)
