"""`python -m predict fit`: writes a ladder's fitted laws as a small readable JSON."""

from __future__ import annotations

from ladder.config.config_files import load_target
from ladder.config.config_files import options as config_options
from ladder.files.hashing import json_sha256
from ladder.files.writing import write_text
from ladder.rungs.rung import Target
from ladder.words import count_of
from predict.measured.ladder import Measured
from predict.measured.tasks import Task
from predict.methods.ensemble import Ensemble, tasks_or_all
from predict.methods.law_file import LawFile, Provenance, StoredActual, StoredRung
from predict.methods.paper import PAPER
from predict.show import command_line


def main(argv: list[str]) -> None:
    options = command_line.parser("fit", __doc__ or "")
    command_line.add_ladder(options)
    output = command_line.file_named(".json")
    options.add_argument("--output", type=output, required=True, metavar="FILE", help="the .json file to write")
    given, overrides = command_line.parse(options, argv)
    measured = command_line.data_of(given, overrides)
    write_text(given.output, laws_of(measured, given.tasks).text())
    print(f"wrote {given.output}: laws of {count_of(len(measured.rungs), 'run')}")


def laws_of(measured: Measured, names: list[str]) -> LawFile:
    """The laws of a ladder, with what was measured on the targets that the project knows."""
    tasks = tasks_or_all(measured, names)
    targets = [load_target(name) for name in config_options("target")]
    return LawFile.of(
        provenance(measured),
        rungs(measured),
        PAPER.fit(measured, [task for task in tasks if PAPER.can_fit(measured, task)]),
        Ensemble().fit(measured, tasks),
        {target.name: _measured(measured, target, tasks) for target in targets if measured.at(target)},
    )


def rungs(measured: Measured) -> tuple[StoredRung, ...]:
    return tuple(StoredRung(n=run.n, d=run.d) for run in measured.rungs)


def provenance(measured: Measured) -> Provenance:
    finals = {
        run.name: {
            "/".join(key): curve.final(measured.smoothing.final_checkpoints) for key, curve in run.curves.items()
        }
        for run in measured.rungs
    }
    return Provenance(
        ladder=measured.name,
        measurements=measured.origin,
        runs=tuple(run.name for run in measured.rungs),
        max_n=max(run.n for run in measured.rungs),
        max_d=max(run.d for run in measured.rungs),
        smoothing=measured.smoothing,
        finals_sha256=json_sha256(finals),
    )


def _measured(measured: Measured, target: Target, tasks: list[Task]) -> dict[str, StoredActual]:
    actuals = {task.name: PAPER.actual(measured, target, task) for task in tasks}
    return {
        name: StoredActual(accuracy=actual.accuracy, loss=actual.loss)
        for name, actual in actuals.items()
        if actual.accuracy is not None and actual.loss is not None
    }
