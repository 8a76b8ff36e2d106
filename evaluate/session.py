"""One call of the command: which checkpoints are measured, on what, with whom, and what is shown of it."""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.claims import claim
from evaluate.evaluator import Evaluator, Job, make_job
from evaluate.models.checkpoint import Checkpoint, find_checkpoints
from evaluate.models.foreign import CONFIG_FILE, notes_on
from evaluate.models.hub import hub_revision
from evaluate.models.loading import load_config, resolve_dtype
from evaluate.resident import ResidentModel
from evaluate.results.definitions import check_kept, check_own_suite
from evaluate.results.report import WANDB_MODES, Progressing, log_to_wandb, table
from evaluate.results.results import ResultFiles, WeightFiles, foreign_origin
from evaluate.results.samples import harness_results, write_samples
from evaluate.scoring.processes import Processes
from evaluate.scoring.scorer import context_length
from evaluate.tasks.asked_suite import AskedSuite, own_suite
from evaluate.tasks.names import HARNESS
from evaluate.tasks.suite import Suite, make_suite
from evaluate.tokens.tokenizer import TOKENIZER_FILES, Encoder, load_tokenizer
from ladder.config.settings import Config
from ladder.errors import UserError, unknown
from ladder.files.hashing import json_sha256, sha256_of
from ladder.files.writing import leaving_no_folder, write_json
from ladder.records.metrics_file import MetricsFile, Provenance
from ladder.runs.rundir import RunDirectory, find_runs

POLL_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """A checkpoint, what is wanted of it, and where that goes."""

    checkpoint: Checkpoint
    job: Job
    files: ResultFiles | None
    provenance: Provenance
    weight_files: WeightFiles


def _folder_of(order: Order) -> contextlib.AbstractContextManager[None]:
    """The folder for its results, which is left only where there are some."""
    return leaving_no_folder(order.files.path.parent) if order.files else contextlib.nullcontext()


