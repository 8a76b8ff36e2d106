"""One model under one suite: plans, scores, metrics file, each only as far as it is not there yet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluate.results.metrics import choices_of, definition_key, gold_result, task_results
from evaluate.results.results import Results, WeightFiles
from evaluate.scoring.lm_loss import RunningText, lm_loss, read_running_text
from evaluate.scoring.plan import Plan, cached_plan, plan_key
from evaluate.scoring.processes import Processes
from evaluate.scoring.scorer import Scorer
from evaluate.tasks.groups import group_key, with_groups
from evaluate.tasks.suite import Suite
from evaluate.tasks.tasks import GoldTask, JsonlFile, RankedTask, Task
from evaluate.tokens.tokenizer import Encoder
from ladder.config.task_files import UNSPACED
from ladder.errors import UserError
from ladder.process.provenance import git_revision, versions
from ladder.records.metrics_file import GoldResult, LmLossResult, MetricsFile, Origin, Provenance, TaskResult, Trial

# Raised where the same weights in that type give other likelihoods than before. bf16 2: rotary frequencies stay in fp32
# in the training loop too, where they had been cast.
DTYPE_VERSIONS = {"fp32": 1, "bf16": 2}
LONGEST_RUNNING_TEXT = 4096  # tokens a sequence of running text has at most: the paper's training length


@dataclass(frozen=True, kw_only=True)
class Job:
    """A suite bound to a tokenizer and a context length; what it depends on is known before any weight is read."""

    suite: Suite
    encoder: Encoder
    max_length: int
    vocabulary: int
    tokenizer_sha256: str
    plans: dict[str, str]
    texts: dict[str, RunningText]

    def provenance(self, weights: str, dtype: str, config: str | None = None) -> Provenance:
        texts = {name: text.fingerprint for name, text in self.texts.items()}
        definitions = {task.key: definition_key(task) for task in self.suite.tasks}
        definitions |= {f"group {group.name}": group_key(group) for group in self.suite.groups}
        return Provenance(
            weights=weights,
            config=config,
            tokenizer=self.tokenizer_sha256,
            dtype=dtype,
            dtype_version=DTYPE_VERSIONS[dtype],
            plans=self.plans,
            definitions=definitions,
            texts=texts,
            entries=self.suite.entries,
        )


def make_job(suite: Suite, encoder: Encoder, context: int | None, vocabulary: int) -> Job:
    """Raises UserError where neither the model nor the suite says how long an input may be, or a text is not there."""
    lengths = [length for length in (context, suite.max_length) if length]
    if not lengths:
        raise UserError("the model's configuration names no context length; set suite.max_length=TOKENS")
    max_length = min(lengths)
    cut = max_length if max_length < min(context or LONGEST_RUNNING_TEXT, LONGEST_RUNNING_TEXT) else None
    fingerprint = encoder.fingerprint()
    return Job(
        suite=suite,
        encoder=encoder,
        max_length=max_length,
        vocabulary=vocabulary,
        tokenizer_sha256=fingerprint,
        plans={task.key: plan_key(task, fingerprint, max_length) for task in suite.tasks},
        texts={loss.name: read_running_text(loss, encoder, vocabulary, cut) for loss in suite.lm_losses},
    )


@functools.cache
def _software() -> dict[str, Any]:
    return {"git_revision": git_revision(), "versions": versions("torch", "transformers", "tokenizers")}


@dataclass(kw_only=True)
class Evaluator:
    """Keeps plans in memory between checkpoints. Several processes each score every so many batches.

    `report` is told what is being done: (task key, tokens done, tokens in all); `tried`, which way a model is run.
    """

    processes: Processes = field(default_factory=Processes)
    report: Callable[[str, int, int], None] = lambda task, done, total: None
    tried: Callable[[Trial], None] = lambda trial: None
    warn: Callable[[str], None] = lambda text: None
    _plans: dict[tuple[str, bool], Plan] = field(default_factory=dict, init=False)

    def evaluate(
        self,
        scorer: Scorer,
        job: Job,
        provenance: Provenance,
        origin: Origin,
        files: Results | None,
        weight_files: WeightFiles | None = None,
        again: bool = False,
    ) -> MetricsFile:
        """The metrics of one model; written to `files` task by task, if given.

        Args:
            again: score also what `files` has likelihoods of.

        Raises:
            UserError: the model's vocabulary is too small for the tokenizer, or its likelihoods are not numbers.
        """
        self._try(scorer, job)
        arrays = self.processes.agree(lambda: files.loglikelihoods(provenance) if files and not again else {})
        for task in job.suite.tasks:
            if task.key not in arrays:
                arrays[task.key] = self._score(scorer, task, self.plan(task, job, scorer.tries))
                if files and self.processes.main:
                    files.save_loglikelihoods(provenance, arrays)
        results, gold = self._results(job, arrays, scorer.tries)
        metrics = MetricsFile(
            **vars(origin) | _software(),
            weight_files=weight_files,
            results=results,
            gold=gold,
            lm_loss=self._lm_losses(scorer, job),
            suite=job.suite.name,
            max_length=job.max_length,
            tries=scorer.tries,
            trial=scorer.trial,
            provenance=provenance,
        )
        metrics = with_groups(metrics, job.suite.groups)
        return metrics if files is None else self.processes.agree(lambda: files.save_metrics(metrics))

    def prepare(self, job: Job) -> None:
        """Reads the documents and makes their plans, so that what is wrong with them is known before a model is read.

        Raises:
            UserError: a document that cannot be read or scored.
        """
        plans = {task.key: self.plan(task, job, tries=True) for task in job.suite.tasks}
        if others := [f"{key} ({plan.otherwise[0]:,})" for key, plan in plans.items() if plan.otherwise[0]]:
            why = "a context ends in a space, or a token spans context and choice"
            self.warn(f"lm-evaluation-harness takes other tokens for choices of {', '.join(others)}: {why}")
        if cut := [f"{key} ({plan.truncated[0]:,})" for key, plan in plans.items() if plan.truncated[0]]:
            parted = sum(int(plan.parted[0]) for plan in plans.values())
            also = f"; answers longer by themselves are scored in parts ({parted:,})" if parted else ""
            self.warn(f"inputs longer than {job.max_length:,} tokens lose their beginning: {', '.join(cut)}{also}")
        own = [task.key for task in job.suite.tasks if isinstance(task.source, JsonlFile)]
        if joined := [key for key in own if 2 * plans[key].unspaced[0] > len(plans[key].choices)]:
            self.warn(f"{', '.join(joined)}: {UNSPACED}")

    def _results(
        self, job: Job, arrays: Mapping[str, np.ndarray], tries: bool
    ) -> tuple[tuple[TaskResult, ...], tuple[GoldResult, ...]]:
        results: list[TaskResult] = []
        gold: list[GoldResult] = []
        for task in job.suite.tasks:
            plan = self.plan(task, job, tries)
            match task:
                case RankedTask():
                    results.extend(task_results(task, choices_of(plan, arrays[task.key])))
                case GoldTask():
                    gold.append(gold_result(task, plan, arrays[task.key]))
        return tuple(results), tuple(gold)

    def _try(self, scorer: Scorer, job: Job) -> None:
        """Finds out how the model takes rows as long and as wide as the suite's."""
        if scorer.tries:
            plans = [self.plan(task, job, tries=True) for task in job.suite.tasks]
            longest = max((plan.longest_path for plan in plans), default=0)
            scorer.try_at(longest, max((plan.widest_row for plan in plans), default=0))
        scorer.trial = self.processes.agree(lambda: scorer.trial)
        self.tried(scorer.trial)

    def _lm_losses(self, scorer: Scorer, job: Job) -> tuple[LmLossResult, ...]:
        length = min(job.max_length, LONGEST_RUNNING_TEXT)
        losses = []
        for loss in job.suite.lm_losses:
            self.report(loss.name, 0, loss.tokens)
            losses.append(lm_loss(scorer, self.processes, loss, job.texts[loss.name], length))
        return tuple(losses)

    def plan(self, task: Task, job: Job, tries: bool) -> Plan:
        key = (job.plans[task.key], tries)
        if key not in self._plans:
            self._plans[key] = self.processes.main_first(
                lambda: cached_plan(task, job.encoder, job.plans[task.key], job.max_length, tries)
            )
        return self._plans[key]

    def _score(self, scorer: Scorer, task: Task, plan: Plan) -> np.ndarray:
        done = 0

        def advance(tokens: int) -> None:
            nonlocal done
            done += tokens * self.processes.count
            self.report(task.key, min(done, len(plan.tokens)), len(plan.tokens))

        self.report(task.key, 0, len(plan.tokens))
        part = scorer.loglikelihoods(plan, self.processes.rank, self.processes.count, advance)
        values = self.processes.add(part)
        if not np.isfinite(values).all():
            raise UserError(f"{task.key}: log-likelihoods are not finite numbers (NaN or infinite weights?)")
        return values
