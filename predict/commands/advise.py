"""`python -m predict advise`: which runs to train next, to be surer of the target for a given compute."""

from __future__ import annotations

from predict import command
from predict.advise import advice_table, advise


def main(argv: list[str]) -> None:
    options = command.parser("advise", __doc__ or "")
    command.add_ladder(options)
    command.add_target(options)
    options.add_argument(
        "--budget", type=command.positive, required=True, metavar="FLOPS", help="compute to spend, 6ND"
    )
    command.add_format(options)
    command.add_plot(options)
    known, overrides = command.parse(options, argv)
    data = command.data_of(known, overrides)
    target = command.target_of(known, data)
    data = data.below(target)
    found = advise(data, target, data.tasks(known.tasks), known.budget)
    command.show(known.form, advice_table(found, target, known.budget))
    if known.plot:
        from predict.analysis_plots import advice_figure
        from predict.plots import save

        save(advice_figure(found, target), known.plot)
