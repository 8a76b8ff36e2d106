"""Law files: fitted coefficients as a small readable JSON, with where they come from and what they were tested on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ladder.config.settings import Smoothing
from ladder.errors import UserError, shortened, unknown
from ladder.files.bind import Positive, Share, Whole, bind
from ladder.files.reading import read_json
from ladder.rungs.rung import Target
from predict.fitting.chain import Chain
from predict.fitting.curve_grid import CurveLaw
from predict.measured.tasks import Task
from predict.methods.base import Fitted, Prediction, Verdict
from predict.methods.ensemble import Ensemble, EnsembleLaw, EnsembleLaws, TaskLoss
from predict.methods.intervals import Calibration
from predict.methods.loss_fits import LossScale
from predict.methods.paper import PAPER, TASK_LOSS, PaperLaws, TaskLaw, beside_paper
from predict.notes import Note, note

SCHEMA = 5
SHIPPED = Path(__file__).parent.parent / "laws" / "olmo2.json"
AGAIN = "make the file again with: python -m predict fit --ladder PATH --output FILE"
_ROW = re.compile(r"\[[^][\"]*\]")  # an array of numbers
Accuracy = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Which runs were fitted, how they were smoothed, and a hash of the final values that went in."""

    ladder: str
    measurements: str
    runs: tuple[str, ...]
    max_n: Positive
    max_d: Positive
    smoothing: Smoothing
    finals_sha256: str


@dataclass(frozen=True, kw_only=True)
class StoredPaper(Chain):
    """A task's chain by method `paper`."""

    notes: tuple[Note, ...]


@dataclass(frozen=True, kw_only=True)
class StoredLoss:
    """The rungs' final losses, from which the laws follow; in the order of the file's `rungs`."""

    finals: tuple[Positive, ...]
    of_text: bool


@dataclass(frozen=True, kw_only=True)
class StoredRung:
    n: Positive
    d: Positive


