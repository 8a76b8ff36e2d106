"""The metrics file: what `evaluate` measured on one checkpoint, and what those numbers depend on.

`evaluate` writes it, `predict.measured.own_runs` makes rows of it. Numbers are plain means over documents; `stderr`
holds their standard errors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ladder.errors import UserError
from ladder.files.bind import Count, Number, Whole, bind, lenient
from ladder.files.reading import read_json
from ladder.files.writing import write_json

SCHEMA = 1
AGAIN = "evaluate that checkpoint again with --force"
Format = Literal["rc", "mc"]  # ranked by the answer's text, or by its letter
TaskFormat = Literal["rc", "mc", "gold"]  # gold: the right answer alone, so a loss and nothing to choose from
FORMATS: tuple[TaskFormat, ...] = get_args(TaskFormat)


def text_entry(name: str) -> str:
    """What a suite's text is called among its entries, beside its tasks, which are called by their names alone."""
    return f"lm_loss/{name}"


def group_entry(name: str) -> str:
    """As `text_entry`, of a group of tasks."""
    return f"group/{name}"


@lenient
@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A ranked task, or a category of it, in one format; evaluate/results/metrics.py defines the metrics."""

    task: str
    split: str
    format: Format
    n: Count  # documents
    chance: float  # accuracy of guessing
    primary: str  # the accuracy that is reported as `acc`
    acc: float
    bpb: float
    bpb_with_space: float
    acc_per_char: float
    acc_per_char_with_space: float
    acc_per_byte: float
    acc_raw: float
    task_ce: float
    prob_correct: float
    task_ce_normaliser: str
    stderr: dict[str, float]  # by metric
    macro: dict[str, float] | None = None  # by metric: the plain mean over groups (MMLU's 57 subjects)


@lenient
@dataclass(frozen=True, kw_only=True)
class GoldResult:
    """A task of gold answers; `evaluate.results.metrics.gold_values` defines the metrics."""

    task: str
    split: str
    n: Count  # documents
    bpb: float
    bpb_with_space: float
    nats_per_token: float
    stderr: dict[str, float]  # by metric


@lenient
@dataclass(frozen=True, kw_only=True)
class Group:
    """Tasks that are reported as one number, their weighted mean."""

    name: str
    metric: Literal["bpb", "acc"]
    weights: Mapping[str, float]  # "task.format" -> its weight; they sum to 1


@lenient
@dataclass(frozen=True, kw_only=True)
class GroupResult(Group):
    value: float
    stderr: float  # of the mean over these tasks, whose documents are drawn apart


@lenient
@dataclass(frozen=True, kw_only=True)
class LmLossResult:
    """The language-model loss on one text."""

    name: str
    nats_per_token: float
    bits_per_byte: float
    tokens: Count  # that were predicted
    stderr: float  # of nats_per_token, over sequences


@lenient
@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the numbers depend on."""

    weights: str  # content hash of the weights
    config: str | None = None  # of the model's config.json; measured in the training loop, or by 0.1.0, it is not said
    tokenizer: str
    dtype: str
    dtype_version: Count = 1  # `evaluate.evaluator.DTYPE_VERSIONS`; version 0.1.0 did not say
    plans: Mapping[str, str] = field(default_factory=dict)  # "task.format" -> hash of documents, tokenizer and context
    definitions: Mapping[str, str] = field(default_factory=dict)  # "task.format" or "group NAME" -> hash of how derived
    texts: Mapping[str, str] = field(default_factory=dict)  # language-model losses, as plans
    entries: Mapping[str, str] | None = None  # hash by task, `text_entry`, `group_entry`; version 0.1.0 did not say

    def same_model(self, other: Provenance) -> bool:
        names = ["weights", "tokenizer", "dtype", "dtype_version"]
        if self.config is not None and other.config is not None:
            names.append("config")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def covers(self, asked: Provenance) -> bool:
        """Whether everything that `asked` names was measured on the same."""
        return (
            self.same_model(asked)
            and asked.plans.items() <= self.plans.items()
            and asked.definitions.items() <= self.definitions.items()
            and asked.texts.items() <= self.texts.items()
            and self.has(asked.entries or {})
        )

    def has(self, entries: Mapping[str, str]) -> bool:
        """Whether the entries of a suite were measured as they now are; of a file that does not say, they were."""
        return self.entries is None or entries.items() <= self.entries.items()


@lenient
@dataclass(frozen=True, kw_only=True)
class MeasuredOn:
    """Of a metrics file only what its numbers depend on."""

    provenance: Provenance


@lenient
@dataclass(frozen=True, kw_only=True)
class Origin:
    """What identifies a checkpoint in the measurement table; of a foreign model budget and tokens are not known."""

    run: str
    size: str
    n: Number  # parameters
    d: Number | None  # final tokens of the run
    step: Whole
    tokens: Number | None  # at that step


Outcome = Literal["same", "differs", "partial_attention", "refused", "no_mask"]


@lenient
@dataclass(frozen=True, kw_only=True)
class Trial:
    """What evaluate/scoring/trial.py found when it tried a model on a trie: why its rows may branch, or may not."""

    outcome: Outcome  # "same": tries; all others: plain sequences
    tokens: Count  # of the longest path that was tried
    attention: Literal["flex", "masked"] | None = None  # of the trie: compiled, or the model's own under a mask
    without_flex: Outcome | None = None  # what came of the trial with FlexAttention, where that was not to be had
    difference: Number | None = None  # the largest between a trie and plain sequences, in nats
    error: str | None = None  # that the model raised, where it refused

    @property
    def tries(self) -> bool:
        return self.outcome == "same"


@lenient
@dataclass(frozen=True, kw_only=True)
class MetricsFile(Origin):
    weight_files: dict[str, tuple[int, int]] | None = None  # name -> size and change time in ns, when last compared
    model_path: str | None = None  # of the checkpoint, where the file does not lie in its run
    results: tuple[TaskResult, ...]
    gold: tuple[GoldResult, ...] = ()
    groups: tuple[GroupResult, ...] = ()
    lm_loss: tuple[LmLossResult, ...]
    suite: str
    max_length: Count  # input tokens
    tries: bool  # whether the model took tries (evaluate/tokens/trie.py)
    trial: Trial | None = None  # how that was found; version 0.1.0 did not say
    git_revision: str
    versions: dict[str, str]
    provenance: Provenance

    @classmethod
    def load(cls, path: Path) -> MetricsFile:
        """Raises UserError that names file and key, for what is no metrics file of this schema."""
        value = read_json(path)
        schema = value.get("schema") if isinstance(value, dict) else None
        if schema != SCHEMA:
            raise UserError(f"{path} is no metrics file of schema {SCHEMA}; {AGAIN}")
        try:
            return bind(cls, value, str(path))
        except UserError as error:
            raise UserError(f"{error}; {AGAIN}") from None

    def dump(self, path: Path) -> None:
        write_json(path, self.plain())

    def plain(self) -> dict[str, Any]:
        """As it stands in the file; what is optional and absent is left out."""
        value = {"schema": SCHEMA} | dataclasses.asdict(self)
        for key in ("weight_files", "model_path", "trial"):
            if value[key] is None:
                del value[key]
        if value["provenance"]["dtype_version"] == 1:
            del value["provenance"]["dtype_version"]
        for key in ("gold", "groups"):
            if not value[key]:
                del value[key]
        provenance = ((value["provenance"], key) for key in ("config", "entries"))
        for holder, key in [*provenance, *((row, "macro") for row in value["results"])]:
            if holder[key] is None:
                del holder[key]
        return value
