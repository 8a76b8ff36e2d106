"""What a ladder is and what it costs, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ladder.rung import Rung, Target


def print_table(table: Table) -> None:
    """Prints a table at its natural width: on a narrow terminal lines wrap, but no number is cut."""
    console = Console()
    console.width = max(console.width, Measurement.get(console, console.options.update(width=1000), table).maximum)
    console.print(table)


def describe(rung: Rung) -> str:
    """Every derived number of one rung, a line each."""
    hparams = rung.hparams
    lines = {
        "N": f"{rung.n:,} parameters without the input embedding ({rung.shape.total_parameters:,} in all)",
        "D": f"{rung.d:,} tokens ({rung.multiple:g} x 20N)",
        "batch": f"{hparams.batch_tokens:,} tokens ({hparams.batch_sequences} x {hparams.sequence_length:,})",
        "peak LR": f"{hparams.peak_lr:.4e}",
        "steps": (
            f"{hparams.total_steps:,} (warmup {hparams.warmup_steps:,}, {hparams.schedule} to {hparams.decay_steps:,})"
        ),
        "checkpoints": f"{len(hparams.checkpoint_steps)} (every {hparams.checkpoint_every:,} steps and the last)",
        "FLOPs": f"{rung.flops_6nd:.3e} (6ND), {rung.flops_with_attention:.3e} with attention",
    }
    return "\n".join([f"rung {rung.name}", *(f"  {key:<12} {value}" for key, value in lines.items())])


def gpu_hours(rung: Rung, gpu: DictConfig) -> float:
    """Training time on one GPU of `gpu.peak_flops` at a utilisation of `gpu.mfu`, attention counted."""
    return rung.flops_with_attention / (gpu.peak_flops * gpu.mfu) / 3600


def _rounded(value: float) -> str:
    if value < 0.01:
        return "<0.01"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def plan_table(name: str, rungs: Sequence[Rung], target: Target, gpu: DictConfig) -> Table:
    """The table that `python -m ladder plan` prints."""
    total = sum(rung.flops_6nd for rung in rungs)
    hours = sum(gpu_hours(rung, gpu) for rung in rungs)
    table = Table(
        box=SIMPLE_HEAD,
        title=f"ladder {name}: {len(rungs)} rungs",
        caption=(
            f"in all {total:.2e} FLOPs (6ND), {total / target.flops_6nd:.1%} of target {target.name}; about "
            f"{_rounded(hours)} {gpu.name}-hours at {gpu.mfu:.0%} MFU, ${_rounded(hours * gpu.dollars_per_hour)}"
        ),
    )
    columns = ("rung", "N", "D", "batch", "peak LR", "warmup", "steps", "ckpts", "6ND", "+ attention", "GPU-h")
    for column in columns:
        table.add_column(column, justify="left" if column == "rung" else "right", no_wrap=True)
    for previous, rung in zip([None, *rungs], rungs, strict=False):
        if previous and rung.size != previous.size:
            table.add_section()
        hparams = rung.hparams
        table.add_row(
            rung.name,
            f"{rung.n:,}",
            f"{rung.d:,}",
            f"{hparams.batch_sequences:,}",
            f"{hparams.peak_lr:.3g}",
            f"{hparams.warmup_steps:,}",
            f"{hparams.total_steps:,}",
            f"{len(hparams.checkpoint_steps):,}",
            f"{rung.flops_6nd:.2e}",
            f"{rung.flops_with_attention:.2e}",
            _rounded(gpu_hours(rung, gpu)),
        )
    return table
