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
from predict.methods.ensemble import Ensemble, all_tasks
from predict.methods.law_file import LawFile, Provenance, StoredActual, StoredRung
from predict.methods.paper import PAPER
from predict.show import command_line


def main(argv: list[str]) -> None:
    options = command_line.parser("fit", __doc__ or "")
    command_line.add_ladder(options)
    output = command_line.file_named(".json")
    options.add_argument("--output", type=output, required=True, metavar="FILE", help="the .json file to write")
    given, overrides = command_line.parse(options, argv)
    data = command_line.data_of(given, overrides)
    write_text(given.output, laws_of(data, given.tasks).text())
    print(f"wrote {given.output}: laws of {count_of(len(data.rungs), 'run')}")


def laws_of(data: Measured, names: list[str]) -> LawFile:
    """The laws of a ladder, with what was measured on the targets that the project knows."""
    tasks = data.tasks(names) if names else all_tasks(data)
    targets = [load_target(name) for name in config_options("target")]
    return LawFile.of(
        provenance(data),
        rungs(data),
        PAPER.fit(data, [task for task in tasks if PAPER.can_fit(data, task)]),
        Ensemble().fit(data, tasks),
        {target.name: _measured(data, target, tasks) for target in targets if data.at(target)},
    )


def rungs(data: Measured) -> tuple[StoredRung, ...]:
    return tuple(StoredRung(n=run.n, d=run.d) for run in data.rungs)


def provenance(data: Measured) -> Provenance:
    finals = {
        run.name: {"/".join(key): curve.final(data.smoothing.final_checkpoints) for key, curve in run.curves.items()}
        for run in data.rungs
    }
    return Provenance(
        ladder=data.name,
        measurements=data.origin,
        runs=tuple(run.name for run in data.rungs),
        max_n=max(run.n for run in data.rungs),
        max_d=max(run.d for run in data.rungs),
        smoothing=data.smoothing,
        finals_sha256=json_sha256(finals),
    )


def _measured(data: Measured, target: Target, tasks: list[Task]) -> dict[str, StoredActual]:
    actuals = {task.name: PAPER.actual(data, target, task) for task in tasks}
    return {
        name: StoredActual(accuracy=actual.accuracy, loss=actual.loss)
        for name, actual in actuals.items()
        if actual.accuracy is not None and actual.loss is not None
    }
