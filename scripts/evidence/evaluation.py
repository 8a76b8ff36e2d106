"""Stage `evaluation`: seconds to score models of the ladder's shapes by each way, the first time and again.

Random weights, and random tokens in tries as long and as wide as those of the tasks: times and equality count. The
share of the whole suite that this is gives checkpoints per hour.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from evaluate.models.loading import cast_parameters
from evaluate.scoring.packed import Packed
from evaluate.scoring.plan import Plan, plan_of_sections
from evaluate.scoring.scorer import Scorer
from evaluate.tokens.trie import Request
from ladder.config.config import ladder_from_config, load_config
from ladder.rungs.shape import ModelShape
from train.model import model_config

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
SIZES = ("190M", "1.3B")
# Under masks; cuDNN's plans take a minute or more, so once and last.
KERNELS = {
    "190M": [SDPBackend.EFFICIENT_ATTENTION],
    "1.3B": [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION],
}
SUITE_TOKENS = 6_550_000  # suite olmes: ../shared/notes/evaluation.md, 3c
PASSES = 2


@dataclass(frozen=True, kw_only=True)
class Task:
    """Mean lengths in tokens, as OLMo 2's tokenizer has them."""

    sections: int
    documents: int  # of each section
    choices: int
    prompt: int
    question: float
    answer: float


TASKS = {
    "arc_challenge.rc": Task(sections=1, documents=1172, choices=4, prompt=153, question=28, answer=6.0),
    "arc_challenge.mc": Task(sections=1, documents=1172, choices=4, prompt=291, question=63, answer=1),
    "csqa.rc": Task(sections=1, documents=1221, choices=5, prompt=109, question=17, answer=1.65),
    "csqa.mc": Task(sections=1, documents=1221, choices=5, prompt=229, question=40, answer=1),
    "mmlu.rc": Task(sections=8, documents=246, choices=4, prompt=336, question=57, answer=8.6),
    "mmlu.mc": Task(sections=8, documents=246, choices=4, prompt=506, question=102, answer=1),
}


def rows(tiny: bool, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    for size in SIZES[:1] if tiny else SIZES:
        shape = ModelShape(vocab_size=512, d_model=32, n_layers=2, n_heads=2, ffn_hidden=64) if tiny else None
        model, vocabulary = model_of(size, shape)
        sizes = {"documents": 2, "sections": 1} if tiny else {}
        plans = [plan_of(replace(task, **sizes), vocabulary) for task in TASKS.values()]
        yield from ways(size, model, plans, tiny)
        del model
        torch._dynamo.reset()
        if GPU:
            torch.cuda.empty_cache()


def model_of(size: str, shape: ModelShape | None) -> tuple[Any, int]:
    """Weights in bf16 on a GPU, made there."""
    from transformers import Olmo2ForCausalLM

    ladder = ladder_from_config(load_config(["ladder=olmo2"]))
    shape = shape or ladder.make_rung(size, 1).shape
    with torch.device(DEVICE):
        model = Olmo2ForCausalLM._from_config(model_config(shape, ladder.recipe), dtype=torch.float32)
    if GPU:
        cast_parameters(model, "bf16")
    return model.eval(), shape.vocab_size


def plan_of(task: Task, vocabulary: int) -> Plan:
    rng = np.random.default_rng(0)

    def tokens(mean: float) -> np.ndarray:
        return rng.integers(0, vocabulary, max(1, rng.poisson(mean)), dtype=np.int32)

    sections: list[list[Request]] = []
    count = itertools.count()
    for _ in range(task.sections):
        prompt = tokens(task.prompt)
        questions = [np.concatenate([prompt, tokens(task.question)]) for _ in range(task.documents)]
        choices = [(question, tokens(task.answer)) for question in questions for _ in range(task.choices)]
        sections.append(
            [
                Request(index=next(count), inputs=np.concatenate([question, answer[:-1]]), targets=answer)
                for question, answer in choices
            ]
        )
    return plan_of_sections(sections, True, 1024)


def ways(size: str, model: Any, plans: list[Plan], tiny: bool) -> Iterator[dict[str, Any]]:
    """Packed under FlexAttention, and under masks by each of torch's kernels."""
    started = time.monotonic()
    scorer = Scorer(model)
    assert scorer.kinds is not None
    if tiny and not GPU:
        scorer.packed = Packed(model, scorer.kinds, least=256, compiled=lambda forward: forward)
    trial = {"trial": vars(scorer.trial), "trial_seconds": time.monotonic() - started}
    yield {"what": "trial", "size": size, **trial}
    expected: np.ndarray | None = None
    for way in ("flex", *(KERNELS[size] if GPU else (None,))):
        if way == "flex" and scorer.packed is None:
            continue
        if way != "flex":
            scorer.packed = None
        chosen = sdpa_kernel(way) if isinstance(way, SDPBackend) else contextlib.nullcontext()
        name = way.name.lower() if isinstance(way, SDPBackend) else way or "masked"
        try:
            with chosen:
                scores, seconds = timed_passes(scorer, plans)
        except RuntimeError as error:  # a kernel that takes no masks; out of memory
            yield {"what": "evaluation", "size": size, "way": name, "error": f"{type(error).__name__}: {error}"[:500]}
            continue
        expected = scores if expected is None else expected
        yield {"what": "evaluation", "size": size, "way": name} | summary(plans, scores, expected, seconds)


def timed_passes(scorer: Scorer, plans: list[Plan]) -> tuple[np.ndarray, list[float]]:
    seconds, scores = [], np.empty(0)
    for _ in range(PASSES):
        started = time.monotonic()
        scores = np.concatenate([scorer.loglikelihoods(plan) for plan in plans])  # waits for the device at its end
        seconds.append(time.monotonic() - started)
    return scores, seconds


def summary(plans: list[Plan], scores: np.ndarray, expected: np.ndarray, seconds: list[float]) -> dict[str, Any]:
    tokens = sum(plan.processed_tokens for plan in plans)
    return {
        "first_seconds": seconds[0],
        "seconds": seconds[-1],
        "tokens": tokens,
        "tokens_per_second": tokens / seconds[-1],
        "heads": sum(len(plan.heads) for plan in plans),
        "checkpoints_per_hour": 3600 / (seconds[-1] * SUITE_TOKENS / tokens),
        "largest_difference": float(np.abs(scores - expected).max()),
        "mean_difference": float(np.abs(scores - expected).mean()),
        "peak_bytes": torch.cuda.max_memory_allocated() if GPU else None,
    }
