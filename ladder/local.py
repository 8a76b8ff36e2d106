"""Runs a ladder's jobs on this machine: as many at once as its devices allow, through submitit's local executor."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.cluster import Cluster
from ladder.errors import UserError
from ladder.history import at_work
from ladder.jobs import ACCELERATE, FOLLOW, MEASURE, PREDICT, TERMINATE_SECONDS, Job, last_line, run_task
from ladder.plan import CPU_FLOPS_LIMIT
from ladder.rundir import LadderDirectory, find_runs
from ladder.rung import Rung
from ladder.show import duration
from ladder.status import RunStatus, run_status

PROGRESS_SECONDS = 15
_POLL_SECONDS = 0.2
_FOREVER_MINUTES = 60 * 24 * 365


def check_affordable(rungs: Sequence[Rung], gpus: int) -> None:
    """Raises UserError where the rungs need a GPU and this machine has none."""
    flops = sum(rung.flops_6nd for rung in rungs)
    if gpus == 0 and flops > CPU_FLOPS_LIMIT:
        there = "no GPU; it has SLURM: cluster=slurm submits there" if shutil.which("sbatch") else "no GPU and no SLURM"
        raise UserError(
            f"this machine has {there}; the ladder needs {flops:.1e} FLOPs (6ND) and was not started. To see the whole "
            "pipeline on this machine: make demo"
        )


@dataclass(frozen=True)
class Running:
    job: Job
    handle: Any  # submitit's job
    devices: tuple[str, ...]


class LocalRun:
    """Starts jobs when what they wait for has ended and a device is free; ends them with this process.

    Args:
        devices: GPUs that may be used, as CUDA_VISIBLE_DEVICES names them; none: one slot per core.
        report: called with one line per event.
    """

    def __init__(
        self,
        directory: LadderDirectory,
        cluster: Cluster,
        rungs: Sequence[Rung],
        devices: Sequence[str],
        report: Callable[[str], None],
    ) -> None:
        self.directory = directory
        self.rungs = {rung.name: rung for rung in rungs}
        self.report = report
        self._gpus = bool(devices)
        self._slots, self._threads = _slots(cluster, len(devices), len(rungs))
        # More trainings than GPUs share them, which pays for models too small to keep one busy.
        self._free = list(devices) * max(1, -(-self._slots // len(devices)) if devices else 1)
        self._reserved = cluster.evaluators if devices else 0
        self._running: list[Running] = []
        self._failed: dict[str, str] = {}
        self._finished = sum(self._status(name).state == "done" for name in self.rungs)

    def run(self, jobs: Sequence[Job]) -> None:
        """Raises UserError after everything else has ended, where jobs failed; it names them and the first reason."""
        self._await_orphans()
        waiting = list(jobs)
        started: set[str] = set()
        next_line = time.monotonic() + PROGRESS_SECONDS
        with _interruptible() as stop_if_asked:
            try:
                while waiting or self._running:
                    unfinished = {job.name for job in waiting} | {one.job.name for one in self._running}
                    for job in list(waiting):
                        ready = not unfinished & set(job.after)
                        begun = not job.after_start or started & set(job.after_start)
                        if not (ready and begun):
                            continue
                        if not self._needed(job):
                            waiting.remove(job)
                        elif (devices := self._allot(job)) is not None:
                            waiting.remove(job)
                            started.add(job.name)
                            self._start(job, devices)
                    stop_if_asked()
                    self._release_followers(waiting)
                    time.sleep(_POLL_SECONDS)
                    if time.monotonic() > next_line:
                        next_line = time.monotonic() + PROGRESS_SECONDS
                        self._report_progress()
                    for one in [one for one in self._running if one.handle.done()]:
                        self._end(one)
            finally:
                self._stop_all()
        if self._failed:
            names, (name, reason) = ", ".join(self._failed), next(iter(self._failed.items()))
            raise UserError(f"failed: {names}; {name}: {reason}")

    def _await_orphans(self) -> None:
        """A launcher that was killed left its trainings at work, on devices that nobody knows of."""
        directory = self.directory.path
        runs = find_runs(directory) if directory.is_dir() else []
        if orphans := {run.name: pid for run in runs if (pid := at_work(run))}:
            listed = ", ".join(f"{name} (process {pid})" for name, pid in orphans.items())
            self.report(f"waiting for what an earlier launcher left at work: {listed}; python -m ladder cancel ends it")
            while any(map(at_work, (self.directory.run(name) for name in orphans))):
                time.sleep(1)

    def _status(self, name: str) -> RunStatus:
        return run_status(self.rungs[name], self.directory.run(name))

    def _needed(self, job: Job) -> bool:
        """Whether there still is something to do for it, now that what it waits for has ended."""
        if job.name == MEASURE:
            return any(self._status(name).unmeasured for name in self.rungs)
        return job.name != PREDICT or not self._failed

    def _allot(self, job: Job) -> tuple[str, ...] | None:
        """Devices for the job (none on a CPU); None where it has to wait."""
        if job.name in self.rungs and sum(one.job.name in self.rungs for one in self._running) >= self._slots:
            return None
        following = sum(one.job.name.startswith(FOLLOW) for one in self._running)
        spare = max(0, self._reserved - following) if job.name in self.rungs else 0
        if not self._gpus or not job.gpus:
            return ()
        if len(self._free) - spare < job.gpus:
            return None
        taken, self._free = self._free[: job.gpus], self._free[job.gpus :]
        return tuple(taken)

    def _start(self, job: Job, devices: tuple[str, ...]) -> None:
        words = job.words
        if len(devices) > 1:
            words = ("-m", ACCELERATE, f"--num_processes={len(devices)}", *words)
        environment = self._environment(devices)
        self._running.append(Running(job, _submit(self.directory, job, words, environment), devices))
        if job.name in self.rungs:
            self.report(f"{job.name} started")
        elif not job.name.startswith(FOLLOW):
            self.report({MEASURE: "measuring what is left", PREDICT: "predicting"}[job.name])

    def _environment(self, devices: Sequence[str]) -> dict[str, str]:
        # Two single-threaded processes beat one of two threads. torchrun's agent kills workers that take longer to save
        # than its timeout.
        defaults = {
            "OMP_NUM_THREADS": str(self._threads),
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(TERMINATE_SECONDS),
        }
        environment = {key: os.environ.get(key, value) for key, value in defaults.items()}
        return environment | ({"CUDA_VISIBLE_DEVICES": ",".join(devices)} if self._gpus else {})

    def _end(self, one: Running) -> None:
        self._running.remove(one)
        self._free = [*one.devices, *self._free]
        job, error = one.job, _error_of(one.handle, one.job.output)
        if error is None:
            _forget(one.handle)
        if job.name in self.rungs:
            status = self._status(job.name)
            if error is None and status.state in ("done", "trained"):
                self._finished += status.state == "done"
                loss = float("nan") if status.loss is None else status.loss
                self.report(f"{job.name} {status.state} ({self._finished}/{len(self.rungs)}), loss {loss:.3f}")
                return
        elif error is None or job.name.startswith(FOLLOW):  # MEASURE does what a follower left
            return
        self._failed[job.name] = error or "it ended too early"
        self.report(f"{job.name} FAILED, see {job.output}")

    def _release_followers(self, waiting: Sequence[Job]) -> None:
        """Once no training runs and one has failed, followers would wait for what does not come."""
        training = any(job.name in self.rungs for job in (*waiting, *(one.job for one in self._running)))
        if training or not self._failed:
            return
        for one in self._running:
            if one.job.name.startswith(FOLLOW):
                _terminate(one.handle)

    def _report_progress(self) -> None:
        """What runs, how far it is and how long it will take: `n3-8xC 45% ETA 1m5s, n2-8xC 12% ETA 2m`."""
        parts = []
        for one in self._running:
            if one.job.name in self.rungs:
                status = self._status(one.job.name)
                eta = "" if status.eta_seconds is None else f" ETA {duration(status.eta_seconds)}"
                parts.append(f"{one.job.name} {status.fraction:.0%}{eta}")
        if parts:
            self.report("  running: " + ", ".join(parts))

    def _stop_all(self) -> None:
        """Asks every job to save and end; kills what does not."""
        for one in self._running:
            _terminate(one.handle)
        deadline = time.monotonic() + TERMINATE_SECONDS
        while any(not one.handle.done() for one in self._running):
            if time.monotonic() > deadline:
                deadline = time.monotonic() + TERMINATE_SECONDS
                for one in self._running:
                    _terminate(one.handle)  # the second time kills
            time.sleep(0.05)


def _slots(cluster: Cluster, gpus: int, rungs: int) -> tuple[int, int]:
    """Trainings at once, and threads for each."""
    cores = os.cpu_count() or 1
    if isinstance(cluster.parallel, int):
        slots = cluster.parallel
    else:
        slots = gpus or max(1, min(cores - cluster.evaluators, rungs))
    return slots, max(1, cores // (slots + cluster.evaluators))


def _submit(directory: LadderDirectory, job: Job, words: Sequence[str], environment: Mapping[str, str]) -> Any:
    from submitit import LocalExecutor

    executor = LocalExecutor(directory.jobs)
    executor.update_parameters(timeout_min=_FOREVER_MINUTES)
    # What is started now ignores Ctrl-C: it reaches this process alone, which then ends its jobs in order.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return executor.submit(run_task, list(words), str(job.output), str(Path.cwd()), dict(environment))
    except OSError as error:
        raise UserError(f"cannot start {job.name}: {error}") from None
    finally:
        signal.signal(signal.SIGINT, handler)


def _terminate(handle: Any) -> None:
    if not handle.done():
        handle._process.terminate()  # its cancel() would kill a trainer in the middle of a save


def _error_of(handle: Any, output: Path) -> str | None:
    """Why a job failed; None where it did not."""
    from submitit.core.utils import FailedJobError

    if not handle.paths.result_pickle.exists():
        return "it was killed"
    try:
        return None if handle.result() == "done" else "it was stopped by a signal"
    except FailedJobError as error:
        words = str(error).partition("ladder.errors.UserError: ")[2].splitlines()
        return words[0] if words else f"{output} ends with: {last_line(output)}"


def _forget(handle: Any) -> None:
    """Removes what submitit wrote for a job that went well."""
    for path in handle.paths.folder.glob(f"{handle.job_id}_*"):
        path.unlink(missing_ok=True)


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Yields a function that raises KeyboardInterrupt once SIGINT, SIGTERM or SIGHUP has come.

    Raised by the signal itself, it could fall between the start of a job and its entry in the list of those to end.
    A second signal does raise it.
    """
    received: list[int] = []

    def receive(number: int, _: object) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    def stop_if_asked() -> None:
        if received:
            raise KeyboardInterrupt

    handlers = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop_if_asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
