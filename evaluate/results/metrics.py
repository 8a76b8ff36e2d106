"""Every reported number of a task, from one array: the log-likelihood of each choice, or of each gold answer.

Notation: LL is the natural-log likelihood of a choice, summed over its tokens. Lengths leave out the one space that a
choice begins with, as the code behind the paper did (ai2-olmo 0.6.0, olmo/eval/downstream.py); figures that count it
say `with_space` (the "_v2" figures of ai2-olmo-eval).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluate.scoring.plan import Plan
from evaluate.tasks.tasks import GoldTask, RankedTask, Task
from ladder.files.hashing import json_sha256
from ladder.records.metrics_file import GoldResult, TaskResult

METRICS_VERSION = 1  # raise it when a definition changes: files are then derived again, without scoring
GOLD_VERSION = 1
TASK_CE_NORMALISER = "nats per character"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A task's documents as rectangles (documents, most choices); absent choices have LL = -inf."""

    ll: Floats
    characters: Floats
    bytes: Floats
    spaces: Floats  # 1 where the choice begins with a space
    present: npt.NDArray[np.bool_]
    gold: npt.NDArray[np.int64]  # (documents,)
    groups: npt.NDArray[np.str_]  # (documents,)

    def of_gold(self, values: np.ndarray) -> np.ndarray:
        return values[np.arange(len(self.gold)), self.gold]

    def subset(self, keep: npt.NDArray[np.bool_]) -> Choices:
        return Choices(**{name: value[keep] for name, value in vars(self).items()})


def choices_of(plan: Plan, loglikelihoods: Floats) -> Choices:
    """Each request's value put at its (document, choice).

    Raises:
        ValueError: a likelihood is missing or is not a number; an average never goes over incomplete documents.
    """
    _check(plan, loglikelihoods)
    present = np.arange(plan.choices.max()) < plan.choices[:, None]

    def spread(values: np.ndarray, absent: float) -> Floats:
        rectangle = np.full(present.shape, absent)
        rectangle[present] = values
        return rectangle

    return Choices(
        ll=spread(loglikelihoods, -np.inf),
        characters=spread(plan.characters, 1.0),
        bytes=spread(plan.bytes, 1.0),
        spaces=spread(plan.spaces, 0.0),
        present=present,
        gold=plan.gold.astype(np.int64),
        groups=plan.groups,
    )


def _check(plan: Plan, loglikelihoods: Floats) -> None:
    scored = plan.answer_tokens > 0
    if loglikelihoods.shape != scored.shape or int(plan.choices.sum()) != plan.requests or not scored.all():
        raise ValueError(f"{loglikelihoods.shape} log-likelihoods for {plan.requests} requests, {scored.sum()} planned")
    if not np.isfinite(loglikelihoods).all():
        raise ValueError("a log-likelihood is not a finite number")


def accuracy(choices: Choices, scores: Floats) -> Floats:
    """(documents,) 1 where the gold choice has the highest score; of equal scores the first counts, as in the peers."""
    return (scores.argmax(axis=1) == choices.gold).astype(np.float64)


def document_values(choices: Choices) -> dict[str, Floats]:
    """Each metric's value per document; the reported figure is their plain mean.

    - bpb: bits per byte of the gold choice, -LL / (bytes · ln 2) (the paper's task loss, section 2.2).
    - acc_per_char: highest LL per character (AI2's `len_norm`, lm-evaluation-harness's `acc_norm`).
    - acc_per_byte: highest LL per byte, that is lowest bits per byte (the paper's text).
    - acc_raw: highest LL (`acc` in both).
    - task_ce: -log softmax over the choices of LL per character, at gold (the paper's appendix C.2, equation 7,
      whose logits AI2's code takes per character: -`soft_log`).
    - prob_correct: the softmax itself, at gold (AI2's `soft`).
    """
    characters, size = choices.characters - choices.spaces, choices.bytes - choices.spaces
    per_character = choices.ll / characters
    log_softmax = per_character - _logsumexp(per_character)
    gold_ll = choices.of_gold(choices.ll)
    return {
        "bpb": -gold_ll / choices.of_gold(size) / math.log(2),
        "bpb_with_space": -gold_ll / choices.of_gold(choices.bytes) / math.log(2),
        "acc_per_char": accuracy(choices, per_character),
        "acc_per_char_with_space": accuracy(choices, choices.ll / choices.characters),
        "acc_per_byte": accuracy(choices, choices.ll / size),
        "acc_raw": accuracy(choices, choices.ll),
        "task_ce": -choices.of_gold(log_softmax),
        "prob_correct": np.exp(choices.of_gold(log_softmax)),
    }


