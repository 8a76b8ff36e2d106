"""A ladder as jobs: one training per rung, workers that follow them, a last measurement, the prediction.

The same jobs run on this machine (`ladder/local.py`) and on a cluster (`ladder/slurm.py`). Both hand submitit one
function, `run_task`, which starts the stage by name and stays beside it to pass on signals.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.errors import EXIT_PREEMPTED, UserError
from ladder.plan import Plan
from ladder.rundir import LadderDirectory
from ladder.rung import Rung
from ladder.settings import Config
from ladder.stages import stage
from ladder.status import RunStatus

PREDICT = "predict"
MEASURE = "measure"
FOLLOW = "follow"
ACCELERATE = "accelerate.commands.launch"  # starts a training's processes on one machine
TERMINATE_SECONDS = 600  # a trainer that is asked to stop finishes its step and saves

_TIME_FACTOR = 1.3  # on the planned time: evaluation in the loop, slow nodes
_START_HOURS = 0.5


def is_helper(name: str) -> bool:
    """Whether a job measures or predicts; every other name is a rung's."""
    return name in (MEASURE, PREDICT) or name.startswith(FOLLOW)


@dataclass(frozen=True, kw_only=True)
class Job:
    """`words` follow `python`; `hours` is the time it should take, None where nobody knows.

    It starts when one of `after_start` has started and all of `after` have ended, however they ended.
    """

    name: str
    words: tuple[str, ...]
    output: Path
    gpus: int = 0
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
        name=rung.name,
        words=stage("train", *words),
        output=directory.run(rung.name).output_file,
        gpus=gpus,
        hours=_TIME_FACTOR * wall + _START_HOURS if gpus else None,
    )


def measuring_jobs(
    directory: LadderDirectory, runs: Sequence[str], overrides: Sequence[str], *, gpu: bool, count: int, patience: float
) -> list[Job]:
    """`count` workers that follow the trainings of `runs`, and one that measures what is left when all have ended.

    Args:
        patience: hours without a new checkpoint after which a worker gives up.
    """
    suite = [word for word in overrides if word.lstrip("+").startswith("suite")]
    words = stage("evaluate", str(directory.path), "--runs", ",".join(runs), *suite)
    followers = [
        Job(
            name=f"{FOLLOW}-{number}",
            words=(*words, "--watch", "--patience", f"{patience:.3g}"),
            output=directory.jobs / f"{FOLLOW}-{number}.txt",
            gpus=int(gpu),
            after_start=tuple(runs),
        )
        for number in range(1, count + 1)
    ]
    rest = Job(
        name=MEASURE,
        words=words,
        output=directory.jobs / f"{MEASURE}.txt",
        gpus=int(gpu),
        after=(*runs, *(job.name for job in followers)),
    )
    return [*followers, rest]


def prediction_job(directory: LadderDirectory, runs: Sequence[str], overrides: Sequence[str]) -> Job:
    return Job(
        name=PREDICT,
        words=stage("ladder", "predict", *overrides),
        output=directory.jobs / f"{PREDICT}.txt",
        hours=_START_HOURS,
        after=(*runs, MEASURE),
    )


def to_train(statuses: Sequence[RunStatus]) -> list[Rung]:
    """What is not trained to its end, the longest first."""
    rungs = [status.rung for status in statuses if status.state not in ("done", "trained")]
    return sorted(rungs, key=lambda rung: -rung.flops_with_attention)


def patience_hours(plan: Plan) -> float:
    """Three times the longest wait between two checkpoints, and never less than an hour."""
    return max(1.0, *(3 * rung.wall_hours / rung.checkpoints for rung in plan.rungs))


def run_task(words: Sequence[str], output: str, directory: str, environment: Mapping[str, str]) -> str:
    """In a job: runs `python WORDS` in `directory`, the first task's output appended to `output`.

    SIGTERM and SIGUSR2 are passed on; a second SIGTERM kills. A stage that saved its state after SIGUSR2 (SLURM's
    notice ahead of the time limit) is requeued under the same job id, so that dependencies on it hold.

    Returns:
        "done", or "stopped" where a signal ended it.

    Raises:
        UserError: it failed; the message has the signal that killed it, or its last line.
    """
    from submitit import JobEnvironment
    from submitit.helpers import TorchDistributedEnvironment

    job = JobEnvironment()
    if job.num_tasks > 1:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    cores = os.environ.get("SLURM_CPUS_PER_TASK")
    defaults = {"OMP_NUM_THREADS": cores} if cores else {}
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, _: Any = None) -> None:
        received.append(number)
        if child is not None and child.poll() is None:
            kill = received.count(signal.SIGTERM) > 1
            os.killpg(child.pid, signal.SIGKILL) if kill else child.send_signal(number)

    for wanted in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(wanted, forward)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    with Path(output).open("ab") as file:
        child = subprocess.Popen(
            [sys.executable, *words],
            cwd=directory,
            env={**defaults, **os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file if job.global_rank == 0 else None,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        for number in list(received):  # those from before it was there
            child.send_signal(number)
        code = child.wait()
    if code == 0:
        return "done"
    stopped = (-code in received) or (code == 1 and ACCELERATE in words)  # it hides its workers' exit codes
    if code == EXIT_PREEMPTED or (received and stopped):
        if signal.SIGUSR2 in received and job.name() == "slurm" and job.global_rank == 0:
            subprocess.run(["scontrol", "requeue", job.job_id], check=True)
        return "stopped"
    if code < 0:
        raise UserError(f"it was killed by {signal.Signals(-code).name}")
    raise UserError(f"{output} ends with: {last_line(Path(output))}")


def last_line(path: Path) -> str:
    """The last line of a job's output; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""
