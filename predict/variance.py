"""How noisy a task is: from checkpoint to checkpoint, and from run to rerun (section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predict.measured.ladder import LadderData
from predict.measured.runs import Curve, Run
from predict.measured.tasks import Task
from predict.paper import accuracy_curve
from predict.tables import Table

LAST = 10  # checkpoints: the paper's SD10


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations of one quantity in its own unit; `rerun` is None where no run was repeated.

    `sd` is over the last checkpoints of the largest run, `signal` over the final values of the rungs.
    """

    sd: float
    relative: float
    rerun: float | None
    signal: float

    @property
    def signal_to_noise(self) -> float:
        noise = max(self.sd, self.rerun or 0.0)
        return self.signal / noise if noise > 0 else float("inf")


@dataclass(frozen=True, kw_only=True)
class TaskNoise:
    task: Task
    loss: Noise | None
    accuracy: Noise


def largest(runs: Sequence[Run]) -> Run:
    return max(runs, key=lambda run: run.compute)


def sd_of_last(curve: Curve, count: int = LAST) -> float:
    """Population standard deviation over the last `count` checkpoints, unsmoothed (equation 3)."""
    return float(curve.values[-count:].std())


def ladder_noise(data: LadderData, tasks: Sequence[Task]) -> list[TaskNoise]:
    """The noise of every task, most noisy loss first where losses were measured."""
    found = []
    for task in tasks:
        loss = _noise(data, task, "rc_bpb") if data.everywhere(task, "rc_bpb") else None
        found.append(TaskNoise(task=task, loss=loss, accuracy=_noise(data, task, "rc_acc")))
    return sorted(found, key=lambda noise: -(noise.loss.sd if noise.loss else 0.0))


def _noise(data: LadderData, task: Task, metric: str) -> Noise:
    top = largest(data.rungs)
    curve = accuracy_curve(top, task) if metric == "rc_acc" else top.curve(task, metric)
    count = data.smoothing.final_checkpoints
    finals = np.array([run.curve(task, metric).final(count) for run in data.rungs])
    sd = sd_of_last(curve)
    pairs = [(a, b) for a, b in repeated(data) if a.has(task, metric) and b.has(task, metric)]
    gaps = np.array([a.curve(task, metric).final(count) - b.curve(task, metric).final(count) for a, b in pairs])
    return Noise(
        sd=sd,
        relative=sd / float(curve.values[-LAST:].mean()),
        rerun=float(np.sqrt((gaps**2).mean() / 2)) if len(gaps) else None,
        signal=float(finals.std()),
    )


def repeated(data: LadderData) -> list[tuple[Run, Run]]:
    """Rungs and their reruns: the same N and D under another name, such as 190M-1xC-rerun."""
    return [
        (rung, other)
        for rung in data.rungs
        for other in data.runs
        if other.name != rung.name and other.name.startswith(f"{rung.name}-")
    ]


def variance_table(data: LadderData, noises: Sequence[TaskNoise]) -> Table:
    top = largest(data.rungs)
    measured = min((len(accuracy_curve(top, noise.task).values) for noise in noises), default=0)
    repeats = len(repeated(data))
    whole = "; these are all of the run, so that the SD is also of what it still learned" if measured <= LAST else ""
    rows = tuple(
        (
            noise.task.title,
            *_cells(noise.loss, "{:.4f}"),
            *_cells(noise.accuracy, "{:.4f}"),
        )
        for noise in noises
    )
    return Table(
        title=f"Noise over the last {min(LAST, measured)} checkpoints of {top.name}",
        headers=(
            "task",
            *(f"{what} {name}" for what in ("loss", "accuracy") for name in ("SD", "SD %", "rerun", "SNR")),
        ),
        rows=rows,
        notes=(
            f"SD: of single checkpoints; rerun: of final values between {repeats} runs and their reruns; "
            f"SNR: spread of the rungs' final values over the larger of the two{whole}",
        ),
    )


def _cells(noise: Noise | None, form: str) -> tuple[str, ...]:
    if noise is None:
        return ("", "", "", "")
    rerun = "" if noise.rerun is None else form.format(noise.rerun)
    return form.format(noise.sd), f"{100 * noise.relative:.2f}", rerun, f"{noise.signal_to_noise:.1f}"
