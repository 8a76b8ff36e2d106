"""`python -m predict variance`: how noisy each task is, from checkpoint to checkpoint and from run to rerun."""

from __future__ import annotations

from predict import command
from predict.predictor import calibration_tasks
from predict.variance import ladder_noise, largest, variance_table


def main(argv: list[str]) -> None:
    options = command.parser("variance", __doc__ or "")
    command.add_ladder(options)
    command.add_format(options)
    command.add_plot(options)
    known, overrides = command.parse(options, argv)
    data = command.data_of(known, overrides, everything=True)
    tasks = data.tasks(known.tasks) if known.tasks else calibration_tasks(data, [])
    noises = ladder_noise(data, tasks)
    command.show(known.form, variance_table(data, noises))
    if known.plot:
        from predict.analysis_plots import variance_figure
        from predict.plots import save

        title = f"Checkpoints of {largest(data.rungs).name}"
        save(variance_figure(data, [noise.task for noise in noises], title), known.plot)