def _logsumexp(scores: Floats) -> Floats:
    top = scores.max(axis=1, keepdims=True)
    return top + np.log(np.exp(scores - top).sum(axis=1, keepdims=True))


def standard_error(values: Floats) -> float:
    """Of the mean over documents: sample deviation / sqrt(documents), as lm-evaluation-harness; 0 for one document."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def definition_key(task: Task) -> str:
    """Changes when the same log-likelihoods would be reported differently."""
    match task:
        case RankedTask():
            return json_sha256([METRICS_VERSION, task.split, task.primary, dict(task.categories)])
        case GoldTask():
            return json_sha256([GOLD_VERSION, task.split])


def gold_values(plan: Plan, loglikelihoods: Floats) -> dict[str, Floats]:
    """Each metric's value per document (documents,) of a task of gold answers; the reported figure is their plain mean.

    - bpb: bits per byte of the answer, -LL / (bytes · ln 2), the space that it may begin with left out.
    - bpb_with_space: with that space (OLMES's `bits_per_byte_corr`, AI2's `_v2`).
    - nats_per_token: -LL / tokens of the answer, which depends on the tokenizer.

    Raises:
        ValueError: as `choices_of`.
    """
    _check(plan, loglikelihoods)
    return {
        "bpb": -loglikelihoods / (plan.bytes - plan.spaces) / math.log(2),
        "bpb_with_space": -loglikelihoods / plan.bytes / math.log(2),
        "nats_per_token": -loglikelihoods / plan.answer_tokens,
    }


def gold_result(task: GoldTask, plan: Plan, loglikelihoods: Floats) -> GoldResult:
    """The task's row of a metrics file."""
    values = gold_values(plan, loglikelihoods)
    means = {metric: float(per_document.mean()) for metric, per_document in values.items()}
    errors = {metric: standard_error(per_document) for metric, per_document in values.items()}
    return GoldResult(task=task.name, split=task.split, n=len(loglikelihoods), stderr=errors, **means)


def task_results(task: RankedTask, choices: Choices) -> list[TaskResult]:
    """The task's row of a metrics file; with categories (MMLU), a row for each before that of all documents.

    The overall row is a micro average: every document weighs the same, as do OLMo-ladder's category weights 0.215,
    0.335, 0.219, 0.231 for MMLU up to their rounding. `macro` in it is the plain mean over groups (57 subjects).
    """
    rows = []
    category = np.array([task.categories.get(str(group), "") for group in choices.groups])
    for name in sorted(set(category) - {""}):
        rows.append(_row(task, str(name), choices.subset(category == name)))
    overall = _row(task, task.name, choices)
    if rows:
        overall = replace(overall, macro=_macro(choices))
    return [*rows, overall]


def _macro(choices: Choices) -> dict[str, float]:
    by_group = [document_values(choices.subset(choices.groups == group)) for group in np.unique(choices.groups)]
    return {metric: float(np.mean([values[metric].mean() for values in by_group])) for metric in by_group[0]}


def _row(task: RankedTask, name: str, choices: Choices) -> TaskResult:
    values = document_values(choices)
    means: dict[str, Any] = {metric: float(per_document.mean()) for metric, per_document in values.items()}
    return TaskResult(
        task=name,
        split=task.split,
        format=task.format,
        n=len(choices.gold),
        chance=float((1 / choices.present.sum(axis=1)).mean()),
        primary=task.primary,
        acc=means[task.primary],
        task_ce_normaliser=TASK_CE_NORMALISER,
        stderr={metric: standard_error(per_document) for metric, per_document in values.items()},
        **means,
    )
