"""What a ladder is and what it costs, before anything runs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ladder.config.cluster import Cluster, Gpu
from ladder.config.settings import TrainSettings
from ladder.errors import UserError
from ladder.rungs.groups import Groups
from ladder.rungs.memory import ADAM_BYTES, USABLE, largest_micro_batch, sequence_bytes, training_bytes
from ladder.rungs.recipe import Recipe
from ladder.rungs.rung import Ladder, Rung, Target

CPU_FLOPS_LIMIT = 1e16
"""Above this (6ND) a ladder is not started on a CPU: at some 30 GFLOP/s it would take almost four days."""
NAMED = 6  # rungs, in a note


@dataclass(frozen=True, kw_only=True)
class RungPlan:
    """One rung's numbers, in base units (tokens, FLOPs, hours, dollars, bytes): a row of `--csv`.

    `groups` is what each group of parameters has of the rate, its initial size and its decay; in a row of `--csv`
    columns such as `groups.hidden.lr`.
    `flops_6nd` is 6ND, `flops_with_attention` adds 12·L·d·T per token. `micro_batch` is what the memory of
    `cluster.gpu` should hold; the trainer finds out by trying (with fsdp2 it takes one). `evaluation_gpu_hours` is for
    all its checkpoints.
    """

    rung: str
    n: int
    d: int
    batch_sequences: int
    sequence_length: int
    gpus: int
    micro_batch: int
    accumulation: int
    steps: int
    peak_lr: float
    groups: Groups
    schedule: str
    warmup_steps: int
    checkpoints: int
    flops_6nd: float
    flops_with_attention: float
    mfu: float
    mfu_measured: bool
    gpu_hours: float
    wall_hours: float
    dollars: float
    weights_bytes: int
    resume_bytes: int
    evaluation_gpu_hours: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    ladder: str
    base: str | None  # the rung whose rates and deviations are carried to the others
    target: Target
    gpu: Gpu
    rungs: tuple[RungPlan, ...]
    one_by_one_hours: float | None
    followers: int
    on_gpus: bool  # else GPU-hours and prices would be of a machine that is not used

    def total(self, key: str) -> float:
        return sum(getattr(rung, key) for rung in self.rungs)

    @property
    def share_of_target(self) -> float:
        """The ladder's 6ND over the target's (paper, section 2.1: 3.2% of 7B-4T, 1.3% of 13B-5T)."""
        return self.total("flops_6nd") / self.target.flops_6nd

    @property
    def dollars(self) -> float:
        return (self.total("gpu_hours") + self.total("evaluation_gpu_hours")) * self.gpu.dollars_per_hour


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a rung costs on a cluster.

    Args:
        gpus_here: what `cluster.gpus=auto` stands for; 0 is planned as one.
        train: the configuration's `train` group.
        evaluation_tokens: tokens that one evaluation of a checkpoint runs through the model; 0 where not known.
        measured_mfu: MFU of a size where a run of it was logged, else None: `cluster.gpu.mfu` is taken.
    """

    cluster: Cluster
    gpus_here: int
    train: TrainSettings
    evaluation_tokens: float
    measured_mfu: Callable[[str], float | None]

    def of(self, rung: Rung, branches: int) -> RungPlan:
        """`branches`: shorter rungs that go on from its states, each kept."""
        hparams, parameters, gpu = rung.hparams, rung.shape.total_parameters, self.cluster.gpu
        gpus, measured = self._gpus(rung), self.measured_mfu(rung.size)
        share, flops = -(-hparams.batch_sequences // gpus), gpu.peak_flops * (measured or gpu.mfu)
        micro_batch, hours = self._micro_batch(rung, share), rung.flops_with_attention / flops / 3600
        evaluations = len(hparams.checkpoint_steps)
        forward = rung.shape.flops_per_token_6n / 3 * self.evaluation_tokens * evaluations
        return RungPlan(
            rung=rung.name,
            n=rung.n,
            d=rung.d,
            batch_sequences=hparams.batch_sequences,
            sequence_length=hparams.sequence_length,
            gpus=gpus,
            micro_batch=micro_batch,
            accumulation=-(-share // micro_batch),
            steps=hparams.total_steps,
            peak_lr=hparams.peak_lr,
            groups=rung.groups,
            schedule=hparams.schedule,
            warmup_steps=hparams.warmup_steps,
            checkpoints=evaluations,
            flops_6nd=rung.flops_6nd,
            flops_with_attention=rung.flops_with_attention,
            mfu=measured or gpu.mfu,
            mfu_measured=measured is not None,
            gpu_hours=hours,
            wall_hours=hours / gpus,
            dollars=hours * gpu.dollars_per_hour,
            weights_bytes=self._kept(evaluations) * parameters * (2 if self.train.weights == "bf16" else 4),
            # Two, since the older one goes when the newer one is whole, and those that WSD branches start from.
            resume_bytes=(2 + branches) * parameters * ADAM_BYTES,
            evaluation_gpu_hours=forward / flops / 3600,
        )

    def _gpus(self, rung: Rung) -> int:
        gpus, sequences = max(1, self.cluster.gpus_of(rung, self.gpus_here)), rung.hparams.batch_sequences
        if gpus > sequences:
            raise UserError(f"cluster.gpus gives {rung.name} {gpus} GPUs, more than its batch's {sequences} sequences")
        return gpus

    def _micro_batch(self, rung: Rung, share: int) -> int:
        if self.train.micro_batch:
            return self.train.micro_batch
        if self.train.parallel == "fsdp2":
            return 1
        sequence = sequence_bytes(rung.shape, rung.hparams.sequence_length)
        room = USABLE * self.cluster.gpu.memory_gb * 1e9 - training_bytes(rung.shape)
        return largest_micro_batch(share, sequence, room)

    def _kept(self, checkpoints: int) -> int:
        """Checkpoints on disk at once: one more than are kept, while the newest is written."""
        return min(checkpoints, self.train.keep_checkpoints + 1) if self.train.keep_checkpoints else checkpoints


def make_plan(ladder: Ladder, rungs: Sequence[Rung], target: Target, costs: Costs) -> Plan:
    """Plans `rungs` of `ladder`. Raises UserError where a rung has more GPUs than sequences."""
    cluster, gpus_here = costs.cluster, costs.gpus_here
    planned = tuple(costs.of(rung, len(ladder.branches_of(rung))) for rung in rungs)
    asked = any(cluster.gpus_of(rung, gpus_here) for rung in rungs)
    alone = cluster.slurm is None and gpus_here <= 1
    return Plan(
        ladder=ladder.name,
        base=ladder.base.name if ladder.base else None,
        target=target,
        gpu=cluster.gpu,
        rungs=planned,
        one_by_one_hours=sum(rung.wall_hours for rung in planned) if alone else None,
        followers=0 if cluster.slurm is None else cluster.evaluators,
        on_gpus=asked or sum(rung.flops_6nd for rung in rungs) > CPU_FLOPS_LIMIT,
    )


def note_on_budgets(recipe: Recipe, rungs: Sequence[Rung]) -> str:
    """Names the rungs whose D is not what their multiples say: models too small for whole batches and the floor."""
    shared = Counter((rung.size, rung.d) for rung in rungs)
    odd = [
        rung.name
        for rung in rungs
        if shared[rung.size, rung.d] > 1 or rung.d > 2 * rung.multiple * recipe.tokens_per_parameter * rung.n
    ]
    if not odd:
        return ""
    listed = ", ".join(odd[:NAMED]) + (f" and {len(odd) - NAMED} more" if len(odd) > NAMED else "")
    return (
        f"D is the same at several multiples, or more than twice multiple x {recipe.tokens_per_parameter:g}N, for "
        f"{listed}: lower ladder.recipe.sequence_length={recipe.sequence_length}, "
        f"batch_multiple_of={recipe.batch_multiple_of} or floor_steps={recipe.floor_steps}, which decide it"
    )


def plan_json(plan: Plan) -> dict[str, Any]:
    totals = ("flops_6nd", "flops_with_attention", "gpu_hours", "evaluation_gpu_hours", "checkpoints")
    return {
        "ladder": plan.ladder,
        "base": plan.base,
        "target": vars(plan.target),
        "gpu": vars(plan.gpu),
        "rungs": [vars(rung) | {"groups": rung.groups.values()} for rung in plan.rungs],
        "total": {key: plan.total(key) for key in (*totals, "weights_bytes", "resume_bytes")}
        | {"dollars": plan.dollars, "share_of_target": plan.share_of_target},
    }


def plan_csv(plan: Plan) -> str:
    text = io.StringIO()
    rows = [_csv_row(rung) for rung in plan.rungs]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _csv_row(rung: RungPlan) -> dict[str, Any]:
    groups = rung.groups.values().items()
    flat = {f"groups.{name}.{key}": value for name, settings in groups for key, value in settings.items()}
    return {key: value for key, value in vars(rung).items() if key != "groups"} | flat
