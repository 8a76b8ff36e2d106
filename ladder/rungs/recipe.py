"""From N and a token budget to every hyper-parameter of a run: batch, learning rate, warmup, steps, checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from ladder.errors import UserError
from ladder.files.bind import Count, Share, Whole, as_given
from ladder.rungs.groups import Groups, GroupSettings
from ladder.rungs.transfer import Transfer
from ladder.words import count_of

Schedule = Literal["cosine", "wsd"]
MOST_TOKENS, MOST_CHECKPOINTS = 1e20, 100_000  # of one run: beyond these it is a slip

_Above0 = Annotated[float, Field(gt=0, ge=1e-30, le=1e30), as_given]
_Least0 = Annotated[float, Field(ge=0, le=1e30), as_given]
_Part = Annotated[float, Field(ge=0, le=1), as_given]
_Below1 = Annotated[float, Field(ge=0, lt=1), as_given]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The constants of the rules below; values and their sources stand in `configs/recipe/`.

    peak_lr_horizon_exponent: peak rate ∝ 1/D to this power, at a given size (with `transfer` across sizes too).
    transfer: how peak rate, initialisation and decay of the smallest rung are carried to others; None: the rules below
        hold for all of them.
    """

    sequence_length: Count
    tokens_per_parameter: _Above0
    reference_n: _Above0
    reference_peak_lr: _Above0
    peak_lr_divisor: _Above0
    reference_batch_tokens: _Above0
    batch_multiple_of: Count
    warmup_tokens_per_parameter: _Least0
    schedule: Schedule
    decay_fraction: _Part
    final_lr_fraction: _Part
    floor_steps: Whole
    checkpoint_min_steps: Whole
    checkpoint_steps_per_multiple: Whole
    adam_beta1: _Below1
    adam_beta2: _Below1
    adam_eps: _Above0
    weight_decay: _Least0
    gradient_clip: _Above0
    ngram_max_length: Whole
    ngram_max_repeats: Count
    z_loss: _Least0
    init_std: _Above0
    rope_theta: _Above0
    norm_eps: _Above0
    peak_lr_horizon_exponent: Share = 0.0
    transfer: Transfer | None = None

    def constants(self) -> dict[str, float | str]:
        """All but horizon and `transfer`, whose rules leave nothing behind but a run's hyper-parameters and groups."""
        return {key: value for key, value in vars(self).items() if key not in ("peak_lr_horizon_exponent", "transfer")}

    def groups(self) -> Groups:
        """One rate and deviation for all matrices; the embedding alone is not decayed (the published runs)."""
        matrix = GroupSettings(lr=1.0, initial=self.init_std, weight_decay=self.weight_decay)
        gain = replace(matrix, initial=1.0)
        return Groups(
            hidden=matrix,
            down=matrix,
            head=matrix,
            branch_gains=gain,
            gains=gain,
            embedding=replace(matrix, weight_decay=0.0),
        )

    def hparams(self, n: int, multiple: float) -> HParams:
        """Hyper-parameters of a model of N = `n` trained on `multiple` times the Chinchilla-optimal 20N tokens.

        Batch and learning rate: Porian et al. 2024 (arXiv 2406.19146), batch ∝ N^(2/3), LR ∝ N^(-1/3), with the
        paper's divisors, and where asked for ∝ 1/multiple^h (Bjorck et al. 2024, arXiv 2409.19913); warmup over N
        tokens; cosine over ceil(D / batch) steps (paper, section 2.1 and Table 1).
        """
        if not 0 < multiple < math.inf:
            raise UserError(f"{_named(multiple)} must be above 0")
        ratio = n / self.reference_n
        sequences = self.reference_batch_tokens * ratio ** (2 / 3) / self.sequence_length
        batch = max(1, round(sequences / self.batch_multiple_of)) * self.batch_multiple_of
        batch_tokens = batch * self.sequence_length
        tokens, warmup_tokens = multiple * self.tokens_per_parameter * n, self.warmup_tokens_per_parameter * n
        if not tokens < MOST_TOKENS:
            raise UserError(f"{_named(multiple)}: a run of N = {n:g} would train on {tokens:.3g} tokens")
        horizon, warmup = math.ceil(tokens / batch_tokens), round(warmup_tokens / batch_tokens)
        if warmup > horizon:
            raise UserError(
                f"{_named(multiple)}: a run has {count_of(horizon, 'step')} and would end inside its warmup of "
                f"{warmup:,}; raise it or lower ladder.recipe.warmup_tokens_per_parameter"
            )
        every = max(1, self.checkpoint_min_steps, round(self.checkpoint_steps_per_multiple * multiple))
        if (checkpoints := (horizon + self.floor_steps) // every) > MOST_CHECKPOINTS:
            raise UserError(
                f"{_named(multiple)}: a run of N = {n:g} would keep {checkpoints:,} checkpoints; raise "
                "ladder.recipe.checkpoint_min_steps or checkpoint_steps_per_multiple"
            )
        return HParams(
            batch_sequences=batch,
            sequence_length=self.sequence_length,
            peak_lr=self._peak_lr(ratio, multiple),
            schedule=self.schedule,
            final_lr_fraction=self.final_lr_fraction,
            warmup_steps=warmup,
            decay_start=self._decay_start(horizon, multiple),
            decay_steps=horizon,
            total_steps=horizon + self.floor_steps,
            checkpoint_every=every,
        )

    def _decay_start(self, horizon: int, multiple: float) -> int:
        if self.schedule != "wsd":
            return 0
        start = round(horizon * (1 - self.decay_fraction))
        if start == horizon:
            raise UserError(
                f"{_named(multiple)}: of a run's {count_of(horizon, 'step')} none decays with schedule=wsd, "
                f"so none is kept; raise ladder.recipe.decay_fraction={self.decay_fraction:g}"
            )
        return start

    def _peak_lr(self, ratio: float, multiple: float) -> float:
        at_20n = self.reference_peak_lr * ratio ** (-1 / 3) / self.peak_lr_divisor
        return float(at_20n / multiple**self.peak_lr_horizon_exponent)


@dataclass(frozen=True, kw_only=True)
class HParams:
    """What one run needs to know. Steps count optimizer updates from 1; step s has seen s · batch_tokens tokens."""

    batch_sequences: int
    sequence_length: int
    peak_lr: float
    schedule: Schedule
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


def _named(multiple: float) -> str:
    return f"multiple {multiple:g} (of ladder.multiples, or in the name of a run)"
