"""`python -m predict compute`: the error at a measured target as the ladder grows by size, multiple or FLOPs."""

from __future__ import annotations

from ladder.errors import unknown
from predict import command
from predict.compute_error import AXES, compute_errors, compute_table
from predict.predictor import METHODS


def main(argv: list[str]) -> None:
    options = command.parser("compute", __doc__ or "")
    command.add_ladder(options)
    command.add_target(options)
    options.add_argument("--method", default="default", help="default, paper, or a variant of it")
    options.add_argument("--by", default="flops", help="size, multiple or flops (the default)")
    command.add_format(options)
    command.add_plot(options)
    known, overrides = command.parse(options, argv)
    if known.by not in AXES:
        raise unknown("axis", known.by, AXES)
    if known.method not in METHODS:
        raise unknown("method", known.method, METHODS)
    data = command.data_of(known, overrides)
    target = command.target_of(known, data)
    data = data.below(target)
    tasks = data.tasks(known.tasks)
    steps = compute_errors(data, target, tasks, known.by, known.method)
    table = compute_table(steps, target, tasks, known.by, known.method)
    command.show(known.form, table)
    if known.plot:
        from predict.analysis_plots import compute_figure
        from predict.plots import save

        save(compute_figure(steps, target, tasks, known.by, table.title), known.plot)
