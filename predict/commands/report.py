"""`python -m predict report`: report.html and its plots, for a ladder, a target and a method."""

from __future__ import annotations

from pathlib import Path

from ladder.errors import unknown
from predict import command
from predict.predictor import METHODS
from predict.report import write_report


def main(argv: list[str]) -> None:
    options = command.parser("report", __doc__ or "")
    command.add_ladder(options)
    command.add_target(options)
    options.add_argument("--method", default="default", help="default, paper, or a variant of it")
    options.add_argument("--output", type=Path, default=Path("report"), metavar="DIR", help="where to write")
    known, overrides = command.parse(options, argv)
    if known.method not in METHODS:
        raise unknown("method", known.method, METHODS)
    data = command.data_of(known, overrides, everything=True)  # reruns too, for the noise
    path = write_report(data, command.target_of(known, data), known.method, known.tasks, known.output)
    print(f"wrote {path}")
