"""Law files: fitted coefficients as a small readable JSON, with where they come from and what they were tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ladder.errors import UserError, unknown
from ladder.reading import read_json
from ladder.rung import Target
from predict.ensemble_law import Calibration, EnsembleLaw
from predict.fitting.forms import Decay, Law, PowerLaw, Sigmoid, law_from_json, law_to_json
from predict.measured.tasks import LEFT_OUT, Task
from predict.methods.base import Prediction, Verdict
from predict.notes import Note, Severity
from predict.paper_law import TaskLaw

SCHEMA = 2
SHIPPED = Path(__file__).parent / "laws" / "olmo2.json"
AGAIN = "make the file again with: python -m predict fit --ladder PATH --output FILE"


@dataclass(frozen=True, kw_only=True)
class LawFile:
    """Laws by task and method; `actuals` is what was measured: target -> task -> {"loss", "accuracy"}.

    `top` is the largest N·D that was fitted.
    """

    path: Path
    provenance: dict[str, Any]
    paper: dict[str, TaskLaw]
    default: dict[str, EnsembleLaw]
    calibration: Calibration
    top: float
    actuals: dict[str, dict[str, dict[str, float]]]

    def predict(self, target: Target, method: str, names: Sequence[str]) -> list[Prediction]:
        """Predictions at the target, for the tasks `names` or all but those the paper leaves out.

        Raises:
            UserError: a method or a task that the file does not hold.
        """
        known: dict[str, Any] = {"default": self.default, "paper": self.paper}
        if method not in known:
            raise UserError(
                f"{self.path.name} holds laws of methods default and paper; for {method} give --ladder PATH"
            )
        for name in names:
            if name not in known[method]:
                raise unknown(f"task of {self.path.name}", name, known[method])
        wanted = list(names) or [name for name in known[method] if name not in LEFT_OUT]
        actual = self.actuals.get(target.name, {})
        return [
            replace(
                self._predict(name, target, method),
                actual=actual.get(name, {}).get("accuracy"),
                actual_loss=actual.get(name, {}).get("loss"),
            )
            for name in wanted
        ]

    def beside_paper(self, target: Target, predictions: Sequence[Prediction]) -> list[Prediction]:
        """The predictions with what the paper's method says."""
        return [
            replace(p, paper_accuracy=self.paper[p.task].accuracy(target.n, target.d, target.flops_6nd))
            if p.task in self.paper
            else p
            for p in predictions
        ]

    def _predict(self, name: str, target: Target, method: str) -> Prediction:
        if method == "default":
            return self.default[name].predict(target.n, target.d, self.calibration, self.top)
        return self.paper[name].predict(target.n, target.d, target.flops_6nd)


def to_json(
    provenance: dict[str, Any],
    paper: Sequence[TaskLaw],
    default: Sequence[EnsembleLaw],
    calibration: Calibration,
    top: float,
    actuals: dict[str, dict[str, dict[str, float]]],
) -> dict[str, Any]:
    """The content of a law file. `paper` may lack tasks whose loss was not measured."""
    published = {law.task.name: law for law in paper}
    return {
        "schema": SCHEMA,
        "provenance": provenance,
        "calibration": calibration.to_json() | {"top": top},
        "tasks": {
            law.task.name: {
                "chance": law.task.chance,
                "items": law.task.items,
                "verdict": asdict(law.verdict),
                "paper": _paper_json(published[law.task.name]) if law.task.name in published else None,
                "default": {
                    "members": {name: _pair_json(*pair) for name, pair in law.members.items()},
                    "last_rung": law.last_rung,
                },
            }
            for law in default
        },
        "actuals": actuals,
    }


def _paper_json(law: TaskLaw) -> dict[str, Any]:
    return _pair_json(law.step1, law.step2) | {"notes": [asdict(note) for note in law.notes]}


def _pair_json(step1: Law | None, step2: Law) -> dict[str, Any]:
    return {"step1": law_to_json(step1) if step1 else None, "step2": law_to_json(step2)}


def read_laws(path: Path) -> LawFile:
    """Raises UserError where the file is no law file or a coefficient is missing."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or not isinstance(value.get("tasks"), dict):
        raise UserError(f"{path} is not a law file of schema {SCHEMA}; {AGAIN}")
    try:
        calibration = dict(value["calibration"])
        top = float(calibration.pop("top"))
        tasks = {name: (_task(name, entry), entry) for name, entry in value["tasks"].items()}
        return LawFile(
            path=path,
            provenance=value["provenance"],
            paper={name: _paper_law(*pair, f"{path}: {name}") for name, pair in tasks.items() if pair[1]["paper"]},
            default={name: _ensemble_law(*pair, f"{path}: {name}") for name, pair in tasks.items()},
            calibration=Calibration(**calibration),
            top=top,
            actuals=value["actuals"],
        )
    except KeyError as error:
        raise UserError(f"{path} lacks or misspells {error}; {AGAIN}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} holds a value of the wrong kind ({error}); {AGAIN}") from None


def _task(name: str, entry: dict[str, Any]) -> Task:
    return Task(
        name=name, parts=((name, ""),), weights=(1.0,), chance=float(entry["chance"]), items=int(entry["items"])
    )


def _paper_law(task: Task, entry: dict[str, Any], where: str) -> TaskLaw:
    step1, step2 = _pair(entry["paper"], where)
    return TaskLaw(
        task=task, step1=step1, step2=step2, verdict=_verdict(entry), notes=tuple(map(_note, entry["paper"]["notes"]))
    )


def _ensemble_law(task: Task, entry: dict[str, Any], where: str) -> EnsembleLaw:
    default = entry["default"]
    return EnsembleLaw(
        task=task,
        members={name: _pair(pair, f"{where}, {name}") for name, pair in default["members"].items()},
        last_rung=float(default["last_rung"]),
        verdict=_verdict(entry),
    )


def _verdict(entry: dict[str, Any]) -> Verdict:
    verdict = Verdict(**entry["verdict"])
    if verdict.standing not in ("follows", "loose", "refused"):
        raise ValueError(f"standing = {verdict.standing}")
    return verdict


def _note(entry: dict[str, Any]) -> Note:
    return Note(**entry | {"severity": Severity(entry["severity"])})


def _pair(entry: dict[str, Any], where: str) -> tuple[PowerLaw, Any]:
    step1, step2 = law_from_json(entry["step1"], where), law_from_json(entry["step2"], where)
    if not isinstance(step1, PowerLaw) or not isinstance(step2, Sigmoid | Decay):
        forms = f"{type(step1).__name__} and {type(step2).__name__}"
        raise UserError(f"{where}: {forms}, expected PowerLaw and Sigmoid or Decay; {AGAIN}")
    return step1, step2
