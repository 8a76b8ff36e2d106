"""From N and a token budget to every hyper-parameter of a run: batch, learning rate, warmup, steps, checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ladder.errors import UserError, unknown

SCHEDULES = ("cosine", "wsd")
_MAY_BE_ZERO = (
    *("warmup_tokens_per_parameter", "floor_steps", "checkpoint_min_steps", "checkpoint_steps_per_multiple"),
    *("adam_beta1", "adam_beta2", "weight_decay", "z_loss", "final_lr_fraction", "decay_fraction"),
    "ngram_max_length",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The constants of the rules below; values and their sources stand in `configs/recipe/paper.yaml`."""

    sequence_length: int
    tokens_per_parameter: float
    reference_n: float
    reference_peak_lr: float
    peak_lr_divisor: float
    reference_batch_tokens: float
    batch_multiple_of: int
    warmup_tokens_per_parameter: float
    schedule: str
    decay_fraction: float
    final_lr_fraction: float
    floor_steps: int
    checkpoint_min_steps: int
    checkpoint_steps_per_multiple: int
    adam_beta1: float
    adam_beta2: float
    adam_eps: float
    weight_decay: float
    gradient_clip: float
    ngram_max_length: int
    ngram_max_repeats: int
    z_loss: float
    init_std: float
    rope_theta: float
    norm_eps: float

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown("ladder.recipe.schedule", self.schedule, SCHEDULES)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "schedule":
                continue
            least = "of at least 0" if field.name in _MAY_BE_ZERO else "above 0"
            if not math.isfinite(value) or value < 0 or (value == 0 and field.name not in _MAY_BE_ZERO):
                raise UserError(f"ladder.recipe.{field.name}={value:g} must be a number {least}")
            if field.type == "int" and value != int(value):
                raise UserError(f"ladder.recipe.{field.name}={value:g} must be a whole number")
        for name in ("adam_beta1", "adam_beta2", "final_lr_fraction", "decay_fraction"):
            highest = 1 if name in ("final_lr_fraction", "decay_fraction") else math.nextafter(1, 0)
            if getattr(self, name) > highest:
                raise UserError(f"ladder.recipe.{name}={getattr(self, name):g} must lie between 0 and 1")

    def hparams(self, n: int, multiple: float) -> HParams:
        """Hyper-parameters of a model of N = `n` trained on `multiple` times the Chinchilla-optimal 20N tokens.

        Batch and learning rate: Porian et al. 2024 (arXiv 2406.19146), batch ∝ N^(2/3), LR ∝ N^(-1/3), with the
        paper's divisors; warmup over N tokens; cosine over ceil(D / batch) steps (paper, section 2.1 and Table 1).
        """
        if not 0 < multiple < math.inf:
            raise UserError(f"ladder.multiples: {multiple:g} must be a number above 0")
        ratio = n / self.reference_n
        sequences = self.reference_batch_tokens * ratio ** (2 / 3) / self.sequence_length
        batch = max(1, round(sequences / self.batch_multiple_of)) * self.batch_multiple_of
        batch_tokens = batch * self.sequence_length
        horizon = math.ceil(multiple * self.tokens_per_parameter * n / batch_tokens)
        warmup = round(self.warmup_tokens_per_parameter * n / batch_tokens)
        if warmup > horizon:
            raise UserError(
                f"ladder.multiples: at {multiple:g} a run has {horizon:,} steps and would end inside its warmup of "
                f"{warmup:,}; raise it or lower ladder.recipe.warmup_tokens_per_parameter"
            )
        return HParams(
            batch_sequences=batch,
            sequence_length=self.sequence_length,
            peak_lr=self.reference_peak_lr * ratio ** (-1 / 3) / self.peak_lr_divisor,
            schedule=self.schedule,
            final_lr_fraction=self.final_lr_fraction,
            warmup_steps=warmup,
            decay_start=round(horizon * (1 - self.decay_fraction)) if self.schedule == "wsd" else 0,
            decay_steps=horizon,
            total_steps=horizon + self.floor_steps,
            checkpoint_every=max(1, self.checkpoint_min_steps, round(self.checkpoint_steps_per_multiple * multiple)),
        )


@dataclass(frozen=True, kw_only=True)
class HParams:
    """What one run needs to know. Steps count optimizer updates from 1; step s has seen s · batch_tokens tokens."""

    batch_sequences: int
    sequence_length: int
    peak_lr: float
    schedule: str
    final_lr_fraction: float
    warmup_steps: int
    decay_start: int
    decay_steps: int
    total_steps: int
    checkpoint_every: int

    @property
    def batch_tokens(self) -> int:
        return self.batch_sequences * self.sequence_length

    @property
    def d(self) -> int:
        """D: tokens seen by the end of the run."""
        return self.total_steps * self.batch_tokens

    @property
    def save_steps(self) -> list[int]:
        """Where the state for resuming is saved: every `checkpoint_every` steps, and the last step."""
        grid = [*range(self.checkpoint_every, self.total_steps, self.checkpoint_every)]
        return [*grid, self.total_steps]

    @property
    def checkpoint_steps(self) -> list[int]:
        """Those of the save steps whose weights are kept and measured.

        With WSD only those of the decay, which are the run's own: what comes before belongs to all runs of the size.
        """
        return [step for step in self.save_steps if step > self.decay_start]

    def lr_at(self, step: int) -> float:
        """Learning rate of update `step` (from 1): linear warmup from 0, decay to the floor, then the floor.

        With `cosine` it equals the published `optim/learning_rate_group0` columns to double precision. With `wsd` it
        is constant up to `decay_start` and falls linearly from there (Hu et al. 2024, arXiv 2404.06395).
        """
        floor = self.peak_lr * self.final_lr_fraction
        if step < self.warmup_steps:
            return self.peak_lr * step / self.warmup_steps
        if step >= self.decay_steps:
            return floor
        if self.schedule == "wsd":
            progress = max(0.0, (step - self.decay_start) / (self.decay_steps - self.decay_start))
            return self.peak_lr + (floor - self.peak_lr) * progress
        progress = (step - self.warmup_steps) / (self.decay_steps - self.warmup_steps)
        return floor + (self.peak_lr - floor) * (1 + math.cos(math.pi * progress)) / 2
