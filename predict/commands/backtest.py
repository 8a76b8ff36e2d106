"""`python -m predict backtest`: how well would this ladder have predicted its own top rungs?"""

from __future__ import annotations

from ladder.errors import UserError
from predict import command
from predict.backtest_report import method_errors, split_table, task_table
from predict.ensemble import study_ladder
from predict.predictor import calibration_tasks


def main(argv: list[str]) -> None:
    options = command.parser("backtest", __doc__ or "")
    command.add_ladder(options)
    command.add_format(options)
    command.add_plot(options)
    known, overrides = command.parse(options, argv)
    data = command.data_of(known, overrides)
    wanted = data.tasks(known.tasks)
    study = study_ladder(data, calibration_tasks(data, wanted))
    names = {task.name for task in wanted}
    tasks = [task for task in study.tasks if task.task.name in names]
    if not study.splits:
        raise UserError(
            f"{data.source}: {len(data.rungs)} rungs hold no smaller ladder of 5 runs with a dearer run beyond"
        )
    methods = method_errors(data, study, tasks)
    command.show(known.form, split_table(study, tasks, methods), task_table(study, tasks, methods))
    if known.plot:
        from predict.analysis_plots import backtest_figure
        from predict.plots import save

        save(backtest_figure(study, tasks, methods), known.plot)
