"""`python -m predict`: predictions for a target, and the analyses around them."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any, NamedTuple

from ladder.command.running import run_command
from ladder.errors import UserError, shortened, unknown
from predict.methods import DEFAULT, METHODS, law_file
from predict.notes import note
from predict.show import command_line
from predict.show.predictions import Answer, predictions_csv


class Verb(NamedTuple):
    """`module`, inside this package, has a `main(argv)`; it is imported only when the verb is asked for."""

    module: str
    what: str


VERBS = {
    "collect": Verb("analyses.collect", "keep measurements from anywhere as one Parquet table"),
    "register": Verb("analyses.register", "put a forecast on record, in one file"),
    "score": Verb("analyses.score", "forecasts beside what was measured since"),
    "check": Verb("analyses.check", "whether a ladder's rungs were trained well, by what was measured of them"),
    "track": Verb("analyses.track", "a big run as it goes, against the band that the ladder gives for each moment"),
    "sharpen": Verb("analyses.sharpen", "how a forecast improves with the first checkpoints of its run"),
    "fit": Verb("analyses.fit", "write the fitted laws of a ladder as JSON"),
    "report": Verb("analyses.report", "write report.html and the plots of a ladder"),
    "backtest": Verb("analyses.backtest", "how well the ladder would have predicted its own top rungs"),
    "variance": Verb("analyses.variance", "how noisy each task is"),
    "bench": Verb("analyses.bench", "how well every method predicts the larger runs of finished ladders"),
    "compute": Verb("analyses.compute", "the error at a measured target as the ladder grows"),
    "advise": Verb("analyses.advise", "which runs to train next"),
    "compare": Verb("analyses.compare", "which of two recipes, or of many, is better at a target"),
    "paper": Verb("reproduction.paper", "the paper's tables and figures of results"),
}

EPILOGUE = "subcommands: " + "; ".join(f"{name} ({verb.what})" for name, verb in VERBS.items())


def main(argv: list[str]) -> int:
    if argv and not argv[0].startswith("-") and "=" not in argv[0]:
        if argv[0] not in VERBS:
            raise unknown("subcommand", argv[0], VERBS)
        return importlib.import_module(f"{__package__}.{VERBS[argv[0]].module}").main(argv[1:]) or 0
    options = command_line.parser("", __doc__ or "", VERBS)
    options.epilog = EPILOGUE
    command_line.add_target(options)
    options.add_argument("--method", help=f"{DEFAULT} (shown beside paper when none is named), paper, paper-c4, …")
    command_line.add_ladder(options, required=False)
    options.add_argument(
        "--laws", type=command_line.place, metavar="FILE", help="laws written by `python -m predict fit`"
    )
    command_line.add_format(options)
    given, overrides = command_line.parse(options, argv)
    answer = from_ladder(given, overrides) if given.ladder else from_laws(given, overrides)
    if given.form == "json":
        print(json.dumps(answer.to_json(), indent=1, ensure_ascii=False))
    elif given.form == "csv":
        print("\n".join(note.text for note in answer.notes), file=sys.stderr)
        print(predictions_csv(answer.predictions, answer.losses), end="")
    else:
        command_line.show(given.form, *answer.tables())
    return 0


def from_ladder(options: Any, overrides: list[str]) -> Answer:
    """Fits the ladder that was named."""
    from predict.methods.fits import Fits

    if options.laws:
        raise UserError("give either --ladder, to fit it, or --laws, to use laws fitted before")
    measured = command_line.data_of(options, overrides)
    target, method = command_line.target_of(options, measured), _method(options)
    fits = Fits(measured, target, options.tasks)
    predictions = fits.predict(method) if options.method is not None else fits.predict_beside_paper(method)
    losses, notes = fits.predict_losses(), fits.notes(method)
    return Answer(target=target, method=method, predictions=predictions, notes=notes, losses=losses)


def from_laws(options: Any, overrides: list[str]) -> Answer:
    """Uses laws fitted before: those of --laws, or the ones that come with the package."""
    if overrides or options.mapping:
        given = overrides[0] if overrides else "--mapping"
        raise UserError(f"{shortened(given)} is for measurements that are fitted; name them with --ladder PATH")
    if options.sizes or options.multiples or options.corpus:
        raise UserError("--sizes, --multiples and --corpus choose measurements; name them with --ladder PATH")
    laws = law_file.load(options.laws or law_file.SHIPPED)
    target, method = command_line.target_of(options, None), _method(options)
    predictions = laws.predict(target, method, options.tasks)
    if options.method is None:
        predictions = laws.beside(predictions, target)
    shipped = [] if options.laws else [note("shipped-laws")]
    return Answer(target=target, method=method, predictions=predictions, notes=[*shipped, *laws.notes(target, method)])


def _method(options: Any) -> str:
    """Raises UserError for a name that no method has."""
    if options.method is not None and options.method not in METHODS:
        raise unknown("method", options.method, METHODS)
    return options.method or DEFAULT


if __name__ == "__main__":
    run_command(main)
