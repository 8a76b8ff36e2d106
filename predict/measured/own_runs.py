"""Run directories as `train` and `evaluate` leave them: a metrics file per checkpoint, the configuration beside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.config.settings import TargetSettings
from ladder.errors import UserError, shortened
from ladder.files.bind import Name, bind, lenient
from ladder.files.reading import read
from ladder.records.metrics_file import AGAIN, MetricsFile
from ladder.runs.rundir import RunDirectory, find_runs
from predict.measured.about import About, Reading
from predict.measured.mapping import Mapping
from predict.measured.reader import Reader
from predict.measured.table import table_of
from predict.notes import warning

if TYPE_CHECKING:
    import pandas as pd


@lenient
@dataclass(frozen=True, kw_only=True)
class _HParams:
    schedule: str = "cosine"


@lenient
@dataclass(frozen=True, kw_only=True)
class _RunInfo:
    hparams: _HParams = _HParams()


@lenient
@dataclass(frozen=True, kw_only=True)
class _Ladder:
    """What is relied on; the rest is checked where the configuration becomes a ladder."""

    name: Name
    recipe: dict[str, Any]


@lenient
@dataclass(frozen=True, kw_only=True)
class _Config:
    ladder: dict[str, Any]
    target: TargetSettings | None = None


def read_runs(directory: Path) -> pd.DataFrame:
    """Every metrics file of the run or of the ladder in `directory`, as a table.

    Raises:
        UserError: a metrics file that is damaged, runs of two learning-rate schedules, or no measurements.
    """
    runs = find_runs(directory)
    _reject_mixed_schedules(directory, runs)
    rows = [row for run in runs for row in _run_rows(run)]
    if not rows:
        raise UserError(f"no measurements in {directory}; run: python -m evaluate {directory}")
    return table_of(rows, str(directory))


def _reject_mixed_schedules(directory: Path, runs: Iterable[RunDirectory]) -> None:
    """A law fitted on runs of two schedules would take their difference for an effect of N or D."""
    first_runs: dict[str, str] = {}
    for run in runs:
        first_runs.setdefault(read(_RunInfo, run.run_file).hparams.schedule, run.name)
    if len(first_runs) > 1:
        listed = ", ".join(f"{schedule} (as {name})" for schedule, name in sorted(first_runs.items()))
        raise UserError(f"{directory} mixes learning-rate schedules: {listed}; keep each in a runs_dir of its own")


def _run_rows(run: RunDirectory) -> Iterable[dict[str, Any]]:
    """Raises UserError where a file is not of the step that its name says, or not of the same run as the first."""
    name = None
    for step in run.measured_steps():
        metrics = MetricsFile.load(file := run.metrics_file(step))
        name = name or metrics.run
        if (metrics.run, metrics.step) != (name, step):
            raise UserError(
                f"{file} is of run {shortened(metrics.run)}, step {metrics.step}, and lies where step {step} of {name} "
                f"is kept; {AGAIN}"
            )
        yield from metrics_rows(metrics)


RANKED = {
    "acc_per_byte": "rc_acc_per_byte",
    "acc_raw": "rc_acc_raw",
    "bpb": "rc_bpb",
    "task_ce": "rc_task_ce",
    "prob_correct": "rc_prob_correct",
}  # what a metrics file calls the quantities of a task in format rc -> what a measurement table does


def metrics_rows(metrics: MetricsFile) -> Iterable[dict[str, Any]]:
    """Rows of one metrics file."""
    common = {key: getattr(metrics, key) for key in ("run", "size", "n", "d", "step", "tokens")}

    def row(task: str, split: str, metric: str, value: float | None, items: int, chance: float) -> dict[str, Any]:
        return common | {
            "task": task, "split": split, "metric": metric, "value": value, "items": items, "chance": chance,
        }  # fmt: skip

    for result in metrics.results:
        names = {"acc": f"{result.format}_acc"} | (RANKED if result.format == "rc" else {})
        for key, metric in names.items():
            yield row(result.task, result.split, metric, getattr(result, key), result.n, result.chance)
    for gold in metrics.gold:
        yield row(gold.task, gold.split, "rc_bpb", gold.bpb, gold.n, math.nan)
    for loss in metrics.lm_loss:
        yield row(loss.name, "val", "lm_loss", loss.nats_per_token, loss.tokens, math.nan)


def _about(runs: Sequence[RunDirectory]) -> About:
    """The ladder as the first run's configuration describes it, and whether the runs' recipes differ."""
    files = [run.config_file for run in runs if run.config_file.exists()]
    if not files:
        return About()
    configs = [read(_Config, file) for file in files]
    recipes = [bind(_Ladder, config.ladder, str(file)).recipe for config, file in zip(configs, files, strict=True)]
    keys = sorted({key for recipe in recipes for key in recipe})
    mixed = [key for key in keys if len({str(recipe.get(key)) for recipe in recipes}) > 1]
    notes = (warning("mixed-recipes", keys=mixed),) if mixed else ()
    return About(ladder=configs[0].ladder, target=configs[0].target, notes=notes)


def _read(directory: Path, mapping: Mapping) -> Reading:
    return Reading(table=read_runs(directory), about=_about(find_runs(directory)))


READER = Reader(kind="runs of this project", matches=lambda path: path.is_dir() and bool(find_runs(path)), read=_read)
