"""Scoring the live model in the training loop: the same numbers as from the checkpoint on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from evaluate.evaluator import Evaluator, make_job
from evaluate.models.checkpoint import live_weights_sha256
from evaluate.models.live import is_sharded, update, whole_copy
from evaluate.models.loading import resolve_dtype
from evaluate.results.results import UNKNOWN_WEIGHTS, HeldResults, ResultFiles
from evaluate.scoring.processes import Processes
from evaluate.scoring.scorer import Scorer, context_length
from evaluate.tasks.suite import make_suite
from evaluate.tokens.tokenizer import Encoder
from ladder.config.suite_settings import SuiteSettings
from ladder.records.metrics_file import Origin
from ladder.runs.rundir import RunDirectory

Write = Callable[[Mapping[str, Tensor]], None]
Hook = Callable[[Origin, RunDirectory], Write]


def make_hook(settings: SuiteSettings, model: Any, tokenizer: Any) -> Hook:
    """A function (origin, run) that measures the live `model` under a suite, and returns one that writes what it found.

    That one is called by the main process alone, with the weights that were measured, by name: it hashes them, while
    training goes on. The other is called by every process of a training at the same steps: they share the work. The
    model is scored as it would be from disk, in fp32 on a CPU and in bf16 on a GPU; where it is not there so already,
    as a whole copy on each process. The suite's files are read here, so that a suite that cannot be measured is known
    before the first training step.

    Raises:
        UserError: a file of the suite is missing or bad, or too short for what is asked of it.
    """
    dtype, processes = resolve_dtype("auto", model.device.type), Processes.launched()
    scored = whole_copy(model, dtype) if is_sharded(model) or dtype != "fp32" else model
    scorer = Scorer(scored)
    job = make_job(make_suite(settings), Encoder(tokenizer), context_length(model.config), scorer.vocabulary)
    evaluator = Evaluator(processes=processes)

    def hook(origin: Origin, run: RunDirectory) -> Write:
        if scored is not model:
            update(scored, model)
        held = HeldResults(ResultFiles(run.metrics_file(origin.step)))
        evaluator.evaluate(scorer, job, job.provenance(UNKNOWN_WEIGHTS, dtype), origin, held)
        return lambda weights: held.write(live_weights_sha256(weights.items()))

    return hook
