"""`python -m predict variance`: how noisy a task is, between checkpoints and between reruns (section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ladder.words import count_of
from predict.measured.counts import short_number
from predict.measured.ladder import Measured
from predict.measured.runs import Curve, Run, accuracy_curve
from predict.measured.tasks import Task
from predict.methods.ensemble import tasks_or_all
from predict.show import command_line
from predict.show.plots import BLUE, COLUMNS, GREY, Plot, label
from predict.show.tables import Column, Table, fixed, words

LAST = 10  # checkpoints: the paper's SD10


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations of one quantity in its own unit.

    `sd` is over the last checkpoints of the largest run and `relative` its share of their mean, None where there is
    one checkpoint (`relative` also where their mean is 0); `rerun` is None where no run was repeated; `signal` is over
    the final values of the rungs.
    """

    sd: float | None
    relative: float | None
    rerun: float | None
    signal: float

    @property
    def signal_to_noise(self) -> float | None:
        """None where the noise is not known."""
        noise = max(self.sd or 0.0, self.rerun or 0.0)
        return self.signal / noise if noise > 0 else None


@dataclass(frozen=True, kw_only=True)
class TaskNoise:
    task: Task
    loss: Noise | None
    accuracy: Noise


def largest(runs: Sequence[Run]) -> Run:
    return max(runs, key=lambda run: run.compute)


def sd_of_last(curve: Curve, count: int = LAST) -> float | None:
    """Population standard deviation over the last `count` checkpoints, unsmoothed (equation 3); None for one."""
    return float(curve.values[-count:].std()) if len(curve.values) > 1 else None


def ladder_noise(measured: Measured, tasks: Sequence[Task]) -> list[TaskNoise]:
    """The noise of every task, the noisiest loss first, or accuracy where losses were not measured."""
    noises = []
    for task in tasks:
        loss = _noise(measured, task, "rc_bpb") if measured.everywhere(task, "rc_bpb") else None
        noises.append(TaskNoise(task=task, loss=loss, accuracy=_noise(measured, task, "rc_acc")))
    return sorted(noises, key=lambda noise: -((noise.loss or noise.accuracy).sd or 0.0))


def _noise(measured: Measured, task: Task, metric: str) -> Noise:
    top = largest(measured.rungs)
    curve = accuracy_curve(top, task) if metric == "rc_acc" else top.curve(task, metric)
    count = measured.smoothing.final_checkpoints
    finals = np.array([run.curve(task, metric).final(count) for run in measured.rungs])
    sd, mean = sd_of_last(curve), float(curve.values[-LAST:].mean())
    pairs = [(a, b) for a, b in measured.repeated() if a.has(task, metric) and b.has(task, metric)]
    gaps = np.array([a.curve(task, metric).final(count) - b.curve(task, metric).final(count) for a, b in pairs])
    return Noise(
        sd=sd,
        relative=sd / mean if sd is not None and mean > 0 else None,
        rerun=float(np.sqrt((gaps**2).mean() / 2)) if len(gaps) else None,
        signal=float(finals.std()),
    )


def variance_table(measured: Measured, noises: Sequence[TaskNoise]) -> Table:
    top = largest(measured.rungs)
    checkpoints = min((len(accuracy_curve(top, noise.task).values) for noise in noises), default=0)
    repeats = len(measured.repeated())
    whole = (
        "; these are all of the run, so that the SD is also of what it still learned" if 1 < checkpoints <= LAST else ""
    )
    losses = any(noise.loss for noise in noises)
    rows = tuple(
        (noise.task.title, *noise_cells(noise.accuracy), *(noise_cells(noise.loss) if losses else ()))
        for noise in noises
    )
    return Table(
        title=f"Noise over the last {min(LAST, checkpoints)} checkpoints of {top.name}"
        if checkpoints > 1
        else f"Noise, of which the one checkpoint of {top.name} says nothing",
        columns=(words("task"), *_columns("accuracy"), *(_columns("loss") if losses else ())),
        rows=rows,
        notes=(
            f"SD: of single checkpoints; rerun: of final values between {count_of(repeats, 'run')} and reruns; "
            f"SNR: spread of the rungs' final values over the larger of the two{whole}",
        ),
    )


def _columns(what: str) -> tuple[Column, ...]:
    return (
        fixed(f"{what} SD", 4),
        fixed(f"{what} SD %", 2, "percent"),
        fixed(f"{what} rerun", 4),
        fixed(f"{what} SNR", 1),
    )


def noise_cells(noise: Noise | None) -> tuple[float | None, ...]:
    """SD, SD in percent of the mean, SD between reruns, and signal to noise: None where not known."""
    if noise is None:
        return (None,) * 4
    relative = None if noise.relative is None else 100 * noise.relative
    return noise.sd, relative, noise.rerun, noise.signal_to_noise


def variance_plot(measured: Measured, tasks: Sequence[Task], title: str) -> Plot:
    """Accuracy and loss over the checkpoints of the largest run, a panel each per task (paper, figures 5 and 9)."""
    top = largest(measured.rungs)
    shown = [(task, metric) for task in tasks for metric in ("rc_acc", "rc_bpb") if top.has(task, metric)]
    both = any(metric == "rc_bpb" for _, metric in shown)
    plot = Plot(len(shown), title, columns=4 if both else COLUMNS, height=2.5)
    for axis, (task, metric) in zip(plot.axes, shown, strict=True):
        curve = accuracy_curve(top, task) if metric == "rc_acc" else top.curve(task, metric)
        scale = 100 if metric == "rc_acc" else 1
        axis.plot(curve.tokens, scale * curve.values, color=GREY, linewidth=0.9)
        axis.plot(curve.tokens[-LAST:], scale * curve.values[-LAST:], "o", color=BLUE, markersize=3)
        axis.locator_params(axis="x", nbins=5)
        axis.xaxis.set_major_formatter(lambda value, _: short_number(value) if value else "0")
        label(axis, task.title, _noise_words(curve), "tokens", "accuracy, %" if metric == "rc_acc" else "loss")
    return plot


def _noise_words(curve: Curve) -> str:
    sd, mean = sd_of_last(curve), float(curve.values[-LAST:].mean())
    if sd is None:
        return "one checkpoint"
    return f"SD of the last {LAST}: {sd / mean:.2%} of their mean" if mean > 0 else f"0 at the last {LAST}"


def main(argv: list[str]) -> None:
    options = command_line.parser("variance", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_format(options)
    command_line.add_plot(options)
    given, overrides = command_line.parse(options, argv)
    measured = command_line.data_of(given, overrides)
    tasks = tasks_or_all(measured, given.tasks)
    noises = ladder_noise(measured, tasks)
    table = variance_table(measured, noises)
    command_line.show(given.form, table.without_empty_columns() if given.form == "text" else table)
    if given.plot:
        title = f"Checkpoints of {largest(measured.rungs).name}"
        variance_plot(measured, [noise.task for noise in noises], title).save(given.plot)
