"""`python -m predict fit`: writes a ladder's fitted laws as a small readable JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ladder.config import load_target
from ladder.config import options as config_options
from ladder.hashing import json_sha256
from ladder.rung import Target
from ladder.writing import write_json
from predict import lawfile
from predict.ensemble import laws_of, study_ladder
from predict.measured.ai2 import is_ai2_folder
from predict.measured.ladder import Measured
from predict.measured.tasks import LEFT_OUT, Task
from predict.predictor import actual_loss, calibration_tasks, fit_laws
from predict.show import command_line

AI2 = "AI2's published measurements, github.com/allenai/OLMo-ladder at 67a3f440, Apache-2.0"


def main(argv: list[str]) -> None:
    options = command_line.parser("fit", __doc__ or "")
    command_line.add_ladder(options)
    options.add_argument("--output", type=Path, required=True, metavar="FILE", help="the JSON file to write")
    known, overrides = command_line.parse(options, argv)
    data = command_line.data_of(known, overrides)
    write_json(known.output, law_content(data, known.tasks))
    print(f"wrote {known.output}: laws of {len(data.rungs)} runs")


def law_content(data: Measured, names: list[str]) -> dict[str, Any]:
    """The law file of a ladder, with what was measured on the targets that the project knows."""
    tasks = data.tasks(names)
    if not names:
        measured = {task for task, _ in data.measured}
        tasks += data.tasks([name for name in LEFT_OUT if name in measured and all(t.name != name for t in tasks)])
    targets = [load_target(name) for name in config_options("target")]
    actuals = {target.name: _measured(data, target, tasks) for target in targets if data.at(target)}
    with_loss = [task for task in tasks if data.everywhere(task, "rc_bpb")]
    study = study_ladder(data, calibration_tasks(data, tasks))
    default = {law.task.name: law for law in laws_of(study)}
    return lawfile.to_json(
        provenance(data),
        fit_laws(data, "paper", with_loss),
        [default[task.name] for task in tasks],
        study.calibration,
        study.top,
        actuals,
    )


def provenance(data: Measured) -> dict[str, Any]:
    """Which runs were fitted, how they were smoothed, and a hash of the final values that went in."""
    finals = {
        run.name: {"/".join(key): curve.final(data.smoothing.final_checkpoints) for key, curve in run.curves.items()}
        for run in data.rungs
    }
    return {
        "ladder": data.name,
        "measurements": AI2 if is_ai2_folder(Path(data.source)) else data.source,
        "runs": [run.name for run in data.rungs],
        "max_n": max(run.n for run in data.rungs),
        "max_d": max(run.d for run in data.rungs),
        "smoothing": vars(data.smoothing),
        "finals_sha256": json_sha256(finals),
    }


def _measured(data: Measured, target: Target, tasks: list[Task]) -> dict[str, dict[str, float]]:
    values = {}
    for task in tasks:
        accuracy, loss = data.actual(target, task, data.smoothing.window), actual_loss(data, target, task, "paper")
        if accuracy is not None and loss is not None:
            values[task.name] = {"accuracy": accuracy, "loss": loss}
    return values
