"""What `python -m ladder` and `train` print: a rung, a plan, a status; sizes and durations for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ladder.rungs.rung import Rung
from ladder.runs.plan import Plan, RungPlan
from ladder.runs.rundir import LadderDirectory
from ladder.runs.status import UNDER_WAY, LadderStatus, RunStatus
from ladder.words import count_of


def describe(rung: Rung) -> str:
    """Every derived number of one rung, a line each."""
    hparams = rung.hparams
    lines = {
        "N": f"{rung.n:,} parameters without the input embedding ({rung.shape.total_parameters:,} in all)",
        "D": f"{rung.d:,} tokens ({rung.multiple:g} x 20N)",
        "batch": f"{hparams.batch_tokens:,} tokens ({hparams.batch_sequences} x {hparams.sequence_length:,})",
        "peak LR": f"{hparams.peak_lr:.4e}",
        "groups": "; ".join(
            f"{name} {hparams.peak_lr * group.lr:.3g} from {group.initial:.3g}, decay {group.weight_decay:.3g}"
            for name, group in rung.groups.items()
        ),
        "steps": (
            f"{hparams.total_steps:,} (warmup {hparams.warmup_steps:,}, {hparams.schedule} to {hparams.decay_steps:,})"
        ),
        "checkpoints": f"{len(hparams.checkpoint_steps)} (every {hparams.checkpoint_every:,} steps and the last)",
        "FLOPs": f"{rung.flops_6nd:.3e} (6ND), {rung.flops_with_attention:.3e} with attention",
    }
    return "\n".join([f"rung {rung.name}", *(f"  {key:<12} {value}" for key, value in lines.items())])


def print_table(table: Table) -> None:
    """Prints a table at its natural width: on a narrow terminal lines wrap, but no number is cut."""
    console = Console()
    console.width = max(console.width, Measurement.get(console, console.options.update(width=1000), table).maximum)
    console.print(table)


def _rounded(value: float) -> str:
    if value < 0.01:
        return "<0.01" if value else "0"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def size(number: float) -> str:
    """1234567890 -> "1.2 GB"."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:.{0 if number >= 10 * scale else 1}f} {unit}"
    return f"{number / 1e3:.0f} kB"


def plan_tables(plan: Plan) -> list[Table]:
    """What is trained, and what that costs: the tables that `python -m ladder plan` prints."""
    recipe = _table(
        f"ladder {plan.ladder}: {count_of(len(plan.rungs), 'rung')}",
        ("rung", "N", "D", "batch", "peak LR", "warmup", "steps", "ckpts", "6ND", "+ attention"),
    )
    cost = _cost_on_gpus(plan) if plan.on_gpus else _table("on this machine's CPU", ("rung", "weights", "resume"))
    for previous, rung in zip([None, *plan.rungs], plan.rungs, strict=False):
        if previous and rung.n != previous.n:
            recipe.add_section()
            cost.add_section()
        recipe.add_row(
            rung.rung,
            f"{rung.n:,}",
            f"{rung.d:,}",
            f"{rung.batch_sequences:,}",
            f"{rung.peak_lr:.3g}",
            f"{rung.warmup_steps:,}",
            f"{rung.steps:,}",
            f"{rung.checkpoints:,}",
            f"{rung.flops_6nd:.2e}",
            f"{rung.flops_with_attention:.2e}",
        )
        on_gpus, evaluation = _gpu_cells(rung) if plan.on_gpus else ([], [])
        cost.add_row(rung.rung, *on_gpus, size(rung.weights_bytes), size(rung.resume_bytes), *evaluation)
    recipe.caption = (
        f"in all {plan.total('flops_6nd'):.2e} FLOPs (6ND), {plan.share_of_target:.1%} of target {plan.target.name}"
    )
    disk = f"{size(plan.total('weights_bytes') + plan.total('resume_bytes'))} of disk"
    checkpoints = count_of(plan.total("checkpoints"), "checkpoint")
    cost.caption = _cost_caption(plan, checkpoints, disk) if plan.on_gpus else f"{checkpoints}; {disk}"
    return [recipe, *([_carried(plan)] if plan.base else []), cost]


def _carried(plan: Plan) -> Table:
    """What each group of parameters is given, where that differs from rung to rung."""
    table = _table(
        f"carried from {plan.base}: peak LR, initial size, weight decay",
        ("rung", *(name.replace("_", " ") for name, _ in plan.rungs[0].groups.items())),
    )
    for previous, rung in zip([None, *plan.rungs], plan.rungs, strict=False):
        if previous and rung.n != previous.n:
            table.add_section()
        cells = (
            f"{rung.peak_lr * group.lr:.3g}  {group.initial:.3g}  {group.weight_decay:.2g}"
            for _, group in rung.groups.items()
        )
        table.add_row(rung.rung, *cells)
    table.caption = "an initial size is the deviation of a matrix, the value of a gain"
    return table


