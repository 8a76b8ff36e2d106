"""From hidden states to logits, as the model itself does it: some scale or cap what comes out of the last matrix."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch

PROBE_TOKENS = 8
MANY_POSITIONS = 1024


def body_name(model: Any) -> str | None:
    """The attribute of a causal language model under which all but its head lies; None where it has none."""
    return next((name for name in (model.base_model_prefix, "model") if name and hasattr(model, name)), None)


def body_of(model: Any) -> Any:
    name = body_name(model)
    return model if name is None else getattr(model, name)


class Head:
    """`direct`: the output embedding alone gives the model's own logits; else its forward pass is run without its body.

    Where neither works, trying the model on a trie finds it out (`evaluate.scoring.trial`).
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.direct = True
        with torch.no_grad():
            self.direct = self._is_direct(torch.arange(PROBE_TOKENS, device=model.device)[None])

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (positions, vocabulary), a tensor of their own, of hidden states (positions, d)."""
        if self.direct:
            return self._model.get_output_embeddings()(states)
        with _without_body(self._model):
            return self._model(inputs_embeds=states[None], use_cache=False).logits[0]

    def fp32(self, states: torch.Tensor) -> torch.Tensor:
        """Logits in fp32; of bf16 states on a GPU they never are bf16 in between."""
        output = self._model.get_output_embeddings()
        plain = self.direct and type(output) is torch.nn.Linear and output.bias is None
        if plain and states.is_cuda and states.dtype == torch.bfloat16:
            return torch.mm(states, output.weight.t(), out_dtype=torch.float32)
        return self(states).float()

    def _is_direct(self, tokens: torch.Tensor) -> bool:
        if self._model.get_output_embeddings() is None or body_name(self._model) is None:
            return True
        body = body_of(self._model)(input_ids=tokens, use_cache=False)
        if "last_hidden_state" not in body:
            return True
        states, own = body.last_hidden_state, self._model(input_ids=tokens, use_cache=False).logits
        projected = self._model.get_output_embeddings()(states)
        if projected.shape == own.shape and torch.equal(projected, own):
            return True
        try:
            with _without_body(self._model):
                through = self._model(inputs_embeds=states, use_cache=False).logits
        except (TypeError, AttributeError, ValueError, IndexError, RuntimeError):  # its forward needs more than that
            return True
        return not torch.allclose(through, own)


def log_normaliser(logits: torch.Tensor) -> torch.Tensor:
    """log of the sum of exp over the vocabulary (positions,); the logits (positions, vocabulary) may be overwritten."""
    if logits.is_cuda:
        return _compiled_logsumexp(logits.shape[1], logits.device)(logits)
    largest = logits.amax(dim=-1)
    # At the largest logit softmax is exp(largest - log Z).
    return largest - torch.softmax(logits, dim=-1, out=logits).amax(dim=-1).log()


@functools.cache
def _compiled_logsumexp(vocabulary: int, device: torch.device) -> Any:
    """One pass over the logits of any number of positions; eager it is five.

    The compiler is shown many at first: of a few it would split each over several kernels, and keep to that.
    """
    compiled, many = torch.compile(logsumexp, dynamic=False), torch.empty(MANY_POSITIONS, vocabulary, device=device)
    torch._dynamo.mark_dynamic(many, 0)
    compiled(many)
    return compiled


def logsumexp(logits: torch.Tensor) -> torch.Tensor:
    """In the form of a softmax, of which the compiler takes maximum and sum in one pass; torch's own takes two."""
    largest = logits.amax(dim=-1, keepdim=True)
    return (largest + (logits - largest).exp().sum(dim=-1, keepdim=True).log())[..., 0]


class _Given(torch.nn.Module):
    """In place of a model's body: its output is what goes in."""

    def forward(self, inputs_embeds: torch.Tensor, **_: Any) -> _Output:
        return _Output(inputs_embeds)


class _Output:
    """An output of a body of which the last hidden states are known and nothing else is there."""

    def __init__(self, states: torch.Tensor) -> None:
        self.last_hidden_state = states

    def __getitem__(self, index: int) -> torch.Tensor:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        return None


@contextlib.contextmanager
def _without_body(model: Any) -> Iterator[None]:
    name, body = body_name(model), body_of(model)
    assert name is not None  # else its output embedding is its head
    setattr(model, name, _Given())
    try:
        yield
    finally:
        setattr(model, name, body)
