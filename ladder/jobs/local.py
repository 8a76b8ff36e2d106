"""Runs a ladder's jobs on this machine: child processes, as many at once as its devices allow."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ladder.config.cluster import Cluster
from ladder.errors import UserError
from ladder.jobs.jobs import Job
from ladder.jobs.mps import shared_gpus
from ladder.jobs.supervise import ACCELERATE, TERMINATE_SECONDS, Stage
from ladder.process.cpu import usable_cores
from ladder.process.gpus import GIVEN
from ladder.rungs.rung import Rung
from ladder.runs.history import at_work
from ladder.runs.queue import JobKind
from ladder.runs.rundir import LadderDirectory, find_runs
from ladder.runs.show import duration
from ladder.runs.status import RunState, RunStatus, run_status

PROGRESS_SECONDS = 15
_POLL_SECONDS = 0.2
# Else accelerate names its defaults, or takes what `accelerate config` once wrote down of this machine.
_UNSAID = ("--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--gpu_ids=all")
_CPU_PROCESSES = 4  # of one training at most: each has its own copy of torch and of the model


class JobsFailed(UserError):
    """All jobs have ended, and some of them failed."""


@dataclass(frozen=True)
class Running:
    job: Job
    stage: Stage
    devices: tuple[str, ...]


class LocalRun:
    """Starts jobs when what they wait for has ended and a device is free; ends them with this process.

    Args:
        devices: GPUs that may be used, as CUDA_VISIBLE_DEVICES names them; none: one slot per core.
        report: called with one line per event.
        finished: how many of the rungs are done already.
    """

    def __init__(
        self,
        directory: LadderDirectory,
        cluster: Cluster,
        rungs: Sequence[Rung],
        devices: Sequence[str],
        report: Callable[[str], None],
        finished: int = 0,
    ) -> None:
        self.directory = directory
        self.rungs = {rung.name: rung for rung in rungs}
        self.report = report
        self._gpus = bool(devices)
        self._slots, self._threads = _slots(cluster, len(devices), len(rungs))
        # More trainings than GPUs share them, which pays for models too small to keep one busy.
        self._free = list(devices) * max(1, -(-self._slots // len(devices)) if devices else 1)
        self._several = 0 < len(devices) < self._slots
        self._sharing: Mapping[str, str] = {}
        self._reserved = cluster.evaluators if devices else 0
        self._running: list[Running] = []
        self._released: list[Running] = []  # asked to end, which a second time would kill
        self._failed: dict[str, str] = {}
        self._finished = finished

    def run(self, jobs: Sequence[Job]) -> None:
        """Raises JobsFailed after everything else has ended, where jobs failed; it names them and the first reason."""
        self._await_orphans()
        waiting = list(jobs)
        started: set[str] = set()
        next_line = time.monotonic() + PROGRESS_SECONDS
        with _interruptible() as stop_if_asked, shared_gpus(self._several, self.report) as self._sharing:
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
                    for one in [one for one in self._running if one.stage.done()]:
                        self._end(one)
            finally:
                self._stop_all()
        if self._failed:
            names, (name, reason) = ", ".join(self._failed), next(iter(self._failed.items()))
            raise JobsFailed(f"failed: {names}; {name}: {reason}")

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
        if job.kind is JobKind.MEASURE:
            return any(self._status(name).unmeasured for name in self.rungs)
        return job.kind is not JobKind.PREDICT or not self._failed

    def _allot(self, job: Job) -> tuple[str, ...] | None:
        """Devices for the job (none on a CPU); None where it has to wait."""
        kinds = [one.job.kind for one in self._running]
        training = job.kind is JobKind.TRAIN
        if training and kinds.count(JobKind.TRAIN) >= self._slots:
            return None
        spare = max(0, self._reserved - kinds.count(JobKind.FOLLOW)) if training else 0
        if not self._gpus or not job.gpus:
            return ()
        if len(self._free) - spare < job.gpus:
            return None
        taken, self._free = self._free[: job.gpus], self._free[job.gpus :]
        return tuple(taken)

    def _start(self, job: Job, devices: tuple[str, ...]) -> None:
        words, processes = job.words, len(devices) or self._cpu_processes(job)
        if processes > 1:
            # Of --cpu accelerate makes a single process, and of this several where there is no GPU too. Port 0: a free
            # one, since other trainings of this machine have one too.
            launch = ("--multi_gpu", f"--num_processes={processes}", "--main_process_port=0")
            words = ("-m", ACCELERATE, *launch, *_UNSAID, *words)
        environment = self._environment(devices, processes)
        self._running.append(Running(job, start_stage(words, job.output, environment), devices))
        started = {JobKind.MEASURE: "measuring what is left", JobKind.PREDICT: "predicting"}
        if job.kind is not JobKind.FOLLOW:
            self.report(started.get(job.kind, f"{job.name} started"))

    def _cpu_processes(self, job: Job) -> int:
        """As many as threads: they wait for each other once a step, threads several times a layer.

        Beside one other busy process two threads lose four fifths of their speed, two processes two fifths.
        """
        if "OMP_NUM_THREADS" in os.environ:  # whoever says how many threads has said how
            return 1
        return max(1, min(self._threads, job.shares, _CPU_PROCESSES))

    def _environment(self, devices: Sequence[str], processes: int) -> dict[str, str]:
        # torchrun's agent kills workers that take longer to save than its timeout. It is to do so before it is killed
        # itself, of which they would not notice anything.
        threads = str(max(1, self._threads // max(1, processes)))
        defaults = {
            "OMP_NUM_THREADS": threads,
            "TORCHINDUCTOR_COMPILE_THREADS": threads,
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(int(0.9 * TERMINATE_SECONDS)),
        }
        chosen = {"CUDA_VISIBLE_DEVICES": ",".join(devices), GIVEN: str(len(devices))} if self._gpus else {}
        return {**defaults, **os.environ, **chosen, **self._sharing}

    def _end(self, one: Running) -> None:
        self._running.remove(one)
        self._free = [*one.devices, *self._free]
        job, reason = one.job, one.stage.end().reason
        if job.kind is JobKind.TRAIN:
            status = self._status(job.name)
            if not reason and status.trained:
                self._finished += status.state is RunState.DONE
                loss = float("nan") if status.loss is None else status.loss
                self.report(f"{job.name} {status.state} ({self._finished}/{len(self.rungs)}), loss {loss:.3f}")
                return
        elif not reason or job.kind is JobKind.FOLLOW:  # the last measurement does what a follower left
            return
        self._failed[job.name] = reason or "it ended too early"
        self.report(f"{job.name} FAILED, see {job.output}")

    def _release_followers(self, waiting: Sequence[Job]) -> None:
        """Once no training runs and one has failed, followers would wait for what does not come."""
        jobs = [*waiting, *(one.job for one in self._running)]
        if not self._failed or any(job.kind is JobKind.TRAIN for job in jobs):
            return
        for one in self._running:
            if one.job.kind is JobKind.FOLLOW and one not in self._released:
                self._released.append(one)
                one.stage.send(signal.SIGTERM)

    def _report_progress(self) -> None:
        """What runs, how far it is and how long it will take: `n3-8xC 45% ETA 1m5s, n2-8xC 12% ETA 2m`."""
        parts = []
        for one in self._running:
            if one.job.kind is JobKind.TRAIN:
                status = self._status(one.job.name)
                eta = "" if status.eta_seconds is None else f" ETA {duration(status.eta_seconds)}"
                parts.append(f"{one.job.name} {status.fraction:.0%}{eta}")
        if parts:
            self.report("  running: " + ", ".join(parts))

    def _stop_all(self) -> None:
        """Asks every job to save and end; kills what does not."""
        for one in self._running:
            one.stage.send(signal.SIGTERM)
        deadline = time.monotonic() + TERMINATE_SECONDS
        while any(not one.stage.done() for one in self._running):
            if time.monotonic() > deadline:
                deadline = time.monotonic() + TERMINATE_SECONDS
                for one in self._running:
                    one.stage.send(signal.SIGTERM)  # the second time kills
            time.sleep(0.05)


def _slots(cluster: Cluster, gpus: int, rungs: int) -> tuple[int, int]:
    """Trainings at once, and threads for each."""
    cores = usable_cores()
    if isinstance(cluster.parallel, int):
        slots = cluster.parallel
    else:
        slots = gpus or max(1, min(cores - cluster.evaluators, rungs))
    return slots, max(1, cores // (slots + cluster.evaluators))


def start_stage(words: Sequence[str], output: Path, environment: Mapping[str, str]) -> Stage:
    return Stage(words, output, Path.cwd(), environment)


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Yields a function that raises KeyboardInterrupt once SIGINT, SIGTERM or, but for nohup, SIGHUP has come.

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

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    handlers = {number: signal.signal(number, receive) for number in numbers}
    try:
        yield stop_if_asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
