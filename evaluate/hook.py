"""Scoring the live model in the training loop: the same numbers as from the checkpoint on disk."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from evaluate.checkpoint import live_weights_sha256, resolve_dtype
from evaluate.evaluator import Evaluator, Job, make_job
from evaluate.results import ResultFiles, origin_of
from evaluate.scorer import Scorer, context_length
from evaluate.tasks import suite_from_config
from evaluate.tokenizer import Encoder
from ladder.rundir import RunDirectory

Hook = Callable[[Any, Any, dict[str, Any], RunDirectory], None]


def make_hook(config: DictConfig) -> Hook:
    """A function (live model, tokenizer, rung info, run) that measures the model under the configuration's suite.

    The model is scored as it would be from disk: in fp32 on a CPU, as a bf16 copy on a GPU. Plans are read at the
    first call and kept; a call for other objects than the last binds itself to those.
    """
    suite = suite_from_config(config.suite)
    evaluator = Evaluator()
    bound: tuple[Any, Any, Job, Scorer] | None = None

    def hook(model: Any, tokenizer: Any, rung_info: dict[str, Any], run: RunDirectory) -> None:
        nonlocal bound
        dtype = resolve_dtype("auto", model.device.type)
        if bound is None or bound[0] is not model or bound[1] is not tokenizer:
            scorer = Scorer(model if dtype == "fp32" else copy.deepcopy(model).bfloat16())
            job = make_job(suite, Encoder(tokenizer), context_length(model.config), scorer.vocabulary)
            bound = (model, tokenizer, job, scorer)
        job, scorer = bound[2:]
        if scorer.model is not model:
            scorer.model.load_state_dict(model.state_dict())  # casts to bf16
        provenance = job.provenance(live_weights_sha256(model), dtype)
        files = ResultFiles(run.metrics_file(rung_info["step"]))
        evaluator.evaluate(scorer, job, provenance, origin_of(rung_info), files)

    return hook