@dataclass(frozen=True, kw_only=True)
class StoredDefault:
    """A task's curves by method `default`, their share, the chains that have the rest, and its loss if it has one."""

    loss: StoredLoss | None
    curve: CurveLaw
    share: Accuracy
    members: Annotated[dict[str, Chain], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class StoredTask:
    """`paper` is None where the task's loss was not measured."""

    chance: Share
    items: Whole
    verdict: Verdict
    paper: StoredPaper | None
    default: StoredDefault


@dataclass(frozen=True, kw_only=True)
class StoredActual:
    """What was measured on a target: task loss and accuracy."""

    accuracy: Accuracy
    loss: float


@dataclass(frozen=True, kw_only=True)
class LawFile:
    """Laws by task, of these rungs; `scale` is of losses' intervals, `actuals` what was measured: target -> task."""

    schema: Literal[5]
    provenance: Provenance
    rungs: Annotated[tuple[StoredRung, ...], Field(min_length=1)]
    calibration: Calibration
    scale: LossScale
    tasks: Annotated[dict[str, StoredTask], Field(min_length=1)]
    actuals: dict[str, dict[str, StoredActual]]

    @classmethod
    def of(
        cls,
        provenance: Provenance,
        rungs: tuple[StoredRung, ...],
        paper: PaperLaws,
        default: EnsembleLaws,
        actuals: dict[str, dict[str, StoredActual]],
    ) -> LawFile:
        """Of every task of `default`; `paper` may lack some, whose loss was not measured."""
        published = {law.task.name: law for law in paper.laws}
        tasks = {law.task.name: _stored(law, published.get(law.task.name)) for law in default.laws}
        return cls(
            schema=5,
            provenance=provenance,
            rungs=rungs,
            calibration=default.calibration,
            scale=default.scale,
            tasks=tasks,
            actuals=actuals,
        )

    def predict(self, target: Target, method: str, names: Sequence[str] = ()) -> list[Prediction]:
        """Predictions at the target, for the tasks `names` or all but those that the method leaves out.

        Raises:
            UserError: a method or a task that the file does not hold.
        """
        predictions = self.fitted(method, names).predict(target)
        actuals = self.actuals.get(target.name, {})
        return [_beside(p, actuals[p.task]) if p.task in actuals else p for p in predictions]

    def beside(self, predictions: Sequence[Prediction], target: Target) -> list[Prediction]:
        """The predictions with what the paper's method says."""
        names = [p.task for p in predictions if self.tasks[p.task].paper]
        return beside_paper(predictions, self._paper(names).predict(target) if names else [])

    def notes(self, target: Target, method: str) -> list[Note]:
        """Where the laws come from, and what the predictions of a method rest on."""
        made = self.provenance
        origin = note(
            "laws-of", ladder=made.ladder, measurements=made.measurements, runs=len(made.runs), max_n=made.max_n
        )
        return [origin, *self.fitted(method).notes(target)]

    def fitted(self, method: str, names: Sequence[str] = ()) -> Fitted:
        """The stored laws of a method. Raises as `predict`."""
        stored = {Ensemble.name: self._default, PAPER.name: self._paper}
        if method not in stored:
            raise UserError(f"law files hold laws of methods {' and '.join(stored)}; for {method} give --ladder PATH")
        return stored[method](names)

    def _default(self, names: Sequence[str]) -> EnsembleLaws:
        chosen = _chosen(self.tasks, names) or list(self.tasks)
        laws = tuple(_ensemble_law(name, self.tasks[name], self.rungs) for name in chosen)
        return EnsembleLaws(laws=laws, calibration=self.calibration, scale=self.scale)

    def _paper(self, names: Sequence[str]) -> PaperLaws:
        stored = {name: (task, task.paper) for name, task in self.tasks.items() if task.paper}
        chosen = _chosen(stored, names) or list(stored)
        return PaperLaws(laws=tuple(_paper_law(name, *stored[name]) for name in chosen))

    def text(self) -> str:
        """What `load` reads back: JSON with a line for each key, or curve."""
        return _ROW.sub(lambda row: " ".join(row.group().split()), json.dumps(asdict(self), indent=1)) + "\n"


def load(path: Path) -> LawFile:
    """Raises UserError where the file is no law file of this schema, or a key or value of it is wrong."""
    node = read_json(path)
    if not isinstance(node, dict) or node.get("schema") != SCHEMA:
        schema = f" (but {shortened(str(node['schema']))})" if isinstance(node, dict) and "schema" in node else ""
        raise UserError(f"{path} is not a law file of schema {SCHEMA}{schema}; {AGAIN}")
    laws = bind(LawFile, node, str(path))
    for name, task in laws.tasks.items():
        loss = task.default.loss
        if loss and len(loss.finals) != len(laws.rungs):
            raise UserError(
                f"{path}: tasks.{name}.default.loss.finals: {len(loss.finals)} values for {len(laws.rungs)} rungs"
            )
    return laws


def _beside(prediction: Prediction, actual: StoredActual) -> Prediction:
    loss = actual.loss if prediction.loss_metric == TASK_LOSS.metric else None
    return replace(prediction, actual=actual.accuracy, actual_loss=loss)


def _stored(law: EnsembleLaw, paper: TaskLaw | None) -> StoredTask:
    chain = paper.chain if paper else None
    return StoredTask(
        chance=law.task.chance,
        items=law.task.items,
        verdict=law.verdict,
        paper=StoredPaper(step1=chain.step1, step2=chain.step2, notes=paper.notes) if paper and chain else None,
        default=StoredDefault(
            loss=StoredLoss(finals=tuple(law.loss.finals.tolist()), of_text=law.loss.of_text) if law.loss else None,
            curve=law.curve,
            share=law.share,
            members=law.members,
        ),
    )


def _chosen(stored: Mapping[str, object], names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in stored:
            raise unknown("task of these laws", name, stored)
    return list(names)


def _task(name: str, stored: StoredTask) -> Task:
    return Task(name=name, parts=((name, ""),), weights=(1.0,), chance=stored.chance, items=stored.items)


def _paper_law(name: str, stored: StoredTask, paper: StoredPaper) -> TaskLaw:
    return TaskLaw(task=_task(name, stored), chain=paper, verdict=stored.verdict, feature=TASK_LOSS, notes=paper.notes)


def _ensemble_law(name: str, stored: StoredTask, rungs: Sequence[StoredRung]) -> EnsembleLaw:
    default, loss = stored.default, stored.default.loss
    n, d = np.array([rung.n for rung in rungs]), np.array([rung.d for rung in rungs])
    return EnsembleLaw(
        task=_task(name, stored),
        curve=default.curve,
        share=default.share,
        members=default.members,
        loss=TaskLoss.of(n, d, np.array(loss.finals), loss.of_text) if loss else None,
        verdict=stored.verdict,
    )
