"""The training loop of one rung."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import Olmo2ForCausalLM, PreTrainedTokenizerBase

from ladder.errors import UserError
from ladder.files.writing import remove_leftovers
from ladder.records.metrics_file import Origin
from ladder.records.run_record import RunRecord
from ladder.rungs.recipe import Recipe
from ladder.rungs.rung import Rung
from ladder.runs.rundir import RunDirectory
from train.checkpoint import (
    HostCopy,
    Writer,
    load_resume,
    read_state,
    save_resume,
    save_state,
    save_weights,
    thin_out,
)
from train.log import Log, peak_flops
from train.meter import Meter
from train.model import LossModel, build_optimizer, set_rate
from train.order import BatchOrder
from train.parallel import from_main, parallelise
from train.profile import Profile
from train.repeats import repetitive

Measured = Callable[[Mapping[str, Tensor]], None]
"""Writes what was measured, given the weights that it was measured on; called beside training, like other writing."""
CheckpointHook = Callable[[Origin, RunDirectory], Measured]
_ASK_STEPS, _LONG_STEP = 10, 1.0  # steps between asking all processes for a signal; seconds of one that is worth asking


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run goes about its work; nothing here changes what it computes.

    keep_checkpoints: newest weights to keep, None for all; older ones go once they are measured.
    max_skipped: so many updates in a row skipped for a gradient that is not finite end the run.
    background: write checkpoints while training goes on.
    parallel: ddp or fsdp2.
    weights_dtype: of the weights in checkpoints; the resume state is always fp32.
    """

    micro_batch: int
    log_every: int = 10
    keep_checkpoints: int | None = None
    max_skipped: int = 10
    background: bool = False
    parallel: str = "ddp"
    weights_dtype: torch.dtype = torch.float32
    profile: bool = False


