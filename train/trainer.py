"""The training loop of one rung."""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import Olmo2ForCausalLM, PreTrainedTokenizerBase

from ladder.errors import UserError
from ladder.recipe import Recipe
from ladder.rundir import RunDirectory
from ladder.rung import Rung
from train.checkpoint import load_resume, save_resume, save_weights
from train.log import Log, peak_flops
from train.model import LossModel, build_optimizer
from train.order import BatchOrder

EXIT_PREEMPTED = 75
"""Exit code of a run that a signal stopped after saving its state (EX_TEMPFAIL): start it again."""

CheckpointHook = Callable[[Olmo2ForCausalLM, PreTrainedTokenizerBase, dict[str, Any], RunDirectory], None]


@dataclass(kw_only=True)
class Trainer:
    """Trains `rung` from its newest resume state, or from step 1, to its last step."""

    rung: Rung
    recipe: Recipe
    run: RunDirectory
    model: Olmo2ForCausalLM
    tokenizer: PreTrainedTokenizerBase
    order: BatchOrder
    accelerator: Accelerator
    rung_info: dict[str, Any]
    micro_batch: int
    log_every: int
    wandb_run: Any = None
    on_checkpoint: CheckpointHook | None = None
    _stop: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.accelerator.num_processes > self.rung.hparams.batch_sequences:
            raise UserError(
                f"{self.accelerator.num_processes} processes cannot share a batch of "
                f"{self.rung.hparams.batch_sequences} sequences; start at most that many"
            )
        optimizer = build_optimizer(self.model, self.recipe, self.rung.hparams)
        wrapped = LossModel(self.model, self.recipe.z_loss)
        self._wrapped, self._optimizer = self.accelerator.prepare(wrapped, optimizer)
        self._step = 0
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        self._loss_steps = 0

    def train(self) -> bool:
        """Runs to the end; False if a signal stopped it after its state was saved."""
        hparams = self.rung.hparams
        self._resume()
        handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGUSR2)}
        log = self._open_log()
        checkpoints = set(hparams.checkpoint_steps)
        gc.disable()  # its pauses fall on different steps on different ranks, and all wait for the slowest
        self._wrapped.train()
        self._clock, self._clock_step = time.perf_counter(), self._step
        try:
            for step in range(self._step + 1, hparams.total_steps + 1):
                grad_norm = self._update(step)
                self._step = step
                if step % self.log_every == 0 or step == hparams.total_steps:
                    self._log_row(log, grad_norm)
                if step % 1000 == 0:
                    gc.collect()
                if step in checkpoints:
                    self._checkpoint()
                if self._should_stop() and step < hparams.total_steps:
                    self._save_resume()
                    return False
        finally:
            gc.enable()
            if log is not None:
                log.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return True

    def _update(self, step: int) -> Tensor:
        """One optimizer update on batch `step`; returns the gradient norm before clipping, on the device."""
        hparams, accelerator = self.rung.hparams, self.accelerator
        batch = torch.from_numpy(self.order.batch(step, accelerator.process_index, accelerator.num_processes))
        if accelerator.device.type == "cuda":
            batch = batch.pin_memory().to(accelerator.device, non_blocking=True)
        # The published runs divide by all positions of the batch, although a sequence has one label fewer. DDP
        # averages gradients over processes; times their number makes it the sum.
        scale = accelerator.num_processes / hparams.batch_tokens
        parts = batch.split(self.micro_batch)
        for index, part in enumerate(parts):
            if index < len(parts) - 1:
                with accelerator.no_sync(self._wrapped):
                    loss, cross_entropy = self._wrapped(part, scale)
                    loss.backward()
            else:
                loss, cross_entropy = self._wrapped(part, scale)
                loss.backward()
            self._loss_sum += cross_entropy.detach()
        self._loss_steps += 1
        grad_norm = accelerator.clip_grad_norm_(self._wrapped.parameters(), self.recipe.gradient_clip)
        for group in self._optimizer.param_groups:
            group["lr"] = hparams.lr_at(step)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return grad_norm

    def _log_row(self, log: Log | None, grad_norm: Tensor) -> None:
        # Mean over processes and steps; cross-entropy per label, of which a sequence has T - 1.
        hparams = self.rung.hparams
        total = self.accelerator.reduce(self._loss_sum, "mean").item()
        labels = (hparams.sequence_length - 1) / hparams.sequence_length
        loss = total / self._loss_steps / labels
        self._loss_sum.zero_()
        self._loss_steps = 0
        now = time.perf_counter()
        speed = (self._step - self._clock_step) * hparams.batch_tokens / max(now - self._clock, 1e-9)
        self._clock, self._clock_step = now, self._step
        if not torch.isfinite(torch.tensor(loss)):
            raise UserError(
                f"{self.run.path}: loss is {loss} at step {self._step}; lower the learning rate and start again"
            )
        if log is not None:
            log.write(
                {
                    "step": self._step,
                    "tokens": self._step * hparams.batch_tokens,
                    "loss": loss,
                    "lr": hparams.lr_at(self._step),
                    "grad_norm": float(grad_norm),
                    "tokens_per_second": round(speed, 1),
                    "mfu": self._mfu(speed),
                    "eta_seconds": round((hparams.total_steps - self._step) * hparams.batch_tokens / speed, 1),
                }
            )

    def _mfu(self, tokens_per_second: float) -> float | None:
        """Model FLOPs utilisation counting 6N and attention; None where the device's peak is not known."""
        if self.accelerator.device.type != "cuda":
            return None
        peak = peak_flops(torch.cuda.get_device_name())
        flops = self.rung.shape.flops_per_token_with_attention(self.rung.hparams.sequence_length)
        return tokens_per_second * flops / peak / self.accelerator.num_processes if peak else None

    def _checkpoint(self) -> None:
        step, clock = self._step, time.perf_counter()
        if self.accelerator.is_main_process:
            info = self.rung_info | {
                "step": step,
                "tokens": step * self.rung.hparams.batch_tokens,
                "lr": self.rung.hparams.lr_at(step),
            }
            save_weights(self.run.checkpoint(step), self.model, self.tokenizer, info)
            if self.on_checkpoint is not None:
                self.on_checkpoint(self.model, self.tokenizer, info, self.run)
        self._save_resume()
        self._clock += time.perf_counter() - clock  # tokens/s is training speed

    def _save_resume(self) -> None:
        if self.accelerator.is_main_process:
            state = {
                "step": self._step,
                "model": self.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "loss_sum": self._loss_sum.cpu(),
                "loss_steps": self._loss_steps,
            }
            save_resume(self.run.resume, self._step, state)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        state = load_resume(self.run.resume)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._loss_steps = state["step"], state["loss_steps"]
        if self.accelerator.is_main_process:
            self._loss_sum.copy_(state["loss_sum"])

    def _open_log(self) -> Log | None:
        if not self.accelerator.is_main_process:
            return None
        return Log(
            self.run.log_file,
            name=self.rung.name,
            total_steps=self.rung.hparams.total_steps,
            resumed_step=self._step,
            wandb_run=self.wandb_run,
        )

    def _on_signal(self, *_: Any) -> None:
        self._stop = True

    def _should_stop(self) -> bool:
        """Whether any process got the signal; asked of the others only every 10 steps."""
        if self.accelerator.num_processes == 1:
            return self._stop
        if self._step % 10:
            return False
        flag = torch.tensor(int(self._stop), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item())
