"""Law files: fitted coefficients as a small readable JSON, with where they come from and what they were tested on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.errors import UserError, unknown
from ladder.files import read_json
from ladder.rung import Target
from predict.laws import ComputeLaw, PowerLaw, Sigmoid, law_from_json, law_to_json
from predict.paper import TaskLaw
from predict.prediction import Prediction
from predict.tasks import LEFT_OUT, Task

SCHEMA = 1
SHIPPED = Path(__file__).parent / "laws" / "olmo2.json"


@dataclass(frozen=True, kw_only=True)
class LawFile:
    """`actuals` holds what was measured on known targets: name -> task -> {"loss", "accuracy"}."""

    path: Path
    method: str
    provenance: dict[str, Any]
    laws: dict[str, TaskLaw]
    actuals: dict[str, dict[str, dict[str, float]]]

    def predict(self, target: Target, names: list[str]) -> list[Prediction]:
        """Predictions at the target, for the tasks `names` or all but those the paper leaves out."""
        for name in names:
            if name not in self.laws:
                raise unknown(f"task of {self.path.name}", name, self.laws)
        wanted = names or [name for name in self.laws if name not in LEFT_OUT]
        actual = self.actuals.get(target.name, {})
        return [self._predict(self.laws[name], target, actual.get(name, {})) for name in wanted]

    def _predict(self, law: TaskLaw, target: Target, actual: dict[str, float]) -> Prediction:
        return Prediction(
            task=law.task.name,
            title=law.task.title,
            loss=law.loss(target.n, target.d, target.flops_6nd),
            accuracy=law.accuracy(target.n, target.d, target.flops_6nd),
            actual=actual.get("accuracy"),
            actual_loss=actual.get("loss"),
            flags=law.flags,
        )


def to_json(
    method: str, laws: list[TaskLaw], provenance: dict[str, Any], actuals: dict[str, dict[str, dict[str, float]]]
) -> dict[str, Any]:
    """The content of a law file."""
    return {
        "schema": SCHEMA,
        "method": method,
        "provenance": provenance,
        "tasks": {
            law.task.name: {
                "chance": law.task.chance,
                "items": law.task.items,
                "step1": law_to_json(law.step1) if law.step1 else None,
                "step2": law_to_json(law.step2),
                "flags": list(law.flags),
            }
            for law in laws
        },
        "actuals": actuals,
    }


def read_laws(path: Path) -> LawFile:
    """Raises UserError where the file is no law file or a coefficient is missing."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or not isinstance(value.get("tasks"), dict):
        raise UserError(
            f"{path} is not a law file of schema {SCHEMA}; make one with: python -m predict fit --output FILE"
        )
    return LawFile(
        path=path,
        method=str(value.get("method")),
        provenance=value.get("provenance", {}),
        laws={name: _task_law(name, entry, path) for name, entry in value["tasks"].items()},
        actuals=value.get("actuals", {}),
    )


def _task_law(name: str, entry: dict[str, Any], path: Path) -> TaskLaw:
    where = f"{path}: task {name}"
    for key in ("step1", "step2", "chance", "items"):
        if key not in entry:
            raise UserError(f"{where} lacks {key}; make the file again with: python -m predict fit")
    task = Task(
        name=name, parts=((name, ""),), weights=(1.0,), chance=float(entry["chance"]), items=int(entry["items"])
    )
    step1 = law_from_json(entry["step1"], where) if entry["step1"] else None
    step2 = law_from_json(entry["step2"], where)
    if step1 is not None and not isinstance(step1, PowerLaw | ComputeLaw):
        raise UserError(f"{where}: step1 is a {type(step1).__name__}, expected PowerLaw or ComputeLaw")
    if isinstance(step2, PowerLaw | ComputeLaw) or (step1 is None and isinstance(step2, Sigmoid)):
        raise UserError(f"{where}: step2 is a {type(step2).__name__}, which gives no accuracy here")
    return TaskLaw(task=task, step1=step1, step2=step2, flags=tuple(entry.get("flags", ())))
