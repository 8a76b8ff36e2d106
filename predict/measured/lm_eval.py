"""A folder of lm-evaluation-harness results: `results_*.json`, one per evaluated checkpoint, and `runs.csv`.

The harness does not know what a checkpoint is of. `runs.csv` in the folder says it, a line per model as the harness
names it: `model,run,n,d` and, for checkpoints from within a run, `step,tokens`; `size` and `ladder` if wanted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ladder.errors import UserError, did_you_mean
from ladder.reading import read_json
from predict.measured.mapping import Mapping, tidy
from predict.measured.tasks import MMLU_WEIGHTS

RUNS = "runs.csv"
TASKS = {"commonsense_qa": "csqa", "social_iqa": "socialiqa"}  # theirs: ours
# Their metric: ours. The primary accuracy is the length-normalised one where the task reports it.
LOSSES = {"bits_per_byte": "lm_loss"}


def is_lm_eval_folder(directory: Path) -> bool:
    return any(directory.rglob("results_*.json"))


def read_lm_eval(directory: Path) -> pd.DataFrame:
    """Raises UserError where runs.csv is absent or lacks a model, or a results file is not the harness's."""
    runs = _runs(directory / RUNS)
    rows: list[dict[str, Any]] = []
    for path in sorted(directory.rglob("results_*.json")):
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
            raise UserError(f"{path} holds no results of lm-evaluation-harness")
        model = _model(content, path)
        if model not in runs:
            raise UserError(
                f'{path}: the model "{model}" has no line in {directory / RUNS}; {did_you_mean(model, runs)}'
            )
        rows += [runs[model] | row for row in _rows(content)]
    return tidy(pd.DataFrame(rows), Mapping(), str(directory))


def _runs(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        raise UserError(f"{path} does not exist; it says what each model is, a line each: model,run,n,d[,step,tokens]")
    frame = pd.read_csv(path)
    missing = [name for name in ("model", "run", "n", "d") if name not in frame.columns]
    if missing:
        raise UserError(f"{path}: missing column {', '.join(missing)}; expected model,run,n,d[,step,tokens]")
    records: list[dict[Any, Any]] = frame.to_dict("records")
    return {str(record.pop("model")): {str(key): value for key, value in record.items()} for record in records}


def _model(content: dict[str, Any], path: Path) -> str:
    """The model as the harness names it: `model_name`, else pretrained=… of its arguments, else the folder."""
    if content.get("model_name"):
        return str(content["model_name"])
    arguments = content.get("config", {}).get("model_args") or ""
    if isinstance(arguments, dict):
        return str(arguments.get("pretrained", path.parent.name))
    words = [word.partition("=") for word in str(arguments).split(",")]
    return next((value for key, _, value in words if key == "pretrained"), path.parent.name)


def _rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, result in content["results"].items():
        if name.startswith("mmlu_") and name not in MMLU_WEIGHTS:
            continue  # one of the 57 subjects; their groups are kept
        values = {key.partition(",")[0]: value for key, value in result.items() if isinstance(value, int | float)}
        task, split = TASKS.get(name, name), "test"
        items = int(content.get("n-samples", {}).get(name, {}).get("effective", 0))
        common = {"task": task, "split": split, "items": items}
        accuracy = values.get("acc_norm", values.get("acc"))
        if accuracy is not None:
            rows.append(common | {"metric": "rc_acc", "value": accuracy})
        for theirs, ours in {"acc_bytes": "rc_acc_per_byte", "acc": "rc_acc_raw"}.items():
            if theirs in values:
                rows.append(common | {"metric": ours, "value": values[theirs]})
        for theirs, ours in LOSSES.items():
            if theirs in values:
                rows.append(common | {"metric": ours, "value": values[theirs], "items": 0})
    return rows