class Session:
    def __init__(self, options: argparse.Namespace, paths: Sequence[Path], config: Config, suite: AskedSuite) -> None:
        if config.wandb not in WANDB_MODES:
            raise unknown("wandb", str(config.wandb), WANDB_MODES)
        self.options = options
        self.paths = paths
        self.config = config
        self.processes = Processes.launched()
        self.dtype = resolve_dtype(options.dtype, self.processes.device.type)
        self.progress = Progressing(quiet=not self.processes.main)
        self.evaluator = Evaluator(
            processes=self.processes,
            report=self.progress.advance,
            tried=self.progress.tried,
            warn=self.progress.say_once,
        )
        self.resident = ResidentModel(
            self.dtype, self.processes.device, options.allow_pickle, options.trust_remote_code
        )
        self._asked = suite
        self._suites: dict[Path | None, Suite] = {}
        self._jobs: dict[Any, Job] = {}
        self._hashes: dict[Any, str] = {}
        self._shown: dict[Checkpoint, MetricsFile] = {}

    def run(self) -> None:
        """Measures every checkpoint that is not measured yet, those that other workers have claimed last.

        With --watch goes on until the last checkpoint of every run is there and measured; checkpoints outside of runs,
        which do not say which is the last, are waited for as long as --patience says.

        Raises:
            UserError: nothing was new for the whole of --patience; the message names the runs that are not finished.
        """
        self._name_absent()
        last_new = time.monotonic()
        while True:
            pending = self.processes.agree(self._pending)
            for place, checkpoint in enumerate(pending):
                if self.processes.agree(functools.partial(self._ready, checkpoint)):
                    self._visit(checkpoint, pending[place + 1 : place + 2])
            if pending:
                last_new = time.monotonic()
            quiet = time.monotonic() - last_new
            if self.processes.agree(functools.partial(self._finished, quiet)):
                break
            self.processes.agree(functools.partial(self._check_patience, quiet))
            time.sleep(POLL_SECONDS)
        if self.processes.main and self.config.wandb != "off":
            log_to_wandb(self.config.wandb, self.config.wandb_project, list(self._shown.values()))
        self.processes.part()

    def _pending(self) -> list[Checkpoint]:
        found = (find_checkpoints(path, self.options.runs, waiting=self.options.watch) for path in self.paths)
        checkpoints = list(dict.fromkeys(itertools.chain.from_iterable(found)))
        if not checkpoints and self.options.watch:
            self.progress.say_once(f"waiting for checkpoints in {self.options.path}")
        if not checkpoints and not self.options.watch:
            raise UserError(f"{self.options.path} holds runs, but none has a checkpoint yet; --watch waits for them")
        return [checkpoint for checkpoint in checkpoints if checkpoint not in self._shown]

    def _name_absent(self) -> None:
        """Says which runs are asked for and are not there: a run that never began, or a slip of the pen."""
        if self.options.runs and not self.options.watch:
            there = [run.name for run in find_runs(self.options.path)]
            for name in self.options.runs:
                if name not in there:
                    self.progress.say(str(unknown(f"run of {self.options.path}", name, there)))

    def _ready(self, checkpoint: Checkpoint) -> bool:
        """Whether it can be measured: of checkpoints that are followed one may be half written, or gone again."""
        if self.options.watch and not checkpoint.settled():
            self.progress.say_once(f"{checkpoint.path} was just written to: measured once it has not been for a while")
            return False
        return not self.options.watch or (checkpoint.path / CONFIG_FILE).exists()

    def _finished(self, quiet_seconds: float) -> bool:
        if self._pending():
            return False
        if not self.options.watch or Checkpoint(self.options.path) in self._shown:
            return True
        runs = self._followed()
        if not runs and self._shown:
            if self.options.patience is None:
                self.progress.say(
                    "no run here says which checkpoint is its last: done; --patience HOURS waits for more"
                )
            return self.options.patience is None or quiet_seconds > 3600 * self.options.patience
        return bool(runs) and all(self._shown_to_end(run) for run in runs)

    def _followed(self) -> list[RunDirectory]:
        """The runs that --watch waits for, also those that have not begun."""
        if self.options.runs:
            return [RunDirectory(self.options.path / name) for name in self.options.runs]
        return find_runs(self.options.path) if self.options.path.is_dir() else []

    def _check_patience(self, seconds: float) -> None:
        if self.options.patience is not None and seconds > 3600 * self.options.patience:
            unfinished = ", ".join(run.name for run in self._followed() if not self._shown_to_end(run))
            where = f"; not finished: {unfinished}" if unfinished else f" in {self.options.path}"
            raise UserError(f"no new checkpoint for {self.options.patience:g} hours{where}")

    def _shown_to_end(self, run: RunDirectory) -> bool:
        if not run.run_file.exists():
            return False
        return Checkpoint(run.checkpoint(run.outline().total_steps or 0)) in self._shown

    def _visit(self, checkpoint: Checkpoint, following: Sequence[Checkpoint]) -> None:
        """Shows what is measured already; measures it first, unless another worker is at it."""
        order = self._order(checkpoint)
        if metrics := self._measured(order):
            if order.files and self.processes.main:
                with contextlib.suppress(UserError):  # results of others, which one may only read
                    order.files.remember_weights(order.weight_files)
            self._show(order, metrics)
            return
        with _folder_of(order), self._claim(order) as mine:
            # Another model of that name may have got these files since they were chosen: then it is visited again.
            if not self.processes.agree(lambda: mine and self.files(checkpoint) == order.files):
                return
            metrics = self._measured(order)  # another worker may have finished it just now
            self.evaluator.prepare(order.job)
            try:
                self._show(order, metrics or self._measure(order, following))
            except UserError as error:
                text = str(error)
                raise UserError(text if str(checkpoint.path) in text else f"{checkpoint.path}: {text}") from None

    def _order(self, checkpoint: Checkpoint) -> Order:
        files, job = self.files(checkpoint), self.job(checkpoint)
        stats = checkpoint.weight_stats()
        weights = self.processes.agree(lambda: self._weights(checkpoint, files, stats))
        provenance = job.provenance(weights, self.dtype, json_sha256(checkpoint.architecture()))
        if files and not (self.options.force or self.options.changed) and (before := files.metrics()):
            check_kept(job.suite, provenance, files.path, before)
        return Order(checkpoint=checkpoint, job=job, files=files, provenance=provenance, weight_files=stats)

    def _weights(self, checkpoint: Checkpoint, files: ResultFiles | None, stats: WeightFiles) -> str:
        """Their hash; of files that stay as they are it is computed once, also while another worker is at them."""
        state = checkpoint, tuple(stats.items())
        if state not in self._hashes:
            noted = files.known_weights(stats) if files and not self.options.force else None
            self._hashes[state] = noted or checkpoint.weights_sha256()
        return self._hashes[state]

    def _measured(self, order: Order) -> MetricsFile | None:
        files = order.files
        if files is None or self.options.force:
            return None

        def decide() -> MetricsFile | None:
            if self.options.log_samples and files.loglikelihoods(order.provenance).keys() != order.job.plans.keys():
                return None
            metrics = files.metrics()
            return metrics if metrics is not None and metrics.provenance.covers(order.provenance) else None

        return self.processes.agree(decide)

    def _claim(self, order: Order) -> contextlib.AbstractContextManager[bool]:
        if order.files is None or not self.processes.main:
            return contextlib.nullcontext(True)
        return claim(order.files.beside("{}.claim"))

    def _measure(self, order: Order, following: Sequence[Checkpoint]) -> MetricsFile:
        checkpoint, files = order.checkpoint, order.files
        self.progress.begin(str(checkpoint.path))
        try:
            for note in notes_on(checkpoint.path):
                self.progress.say_once(f"  {note}")
            scorer = self.resident.scorer(checkpoint)
            for coming in following:
                self.resident.prefetch(coming)
            hub = hub_revision(checkpoint.absolute)
            origin = checkpoint.origin() or foreign_origin(hub or checkpoint.names[0], scorer.model)
            if files and self.options.force and self.processes.main:
                files.remove_damaged()
            return self.evaluator.evaluate(
                scorer, order.job, order.provenance, origin, files, order.weight_files, again=self.options.force
            )
        finally:
            self.progress.end()

    def files(self, checkpoint: Checkpoint) -> ResultFiles | None:
        """Where its results lie; None with --limit and no --output: part of a task is no measurement of the run."""
        if self.options.output is not None:
            return ResultFiles.named(self.options.output, checkpoint)
        if self.options.limit is not None:
            return None
        run, origin = checkpoint.run, checkpoint.origin()
        if run and origin:
            return ResultFiles(run.metrics_file(origin.step))
        return ResultFiles.named(Path(self.config.runs_dir) / "evaluated", checkpoint)

    def job(self, checkpoint: Checkpoint) -> Job:
        """The suite under the checkpoint's tokenizer; the checkpoints of a run share one."""
        suite_path = checkpoint.run.config_file if checkpoint.run else None
        config = load_config(checkpoint, self.options.trust_remote_code)
        tokenizer_files = [checkpoint.path / name for name in TOKENIZER_FILES]
        identity = tuple((path.name, sha256_of(path)) for path in tokenizer_files if path.exists())
        vocabulary = int(config.get_text_config().vocab_size)
        key = (suite_path, identity, context_length(config), vocabulary)
        if key not in self._jobs:
            encoder = Encoder(load_tokenizer(checkpoint.path, vocabulary, self.options.trust_remote_code))
            self._jobs[key] = make_job(self.suite(suite_path), encoder, context_length(config), vocabulary)
        return self._jobs[key]

    def suite(self, run_config: Path | None) -> Suite:
        if run_config not in self._suites:
            settings = self._asked.settings(run_config)
            whole = make_suite(settings)
            suite = whole.select(self.options.tasks, self.options.formats, self.options.limit)
            for name in self.options.tasks:
                if name in HARNESS and name not in {task.name for task in whole.tasks}:
                    self.progress.say(f"{name} is {', '.join(HARNESS[name])} here, with the prompts of OLMES")
            stored_with_run = run_config and self.options.output is None and self.options.limit is None
            if run_config and stored_with_run and run_config.exists():
                check_own_suite(suite, make_suite(own_suite(run_config)), run_config)
                self.progress.say_once(self._asked.changed_since(run_config, settings))
            self._suites[run_config] = suite
        return self._suites[run_config]

    def _show(self, order: Order, metrics: MetricsFile) -> None:
        checkpoint, files = order.checkpoint, order.files
        self._shown[checkpoint] = metrics
        if not self.processes.main:
            return
        if files and self.options.log_samples:
            write_samples(files.beside("samples_{}.jsonl"), order.job.suite, files.loglikelihoods(order.provenance))
        if files and self.options.results_json:
            write_json(files.beside("results_{}.json"), harness_results(metrics, order.job.suite))
        if self.options.json:
            print(json.dumps({"checkpoint": str(checkpoint.path), **metrics.plain()}, allow_nan=False), flush=True)
        else:
            print(f"{checkpoint.path}\n{table(metrics)}\n", flush=True)