def _cost_on_gpus(plan: Plan) -> Table:
    gpu, measured = plan.gpu, any(rung.mfu_measured for rung in plan.rungs)
    return _table(
        f"on {gpu.name} ({gpu.memory_gb:g} GB, {gpu.peak_flops / 1e12:,.0f} TFLOP/s) at "
        f"{'measured' if measured else f'{gpu.mfu:.0%}'} MFU, ${gpu.dollars_per_hour:g} an hour",
        ("rung", "GPUs", "micro-batch", "GPU-h", "wall", "$", "weights", "resume", "evaluation GPU-h"),
    )


def _gpu_cells(rung: RungPlan) -> tuple[list[str], list[str]]:
    """The cells before and after those of the disk."""
    cells = [
        str(rung.gpus),
        f"{rung.micro_batch} x {rung.accumulation}",
        _rounded(rung.gpu_hours),
        duration(3600 * rung.wall_hours),
        _rounded(rung.dollars),
    ]
    return cells, [_rounded(rung.evaluation_gpu_hours) if rung.evaluation_gpu_hours else "unknown"]


def _cost_caption(plan: Plan, checkpoints: str, disk: str) -> str:
    evaluation = plan.total("evaluation_gpu_hours")
    notes = [
        f"in all {_rounded(plan.total('gpu_hours'))} GPU-hours of training and "
        f"{_rounded(evaluation) if evaluation else 'an unknown number'} of evaluation "
        f"({checkpoints}), ${_rounded(plan.dollars)} with both",
        disk,
        f"longest run {duration(3600 * max(rung.wall_hours for rung in plan.rungs))}",
    ]
    if plan.one_by_one_hours:
        notes.append(f"one after another {duration(3600 * plan.one_by_one_hours)}")
    if plan.followers:
        several = plan.followers > 1
        notes.append(
            f"{count_of(plan.followers, 'follower')} hold{'' if several else 's'} a GPU{' each' if several else ''} "
            "meanwhile"
        )
    return "; ".join(notes)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == "rung" else "right", no_wrap=True)
    return table


def status_table(directory: LadderDirectory, status: LadderStatus, width: int = 10_000) -> Table:
    """The table of `python -m ladder status`: without columns that are empty, or that do not fit the width."""
    done = sum(run.done for run in status.runs)
    title = Text(f"{directory.path}: {done} of {len(status.runs)} runs done")
    columns = {name: cells for name, cells in _columns(status.runs).items() if any(cells) or name in _ALWAYS}
    for name in _DISPENSABLE:
        if sum(max(map(len, (header, *cells))) + 3 for header, cells in columns.items()) > width:
            columns.pop(name, None)
    table = Table(box=SIMPLE_HEAD, title=title, caption=Text(status.note) if status.note else None)
    for name in columns:
        table.add_column(name, justify="left" if name in ("run", "state", "last error") else "right", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))
    return table


_ALWAYS = ("loss", "tokens/s", "ETA")
_DISPENSABLE = ("last error", "tokens/s", "checkpoints", "restarts", "loss", "%")


def _columns(runs: Sequence[RunStatus]) -> dict[str, list[str]]:
    return {
        "run": [run.rung.name for run in runs],
        "state": [_state(run) for run in runs],
        "step": [_of(run, run.step, run.rung.hparams.total_steps) for run in runs],
        "%": ["" if run.other_settings else f"{run.fraction:.0%}" for run in runs],
        "loss": ["" if run.loss is None else f"{run.loss:.3f}" for run in runs],
        "tokens/s": [f"{run.tokens_per_second:,.0f}" if run.tokens_per_second else "" for run in runs],
        "ETA": ["" if run.eta_seconds is None else duration(run.eta_seconds) for run in runs],
        "checkpoints": [_of(run, run.checkpoints, run.expected) for run in runs],
        "evaluated": ["" if run.other_settings else _of(run, run.evaluated, run.expected) for run in runs],
        "restarts": [str(run.restarts or "") for run in runs],
        "last error": [_short(run.error) for run in runs],
    }


def _state(run: RunStatus) -> str:
    if not run.other_settings:
        return run.state
    return f"{run.state}, other settings" if run.state in UNDER_WAY else "other settings"


def _of(run: RunStatus, count: int, expected: int) -> str:
    """How many of how many, where that is known."""
    return f"{count:,}" if run.other_settings else f"{count:,}/{expected:,}"


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def duration(seconds: float) -> str:
    """75 -> "1m15s"; two units at most."""
    whole = max(0, round(seconds))
    for unit, size, lower, lower_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // lower_size}{lower}"
    return f"{whole}s"
