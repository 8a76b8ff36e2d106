"""`python -m predict variance`: how noisy a task is, between checkpoints and between reruns (section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from predict.measured.ladder import Measured
from predict.measured.runs import Curve, Run, accuracy_curve
from predict.measured.tasks import Task
from predict.predictor import calibration_tasks
from predict.show import command_line
from predict.show.plots import BLUE, GREY, panels, save
from predict.show.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def ladder_noise(data: Measured, tasks: Sequence[Task]) -> list[TaskNoise]:
    """The noise of every task, most noisy loss first where losses were measured."""
    found = []
    for task in tasks:
        loss = _noise(data, task, "rc_bpb") if data.everywhere(task, "rc_bpb") else None
        found.append(TaskNoise(task=task, loss=loss, accuracy=_noise(data, task, "rc_acc")))
    return sorted(found, key=lambda noise: -(noise.loss.sd if noise.loss else 0.0))


def _noise(data: Measured, task: Task, metric: str) -> Noise:
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


def repeated(data: Measured) -> list[tuple[Run, Run]]:
    """Rungs and their reruns: the same N and D under another name, such as 190M-1xC-rerun."""
    return [
        (rung, other)
        for rung in data.rungs
        for other in data.runs
        if other.name != rung.name and other.name.startswith(f"{rung.name}-")
    ]


def variance_table(data: Measured, noises: Sequence[TaskNoise]) -> Table:
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


def variance_figure(data: Measured, tasks: Sequence[Task], title: str) -> Figure:
    """Loss and accuracy over the checkpoints of the largest run, a panel each per task (paper, figures 5 and 9)."""
    top = largest(data.rungs)
    shown = [(task, metric) for task in tasks for metric in ("rc_bpb", "rc_acc") if top.has(task, metric)]
    figure, axes = panels(len(shown), title, height=2.3)
    for axis, (task, metric) in zip(axes, shown, strict=True):
        curve = accuracy_curve(top, task) if metric == "rc_acc" else top.curve(task, metric)
        scale = 100 if metric == "rc_acc" else 1
        axis.plot(curve.steps, scale * curve.values, color=GREY, linewidth=0.9)
        axis.plot(curve.steps[-LAST:], scale * curve.values[-LAST:], "o", color=BLUE, markersize=3)
        relative = 100 * sd_of_last(curve) / curve.values[-LAST:].mean()
        axis.set_title(f"{task.title}, SD{LAST} {relative:.2f}%", fontsize=9.5)
        axis.set_xlabel("step", fontsize=8.5)
        axis.set_ylabel("accuracy, %" if metric == "rc_acc" else "loss", fontsize=8.5)
    return figure


def main(argv: list[str]) -> None:
    options = command_line.parser("variance", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_format(options)
    command_line.add_plot(options)
    known, overrides = command_line.parse(options, argv)
    data = command_line.data_of(known, overrides, everything=True)
    tasks = data.tasks(known.tasks) if known.tasks else calibration_tasks(data, [])
    noises = ladder_noise(data, tasks)
    command_line.show(known.form, variance_table(data, noises))
    if known.plot:
        title = f"Checkpoints of {largest(data.rungs).name}"
        save(variance_figure(data, [noise.task for noise in noises], title), known.plot)
