"""`python -m predict`: predictions for a target, and the analyses around them."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.errors import UserError, run_command, unknown
from ladder.rung import Target
from predict.ensemble_law import interval_notes
from predict.lawfile import SHIPPED, read_laws
from predict.methods.base import Prediction
from predict.notes import Note, note
from predict.show import command_line
from predict.show.predictions import prediction_table, predictions_csv
from predict.show.words import prediction_json

# Each is a module with a `main(argv)`, imported only when it is asked for.
COMMANDS = {
    "collect": "keep measurements from anywhere as one Parquet table",
    "fit": "write the fitted laws of a ladder as JSON",
    "report": "write report.html and the plots of a ladder",
    "backtest": "how well the ladder would have predicted its own top rungs",
    "variance": "how noisy each task is",
    "compute": "the error at a measured target as the ladder grows",
    "advise": "which runs to train next",
    "compare": "two ladders at one target",
    "paper": "the paper's tables and figures of results",
}

DEFAULT = "default"

EPILOGUE = "subcommands: " + "; ".join(f"{name} ({what})" for name, what in COMMANDS.items())


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is printed: predictions, the method that made them, and notes on where they come from."""

    target: Target
    method: str
    predictions: list[Prediction]
    notes: list[Note]

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target.name,
            "n": self.target.n,
            "d": self.target.d,
            "method": self.method,
            "notes": [note.to_json() for note in self.notes],
            "predictions": [prediction_json(prediction) for prediction in self.predictions],
        }


def main(argv: list[str]) -> int:
    if argv and not argv[0].startswith("-") and "=" not in argv[0]:
        if argv[0] not in COMMANDS:
            raise unknown("subcommand", argv[0], COMMANDS)
        return importlib.import_module(f"{__package__}.analyses.{argv[0]}").main(argv[1:]) or 0
    options = command_line.parser("", __doc__ or "", COMMANDS)
    options.epilog = EPILOGUE
    command_line.add_target(options)
    options.add_argument("--method", help=f"{DEFAULT} (shown beside paper when none is named), paper, paper-c4, …")
    command_line.add_ladder(options, required=False)
    options.add_argument("--laws", type=Path, metavar="FILE", help="laws written by `python -m predict fit`")
    command_line.add_format(options)
    known, overrides = command_line.parse(options, argv)
    answer = from_ladder(known, overrides) if known.ladder else from_laws(known)
    if known.form == "json":
        print(json.dumps(answer.to_json(), indent=1, ensure_ascii=False))
    elif known.form == "csv":
        print("\n".join(note.text for note in answer.notes), file=sys.stderr)
        print(predictions_csv(answer.predictions), end="")
    else:
        title = f"{answer.target.name} (N = {answer.target.n:.4g}, D = {answer.target.d:.4g}) by method {answer.method}"
        command_line.show(known.form, prediction_table(answer.predictions, title, [note.text for note in answer.notes]))
    return 0


def from_ladder(known: Any, overrides: list[str]) -> Answer:
    """Fits the ladder that was named."""
    from predict.predictor import beside_paper, predict_with_notes

    if known.laws:
        raise UserError("give either --ladder, to fit it, or --laws, to use laws fitted before")
    data = command_line.data_of(known, overrides)
    target = command_line.target_of(known, data)
    outcome = predict_with_notes(data, target, known.method or DEFAULT, known.tasks)
    found = outcome.predictions if known.method else beside_paper(data, target, outcome.predictions)
    return Answer(target=target, method=known.method or DEFAULT, predictions=found, notes=outcome.notes)


def from_laws(known: Any) -> Answer:
    """Uses laws fitted before: those of --laws, or the ones that come with the package."""
    if known.sizes or known.multiples or known.corpus:
        raise UserError("--sizes, --multiples and --corpus choose measurements; name them with --ladder PATH")
    laws = read_laws(known.laws or SHIPPED)
    target = command_line.target_of(known, None)
    origin = laws.provenance
    notes = [] if known.laws else [note("shipped-laws")]
    notes.append(
        note(
            "laws-of",
            ladder=origin.get("ladder"),
            measurements=origin.get("measurements"),
            runs=len(origin.get("runs", [])),
            max_n=origin.get("max_n", 0),
        )
    )
    if known.method in (None, DEFAULT):
        notes += interval_notes(laws.calibration, laws.top, target.n, target.d)
    found = laws.predict(target, known.method or DEFAULT, known.tasks)
    found = found if known.method else laws.beside_paper(target, found)
    return Answer(target=target, method=known.method or DEFAULT, predictions=found, notes=notes)


if __name__ == "__main__":
    run_command(main)