@dataclass(kw_only=True)
class Trainer:
    """Trains `rung` from its newest resume state, else from `start_from`, else from step 1, to its last step.

    A run that was interrupted ends with the same bits on a CPU, with as many processes as before. On a GPU it goes on
    from the same state with the same data, and sums may round otherwise from one start to another.

    wrapped: `model` and its loss.
    branch_steps: where shorter runs of a WSD ladder branch off; their states are kept.
    start_from: the state of a longer WSD run at this run's first decaying step.
    """

    rung: Rung
    recipe: Recipe
    run: RunDirectory
    model: Olmo2ForCausalLM
    wrapped: LossModel
    tokenizer: PreTrainedTokenizerBase
    order: BatchOrder
    accelerator: Accelerator
    record: RunRecord
    settings: Settings
    branch_steps: tuple[int, ...] = ()
    start_from: Path | None = None
    wandb_run: Any = None
    on_checkpoint: CheckpointHook | None = None
    _stop: bool = field(default=False, init=False)
    _ask_every: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        if self.accelerator.num_processes > self.rung.hparams.batch_sequences:
            raise UserError(
                f"{self.accelerator.num_processes} processes cannot share a batch of "
                f"{self.rung.hparams.batch_sequences} sequences; start at most that many"
            )
        if self.settings.parallel == "fsdp2" and self.rung.hparams.batch_sequences % self.accelerator.num_processes:
            raise UserError(
                f"train.parallel=fsdp2: {self.accelerator.num_processes} processes cannot share a batch of "
                f"{self.rung.hparams.batch_sequences} sequences evenly; start a number of processes that divides it"
            )
        build = functools.partial(build_optimizer, recipe=self.recipe, rung=self.rung)
        self._parallel = parallelise(self.settings.parallel, self.accelerator, self.wrapped, build)
        self._wrapped, self._optimizer = self._parallel.module, self._parallel.optimizer
        self._step = 0
        self._clock = self._asked = time.perf_counter()
        self._clock_step = 0
        self._meter = Meter(self.accelerator.device)
        self._writer = Writer(self.settings.background)
        self._copy = HostCopy(pin=self.accelerator.device.type == "cuda")

    def train(self) -> bool:
        """Runs to the end; False if a signal stopped it after its state was saved."""
        hparams = self.rung.hparams
        self._resume()
        profiled = self.settings.profile and self.accelerator.is_main_process
        saves, checkpoints, branches = set(hparams.save_steps), set(hparams.checkpoint_steps), set(self.branch_steps)
        self._wrapped.train()
        if self.accelerator.num_processes > 1 and self.accelerator.device.type == "cpu":
            own = self.order.batch(1, self.accelerator.process_index, self.accelerator.num_processes)
            self._parallel.settle(torch.from_numpy(own[: self.settings.micro_batch]))
        with self._signals(), self._log() as log, Profile(self.run.path, profiled) as profile:
            self._clock = self._asked = time.perf_counter()
            self._clock_step = self._step
            for step in range(self._step + 1, hparams.total_steps + 1):
                grad_norm = self._update(step)
                self._step = step
                profile.step()
                if step % self.settings.log_every == 0 or step == hparams.total_steps:
                    self._log_row(log, grad_norm)
                if step % 1000 == 0:
                    gc.collect()
                if step in branches:
                    self._save(functools.partial(save_state, self.run.branch(step)))
                stop = self._should_stop() and step < hparams.total_steps
                if step in checkpoints:
                    self._checkpoint()
                elif stop or step in saves:
                    self._save(functools.partial(save_resume, self.run.resume, step))
                if stop:
                    break
            self._writer.wait()
            self.accelerator.wait_for_everyone()  # a launcher ends the others once the first one has ended
        return self._step == hparams.total_steps

    def _update(self, step: int) -> Tensor:
        """One optimizer update on batch `step`; returns the gradient norm before clipping, on the device."""
        hparams, accelerator, recipe = self.rung.hparams, self.accelerator, self.recipe
        tokens = self.order.batch(step, accelerator.process_index, accelerator.num_processes)
        left_out = repetitive(tokens, recipe.ngram_max_length, recipe.ngram_max_repeats)
        # Those that are left out come last, so that what is learned is a slice: no index for the device to wait for.
        batch = torch.from_numpy(tokens[np.argsort(left_out, kind="stable")])
        learned = len(tokens) - int(left_out.sum())
        if accelerator.device.type == "cuda":
            # The device is still busy with the last step while the host gets here, so this copy costs nothing.
            batch = batch.pin_memory().to(accelerator.device, non_blocking=True)
        # The published runs divide by all positions of the batch, although a sequence has one label fewer and some
        # are left out. DDP averages gradients over processes; times their number makes it the sum.
        share = accelerator.num_processes / hparams.batch_sequences
        scale = share / hparams.sequence_length
        parts = batch.split(self.settings.micro_batch)
        losses = []
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            with contextlib.nullcontext() if last else self._parallel.no_sync():
                loss, cross_entropy = self._wrapped(part, scale, max(0, learned - index * self.settings.micro_batch))
                loss.backward()
                losses.append(cross_entropy.detach())
        grad_norm = self._parallel.clip(recipe.gradient_clip)
        finite = torch.isfinite(grad_norm)
        set_rate(self._optimizer, self.rung.groups, hparams.lr_at(step))
        self._parallel.step(finite)
        self._meter.add(torch.stack(losses).sum(), finite, step, (len(tokens) - learned) * share)
        return grad_norm

    def _log_row(self, log: Log | None, grad_norm: Tensor) -> None:
        hparams = self.rung.hparams
        sums = self._meter.read()
        self._check_skipped(sums)
        # Mean over processes and applied updates; cross-entropy per label, of which a sequence has T - 1.
        own = torch.tensor([sums["loss_sum"], sums["left_out"]], dtype=torch.float64, device=self.accelerator.device)
        loss, left_out = (self.accelerator.reduce(own, "mean") / max(1, sums["steps"])).tolist()
        any_learned = sums["steps"] > 0 and not math.isclose(left_out, 1)
        labels = (1 - left_out) * (hparams.sequence_length - 1) / hparams.sequence_length
        now = time.perf_counter()
        speed = (self._step - self._clock_step) * hparams.batch_tokens / max(now - self._clock, 1e-9)
        self._clock, self._clock_step = now, self._step
        if log is not None:
            log.write(
                {
                    "step": self._step,
                    "tokens": self._step * hparams.batch_tokens,
                    "loss": loss / labels if any_learned else None,
                    "lr": hparams.lr_at(self._step),
                    "grad_norm": float(grad_norm) if torch.isfinite(grad_norm) else None,
                    "skipped": int(sums["skipped"]),
                    "left_out": left_out,
                    "tokens_per_second": round(speed, 1),
                    **self._mfu(speed),
                    "eta_seconds": round((hparams.total_steps - self._step) * hparams.batch_tokens / speed, 1),
                }
            )

    def _check_skipped(self, sums: dict[str, float]) -> None:
        """Raises UserError after too many skipped updates in a row, naming the last one's data."""
        if sums["longest_streak"] >= self.settings.max_skipped:
            step = int(sums["last_skipped"])
            sources, starts = self.order.starts(step)
            batch = ", ".join(
                f"{part.directory} at tokens {', '.join(map(str, starts[sources == number][:4].tolist()))}, …"
                for number, part in enumerate(self.order.mix.sources)
                if (sources == number).any()
            )
            raise UserError(
                f"{self.run.name}: loss or gradient not finite for {int(sums['longest_streak'])} updates in a row, "
                f"the last at step {step}; look at its sequences ({batch}), or lower the learning rate in another "
                "runs_dir"
            )

    def _mfu(self, tokens_per_second: float) -> dict[str, float | None]:
        """Model FLOPs utilisation counting 6N and attention, and 6N alone; None where the peak is not known."""
        cuda = self.accelerator.device.type == "cuda"
        peak = peak_flops(torch.cuda.get_device_name()) if cuda else None
        if peak is None:
            return {"mfu": None, "mfu_6n": None}
        shape = self.rung.shape
        share = tokens_per_second / peak / self.accelerator.num_processes
        attention = shape.flops_per_token_with_attention(self.rung.hparams.sequence_length)
        return {"mfu": share * attention, "mfu_6n": share * shape.flops_per_token_6n}

    def _checkpoint(self) -> None:
        """Measurements, then weights, then the resume state: a kill in between repeats all three."""
        step = self._step
        if not self.run.run_file.exists():
            raise UserError(f"{self.run.path} has vanished; what it held is lost, start the run again")
        hparams = self.rung.hparams
        record = self.record.checkpoint(step, step * hparams.batch_tokens, hparams.lr_at(step))
        measured: Measured | None = None
        if self.on_checkpoint is not None:  # the processes share the work
            with self._clock_stopped():
                measured = self.on_checkpoint(record.origin(), self.run)

        def save(state: dict[str, Any]) -> None:
            if measured is not None:
                measured(state["model"])
            weights = {name: value.to(self.settings.weights_dtype) for name, value in state["model"].items()}
            save_weights(self.run.checkpoint(step), self.model, weights, self.tokenizer, record)
            save_resume(self.run.resume, step, state)
            if self.settings.keep_checkpoints:
                thin_out(self.run, self.settings.keep_checkpoints)

        self._save(save)

    @contextlib.contextmanager
    def _clock_stopped(self) -> Iterator[None]:
        """Tokens per second are the speed of training."""
        start = time.perf_counter()
        yield
        self._clock += time.perf_counter() - start

    def _save(self, save: Callable[[dict[str, Any]], None]) -> None:
        """Hands a state to the writer; a copy, where training goes on while it is written."""
        with self._clock_stopped():
            self._hand_over(save)

    def _hand_over(self, save: Callable[[dict[str, Any]], None]) -> None:
        # Every process has its own share of the loss; the mean of them serves any number of processes.
        meter = self._meter.state_dict()
        for name in ("loss_sum", "left_out"):
            meter[name] = self.accelerator.reduce(meter[name], "mean")
        state = {"step": self._step, "meter": meter, "settings": self._fixed()} | self._parallel.state()
        if self.accelerator.is_main_process:
            if self._writer.background:
                self._writer.wait()  # what it writes is about to be overwritten
                state = self._copy.of(state)
            self._writer.submit(lambda: save(state))
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        if self.accelerator.is_main_process:
            for directory in (self.run.path, self.run.checkpoints, self.run.resume, self.run.branches):
                remove_leftovers(directory)
        self.accelerator.wait_for_everyone()
        found: list[dict[str, Any]] = []  # by the main process alone: every process of a node would hold all of it
        start = from_main(self.accelerator, lambda: self._find_state(found))
        if start is None:
            return
        self._parallel.load(found.pop() if found else None)
        self._step = start["step"]
        self._meter.load_state_dict(start["meter"])

    def _find_state(self, found: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Puts the state to start from into `found`; returns the small part of it that every process needs."""
        state, place, fixed = load_resume(self.run.resume), self.run.path, self._fixed()
        if state is None and self.start_from is not None:
            state, place = read_state(self.start_from), self.start_from
            del fixed["train.weights"]  # those of a branch are its own
        if state is None:
            return None
        for key, now in fixed.items():
            if (before := state.get("settings", {}).get(key, now)) != now:
                raise UserError(
                    f"{place} was trained with {key}={before} up to step {state['step']:,}, now {key}={now}: "
                    f"set {key}={before}, or train it anew in another runs_dir"
                )
        found.append(state)
        return {"step": state["step"], "meter": state["meter"]}

    def _fixed(self) -> dict[str, str]:
        """Settings that depend on the machine where they are left to it, and may not change within a run."""
        precision = {"no": "fp32"}.get(self.accelerator.mixed_precision, self.accelerator.mixed_precision)
        weights = {torch.float32: "fp32", torch.bfloat16: "bf16"}[self.settings.weights_dtype]
        return {"train.precision": precision, "train.weights": weights}

    @contextlib.contextmanager
    def _log(self) -> Iterator[Log | None]:
        if not self.accelerator.is_main_process:
            yield None
            return
        log = Log(
            self.run.log_file,
            name=self.rung.name,
            total_steps=self.rung.hparams.total_steps,
            resumed_step=self._step,
            wandb_run=self.wandb_run,
        )
        try:
            yield log
        finally:
            log.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGUSR2 end the run after the step; garbage collection only every 1,000 steps.

        Its pauses would fall on different steps on different processes, and all wait for the slowest.
        """

        def on_signal(*_: Any) -> None:
            self._stop = True

        handlers = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGUSR2)}
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _should_stop(self) -> bool:
        """Whether any process got the signal; asked of the others every 10 steps, every step where they are long."""
        if self.accelerator.num_processes == 1:
            return self._stop
        if self._step % self._ask_every:
            return False
        now = time.perf_counter()
        slow = now - self._asked > _LONG_STEP * self._ask_every
        # Whole numbers, of which every process gets the same sum: they have to agree on when to ask again.
        told = torch.tensor([self._stop, slow], dtype=torch.int64, device=self.accelerator.device)
        stops, slows = self.accelerator.reduce(told, "sum").tolist()
        self._asked, self._ask_every = now, 1 if slows else _ASK_STEPS
        return stops > 0
