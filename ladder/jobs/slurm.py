"""Runs a ladder's jobs on a SLURM cluster: submits them through submitit, asks the queue, cancels."""

from __future__ import annotations

import contextlib
import io
import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ladder.config.cluster import Cluster, Slurm
from ladder.errors import UserError
from ladder.jobs.jobs import Job
from ladder.jobs.supervise import TERMINATE_SECONDS, run_task
from ladder.process.gpus import GIVEN
from ladder.process.stages import launcher_shown, python_shown
from ladder.rungs.memory import host_bytes
from ladder.runs.queue import JobKind, QueuedJob
from ladder.runs.rundir import LadderDirectory
from ladder.words import count_of


def queue_of(directory: LadderDirectory) -> dict[str, QueuedJob]:
    """The ladder's jobs that the queue has, by name; none on a machine without SLURM.

    A job carries the ladder's directory as its comment, so nothing has to be remembered that could be lost.

    Raises:
        UserError: the queue does not answer; what it says is in the message.
    """
    if shutil.which("squeue") is None:
        return {}
    jobs = {}
    for line in _slurm("squeue", "--me", "--noheader", "--format=%i|%T|%r|%j|%k").splitlines():
        number, state, reason, name, comment = line.split("|", 4)
        if comment == _comment(directory):
            jobs[name] = QueuedJob(id=number, name=name, state=state, reason=reason)
    return jobs


def submit_ladder(
    directory: LadderDirectory,
    cluster: Cluster,
    jobs: Sequence[Job],
    queue: Mapping[str, QueuedJob],
    report: Callable[[str], None],
) -> None:
    """Submits what the queue does not have yet. Jobs come in an order in which each follows those it waits for.

    Raises:
        UserError: SLURM is not here, or rejects a job: its words are shown, and what was submitted before stays.
    """
    if shutil.which("sbatch") is None:
        raise UserError("cluster.slurm needs sbatch, which is not here; log in where it is, or use cluster=local")
    ending = {name: job.id for name, job in queue.items() if job.ending}
    there = {name: job for name, job in queue.items() if name not in ending}
    last = (JobKind.MEASURE, JobKind.PREDICT)
    if any(job.name not in there for job in jobs if job.kind not in last):
        # These wait for all others, so also for what is submitted now.
        cancel([there.pop(kind).id for kind in last if kind in there])
    ids = {name: job.id for name, job in there.items()}
    for job in jobs:
        if job.name in there:
            report(f"{job.name} is in the queue as job {there[job.name].id} ({there[job.name].state})")
            continue
        # A job that is still ending holds the run; its successor waits for it.
        ids[job.name] = _submit(directory, cluster, job, ids, nice=len(jobs), before=ending.get(job.name))
        limit = f", at most {_minutes(job, _settings(cluster))} minutes"
        gpus = f", {count_of(job.gpus, 'GPU')}" if job.gpus else ""
        report(f"{job.name} submitted as job {ids[job.name]}{gpus}{limit}")


def cancel(ids: Iterable[str]) -> None:
    if ids := list(ids):
        _slurm("scancel", *ids)


def script(directory: LadderDirectory, cluster: Cluster, job: Job, jobs: Sequence[str]) -> str:
    """The sbatch script of a job, with names in place of the ids of those of `jobs` that it waits for."""
    from submitit.slurm.slurm import _make_sbatch_string

    python = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(str(directory.jobs.absolute()))}"
    names = {name: f"<{name}>" for name in jobs}
    parameters = _parameters(directory, cluster, job, names, nice=len(jobs))
    text: str = _make_sbatch_string(python, directory.jobs.absolute(), **parameters)
    return text


def _comment(directory: LadderDirectory) -> str:
    return f"model-ladder {directory.path.resolve()}"


