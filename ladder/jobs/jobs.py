"""A ladder as jobs: one training per rung, workers that follow them, a last measurement, the prediction.

The same jobs run on this machine (`ladder/jobs/local.py`) and on a cluster (`ladder/jobs/slurm.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ladder.config.settings import Config
from ladder.process.stages import stage
from ladder.rungs.rung import Rung
from ladder.runs.plan import Plan
from ladder.runs.queue import JobKind
from ladder.runs.rundir import LadderDirectory

_TIME_FACTOR = 1.3  # on the planned time: evaluation in the loop, slow nodes
_START_HOURS = 0.5


@dataclass(frozen=True, kw_only=True)
class Job:
    """`words` follow `python`; `hours` is the time it should take, None where nobody knows.

    `parameters`: of the largest model that it holds; `shares`: how many processes may share its batches.

    It starts when one of `after_start` has started and all of `after` have ended, however they ended.
    """

    kind: JobKind
    name: str
    words: tuple[str, ...]
    output: Path
    gpus: int = 0
    shares: int = 1
    parameters: int = 0
    hours: float | None = None
    after: tuple[str, ...] = ()
    after_start: tuple[str, ...] = ()


def training_job(
    config: Config, overrides: Sequence[str], rung: Rung, plan: Plan, directory: LadderDirectory, gpus: int
) -> Job:
    """The training of one rung, which measures its own checkpoints where no worker follows it."""
    words = [*(word for word in overrides if not word.startswith("rung=")), f"rung={rung.name}"]
    given = any(word.startswith("train.evaluate=") for word in words)
    if config.train.parallel == "ddp" and not config.cluster.evaluators and not given:
        words.append("train.evaluate=true")
    wall = next(row.wall_hours for row in plan.rungs if row.rung == rung.name)
    return Job(
        kind=JobKind.TRAIN,
        name=rung.name,
        words=stage("train", *words),
        output=directory.run(rung.name).output_file,
        gpus=gpus,
        shares=rung.hparams.batch_sequences if config.train.parallel == "ddp" else 1,
        parameters=rung.shape.total_parameters,
        hours=_TIME_FACTOR * wall + _START_HOURS if gpus else None,
    )


def measuring_jobs(
    directory: LadderDirectory,
    runs: Sequence[str],
    *,
    gpu: bool,
    count: int,
    patience: float,
    parameters: int,
) -> list[Job]:
    """`count` workers that follow the trainings of `runs`, and one that measures what is left when all have ended.

    The suite is what each run's config.yaml says.

    Args:
        parameters: of the largest of the models.
        patience: hours without a new checkpoint after which a worker gives up.
    """
    words = stage("evaluate", str(directory.path), "--runs", ",".join(runs), "--changed")
    followers = [
        Job(
            kind=JobKind.FOLLOW,
            name=f"{JobKind.FOLLOW}-{number}",
            words=(*words, "--watch", "--patience", f"{patience:.3g}"),
            output=directory.jobs / f"{JobKind.FOLLOW}-{number}.txt",
            gpus=int(gpu),
            parameters=parameters,
            after_start=tuple(runs),
        )
        for number in range(1, count + 1)
    ]
    rest = Job(
        kind=JobKind.MEASURE,
        name=JobKind.MEASURE,
        words=words,
        output=directory.jobs / f"{JobKind.MEASURE}.txt",
        gpus=int(gpu),
        parameters=parameters,
        after=(*runs, *(job.name for job in followers)),
    )
    return [*followers, rest]


def prediction_job(directory: LadderDirectory, runs: Sequence[str], overrides: Sequence[str]) -> Job:
    return Job(
        kind=JobKind.PREDICT,
        name=JobKind.PREDICT,
        words=stage("ladder", "predict", *overrides),
        output=directory.jobs / f"{JobKind.PREDICT}.txt",
        hours=_START_HOURS,
        after=(*runs, JobKind.MEASURE),
    )


def patience_hours(plan: Plan) -> float:
    """Three times the longest wait between two checkpoints, and never less than an hour."""
    return max(1.0, *(3 * rung.wall_hours / rung.checkpoints for rung in plan.rungs))
