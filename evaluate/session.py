"""One call of the command: which checkpoints are to be measured, on what, and what is shown of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from evaluate.checkpoint import Checkpoint, find_checkpoints, load_config, load_model, resolve_dtype
from evaluate.evaluator import Evaluator, Job, make_job
from evaluate.report import Progressing, table
from evaluate.results import ResultFiles, foreign_origin, origin_of
from evaluate.scorer import Scorer, context_length
from evaluate.tasks import Suite, suite_from_config
from evaluate.tokenizer import TOKENIZER_FILES, Encoder, load_tokenizer
from ladder.errors import UserError
from ladder.files import sha256_of


class Session:
    def __init__(
        self, options: argparse.Namespace, config: DictConfig, suite_node: Callable[[Path | None], Any]
    ) -> None:
        self.options = options
        self.config = config
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = resolve_dtype(options.dtype, self.device)
        self.progress = Progressing()
        self.evaluator = Evaluator(report=self.progress.advance)
        self._suite_node = suite_node
        self._suites: dict[Path | None, Suite] = {}
        self._jobs: dict[Any, Job] = {}

    def run(self) -> None:
        """Measures every checkpoint that is not measured yet, in order, and shows each one's metrics."""
        checkpoints = find_checkpoints(self.options.path)
        if not checkpoints:
            raise UserError(f"{self.options.path} holds runs, but none has a checkpoint yet")
        with self.progress:
            for checkpoint in checkpoints:
                self.show(checkpoint, self.measure(checkpoint))

    def measure(self, checkpoint: Checkpoint) -> dict[str, Any]:
        files = self.files(checkpoint)
        job = self.job(checkpoint)
        stats = checkpoint.weight_stats()
        weights = (files.known_weights(stats) if files else None) or checkpoint.weights_sha256()
        provenance = job.provenance(weights, self.dtype)
        if files and not self.options.force and files.covers(provenance):
            return files.metrics() or {}
        self.progress.begin(str(checkpoint.path))
        options = self.options
        model = load_model(checkpoint, self.dtype, self.device, options.allow_pickle, options.trust_remote_code)
        origin = origin_of(checkpoint.rung_info()) if checkpoint.run else foreign_origin(checkpoint.name, model)
        if files and options.force:
            files.arrays.unlink(missing_ok=True)
        origin["weight_files"] = stats
        try:
            return self.evaluator.evaluate(Scorer(model), job, provenance, origin, files)
        except UserError as error:
            raise UserError(f"{checkpoint.path}: {error}") from None

    def files(self, checkpoint: Checkpoint) -> ResultFiles | None:
        """Where its results lie; None with --limit and no --output: part of a task is no measurement of the run."""
        if self.options.output is not None:
            return ResultFiles(self.options.output / f"{checkpoint.name}.json")
        if self.options.limit is not None:
            return None
        if checkpoint.run:
            return ResultFiles(checkpoint.run.metrics_file(checkpoint.rung_info()["step"]))
        return ResultFiles(Path(self.config.runs_dir) / "evaluated" / f"{checkpoint.name}.json")

    def job(self, checkpoint: Checkpoint) -> Job:
        """The suite under the checkpoint's tokenizer; the checkpoints of a run share one."""
        suite_path = checkpoint.run.config_file if checkpoint.run else None
        config = load_config(checkpoint, self.options.trust_remote_code)
        tokenizer_files = [checkpoint.path / name for name in TOKENIZER_FILES]
        identity = tuple(sha256_of(path) for path in tokenizer_files if path.exists())
        vocabulary = int(config.get_text_config().vocab_size)
        key = (suite_path, identity, context_length(config), vocabulary)
        if key not in self._jobs:
            encoder = Encoder(load_tokenizer(checkpoint.path, vocabulary))
            self._jobs[key] = make_job(self.suite(suite_path), encoder, context_length(config), vocabulary)
        return self._jobs[key]

    def suite(self, run_config: Path | None) -> Suite:
        if run_config not in self._suites:
            suite = suite_from_config(self._suite_node(run_config))
            self._suites[run_config] = suite.select(self.options.tasks, self.options.formats, self.options.limit)
        return self._suites[run_config]

    def show(self, checkpoint: Checkpoint, metrics: dict[str, Any]) -> None:
        if self.options.json:
            print(json.dumps({"checkpoint": str(checkpoint.path), **metrics}, allow_nan=False), flush=True)
        else:
            print(f"{checkpoint.path}\n{table(metrics)}\n", flush=True)