def _submit(
    directory: LadderDirectory, cluster: Cluster, job: Job, ids: Mapping[str, str], nice: int, before: str | None
) -> str:
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        executor = SlurmExecutor(directory.jobs)
        executor.update_parameters(**_parameters(directory, cluster, job, ids, nice, before))
        with contextlib.redirect_stderr(io.StringIO()):  # submitit would show sbatch's words beside ours
            given = {GIVEN: str(job.gpus // cluster.nodes_of(job.gpus))}
            handle = executor.submit(run_task, list(job.words), str(job.output.absolute()), str(Path.cwd()), given)
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        words = " ".join(line for line in str(error).splitlines() if "sbatch:" in line) or str(error)
        raise UserError(f"SLURM did not take {job.name}: {words}; see cluster.slurm in the configuration") from None
    return str(handle.job_id)


def _parameters(
    directory: LadderDirectory,
    cluster: Cluster,
    job: Job,
    ids: Mapping[str, str],
    nice: int,
    before: str | None = None,
) -> dict[str, Any]:
    """What submitit makes the script from; `ids` are those of the jobs that it may have to wait for."""
    slurm = _settings(cluster)
    nodes, tasks = cluster.nodes_of(job.gpus), max(1, job.gpus)
    # Followers are submitted last, since they wait for one of the others, and are to start before the rest of them.
    options: dict[str, Any] = {"requeue": True, **({} if job.after_start else {"nice": nice}), **slurm.options}
    parameters: dict[str, Any] = {
        "job_name": job.name,
        "time": _minutes(job, slurm),
        "nodes": nodes,
        "ntasks_per_node": tasks // nodes,
        "cpus_per_task": slurm.cpus_per_task,
        "signal_delay_s": slurm.signal_seconds,
        "stderr_to_stdout": True,
        "setup": list(slurm.setup) or None,
        # One task that dies ends the others, which would wait for it; srun does not take over sbatch's cpus-per-task.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={slurm.cpus_per_task}"],
        "wckey": options.pop("wckey", None),
        "additional_parameters": options | {"comment": _comment(directory)},
    }
    if job.gpus:
        parameters["gpus_per_node"] = job.gpus // nodes
        if not any(option.startswith("mem") for option in slurm.options):  # many sites give a job little without it
            parameters["mem"] = f"{math.ceil(host_bytes(job.parameters, tasks // nodes) / 1e9)}GB"
    ended = [ids[name] for name in job.after if name in ids] + ([before] if before else [])
    begun = [ids[name] for name in job.after_start if name in ids]
    if ended:  # SLURM takes either "all of" or "one of"; no job here needs both
        parameters["dependency"] = ",".join(f"afterany:{number}" for number in ended)
    elif begun:
        parameters["dependency"] = "?".join(f"after:{number}" for number in begun)
    return parameters


def _minutes(job: Job, slurm: Slurm) -> int:
    hours = slurm.max_hours if job.hours is None else min(job.hours, slurm.max_hours)
    return max(1, math.ceil(60 * hours))


def _settings(cluster: Cluster) -> Slurm:
    assert cluster.slurm is not None
    return cluster.slurm


def _slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise UserError(f"{command[0]}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout


def accelerate_line(job: Job, nodes: int) -> str:
    """The same training by hand, for any other scheduler; `$RANK` and `$HOST0` are to be set on each node."""
    words = shlex.join(job.words)
    given = f"{GIVEN}={job.gpus // nodes} " if job.gpus else ""
    if job.gpus <= 1:
        return f"{given}{python_shown()} {words}"
    # Without --multi_gpu a node of one GPU would start a training of its own.
    launch = f"{launcher_shown()} --multi_gpu --num_processes={job.gpus}"
    machines = f" --num_machines={nodes} --machine_rank=$RANK --main_process_ip=$HOST0 --main_process_port=29500"
    patience = f"TORCH_ELASTIC_SHUTDOWN_TIMEOUT={TERMINATE_SECONDS}"  # or it kills workers that still save
    return f"{given}{patience} {launch}{machines if nodes > 1 else ' --main_process_port=0'} {words}"
