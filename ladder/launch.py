"""One ladder and what can be done with it: planned, run here or on a cluster, watched, cancelled, predicted from."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ladder.cluster import Cluster, visible_gpus
from ladder.data import Mix, check_data, open_data
from ladder.errors import UserError
from ladder.forecast import Forecast
from ladder.history import at_work
from ladder.identity import check_identity, run_identity
from ladder.jobs import (
    PREDICT,
    Job,
    is_helper,
    measuring_jobs,
    patience_hours,
    prediction_job,
    to_train,
    training_job,
)
from ladder.local import LocalRun, check_affordable
from ladder.locks import exclusive, lock_holder
from ladder.plan import Plan, make_plan
from ladder.processes import process_lives
from ladder.rundir import LadderDirectory, find_runs
from ladder.rung import Ladder, Rung, Target
from ladder.settings import Config
from ladder.show import size
from ladder.slurm import accelerate_line, cancel, queue_of, script, submit_ladder
from ladder.status import LadderStatus, QueuedJob, ladder_status, measured_mfu

LAUNCHER = "python -m ladder run"
CANCEL_SECONDS = 700  # a launcher waits 600 for its trainers to save


@dataclass(frozen=True, kw_only=True)
class Launch:
    """`rungs` are the chosen ones of `ladder`, which may be fewer; `overrides` are handed on to the stages."""

    config: Config
    overrides: tuple[str, ...]
    ladder: Ladder
    rungs: tuple[Rung, ...]

    @property
    def directory(self) -> LadderDirectory:
        return LadderDirectory(self.config.directory)

    @property
    def cluster(self) -> Cluster:
        return self.config.cluster

    @functools.cached_property
    def devices(self) -> list[str]:
        return visible_gpus()

    @property
    def whole(self) -> bool:
        """Whether all rungs of the ladder are chosen, so that a prediction can follow."""
        return {rung.name for rung in self.rungs} == {rung.name for rung in self.ladder.rungs}

    @property
    def gpus_each(self) -> int:
        """What `cluster.gpus=auto` gives a training: this machine's, but those kept for evaluators."""
        return max(0, len(self.devices) - self.cluster.evaluators)

    def plan(self) -> Plan:
        return make_plan(
            self.ladder,
            self.rungs,
            self.target,
            self.cluster,
            gpus_here=self.gpus_each,
            train=self.config.train,
            evaluation_tokens=self.config.suite_plan.forward_tokens or 0.0,
            measured_mfu=measured_mfu(ladder_status(self.directory, self.rungs)).get,
        )

    def jobs(self, queue: Mapping[str, QueuedJob] | None = None) -> list[Job]:
        """What is missing, as jobs; each follows those it waits for. What the `queue` trains is measured too."""
        statuses = ladder_status(self.directory, self.rungs)
        queued = [name for name in queue or {} if not is_helper(name)]
        names = list(dict.fromkeys([*(rung.name for rung in self.rungs), *queued]))
        plan, rungs = self.plan(), to_train(statuses)
        jobs = [self._training(rung, rungs, plan) for rung in rungs]
        if any(status.state != "done" for status in statuses):
            jobs += measuring_jobs(
                self.directory,
                names,
                self.overrides,
                gpu=bool(self.devices or self.cluster.slurm) and self._uses_gpus,
                count=self.cluster.evaluators if rungs else 0,
                patience=patience_hours(plan),
            )
        if (self.whole and (jobs or not self.forecast.made())) or (jobs and PREDICT in (queue or {})):
            jobs.append(prediction_job(self.directory, names, self.overrides))
        return jobs

    def _training(self, rung: Rung, rungs: Sequence[Rung], plan: Plan) -> Job:
        gpus = self.cluster.gpus_of(rung, self.gpus_each) if self._uses_gpus else 0
        job = training_job(self.config, self.overrides, rung, plan, self.directory, gpus)
        if rung.hparams.schedule != "wsd":
            return job
        # The shorter runs of a WSD size branch off the longer one, which saves the states they start from.
        longer = [other for other in rungs if other.size == rung.size and other.multiple > rung.multiple]
        return replace(job, after=tuple(other.name for other in longer))

    @property
    def _uses_gpus(self) -> bool:
        return any(self.cluster.gpus_of(rung, self.gpus_each) for rung in self.rungs)

    def dry_run(self) -> str:
        """The sbatch scripts, where the cluster is SLURM, and the lines that start the same jobs by hand."""
        jobs = self.jobs()
        if not jobs:
            return "nothing to do: everything is trained and measured"
        lines = [accelerate_line(job, self.cluster.nodes_of(job.gpus)) for job in jobs]
        by_hand = ["# the same by hand, or for another scheduler", *lines]
        if not self.cluster.slurm:
            return "\n".join(by_hand)
        names = [job.name for job in jobs]
        scripts = [f"# {job.name}\n{script(self.directory, self.cluster, job, names)}" for job in jobs]
        note = "# What python -m ladder run submits; the pickled job that a script reads is written then.\n"
        return "\n".join([note, *scripts, *by_hand])

    def run(self, report: Callable[[str], None]) -> None:
        """Starts what is missing and, on this machine, stays until it has ended.

        Raises:
            UserError: a second launcher, runs begun with another configuration, no GPU for a ladder that needs one,
                data or disk that do not suffice, jobs that failed or that SLURM rejects.
        """
        if not self.cluster.slurm:
            check_affordable(to_train(ladder_status(self.directory, self.rungs)), len(self.devices))
            self._check_devices()
        check_data(self.config.data, self.rungs)  # one clear error instead of one per rung
        self._check_identities(open_data(self.config.data))
        self._check_disk()
        with exclusive(self.directory.path, LAUNCHER):
            queue = self._queue()
            if queue and not self.cluster.slurm:
                raise UserError(
                    f"SLURM has {len(queue)} jobs of {self.directory.path} ({', '.join(queue)}): add cluster=slurm, or "
                    "end them with python -m ladder cancel cluster=slurm"
                )
            jobs = self.jobs(queue)
            done = sum(status.state == "done" for status in ladder_status(self.directory, self.rungs))
            if done:
                report(f"{done} of {len(self.rungs)} runs are already done")
            if self.cluster.slurm and jobs:
                submit_ladder(self.directory, self.cluster, jobs, queue, report)
                report("see where they stand: python -m ladder status --watch " + shlex.join(self.overrides))
                return
            LocalRun(self.directory, self.cluster, self.rungs, self.devices, report).run(jobs)
        if points := [point for rung in self.rungs if (point := self.forecast.missing(rung))]:
            raise UserError(f"{self.directory.path} is not complete, and what is missing cannot be made: {points[0]}")
        if self.whole:
            report(self.forecast.describe())

    def _check_identities(self, mix: Mix | None) -> None:
        """Raises UserError where a run that is there was begun with another configuration."""
        for rung in self.rungs:
            check_identity(self.directory.run(rung.name), run_identity(self.config, rung, mix))

    def _queue(self) -> dict[str, QueuedJob]:
        """SLURM's jobs of this ladder; where the cluster is not SLURM, a SLURM that does not answer has none."""
        try:
            return queue_of(self.directory)
        except UserError:
            if self.cluster.slurm:
                raise
            return {}

    def _check_devices(self) -> None:
        if not self.devices:
            return
        if self.cluster.evaluators >= len(self.devices):
            raise UserError(
                f"cluster.evaluators={self.cluster.evaluators} leaves no GPU of this machine's {len(self.devices)} "
                "for training; set it to 0 and trainings measure their own checkpoints"
            )
        for rung in self.rungs:
            wanted = self.cluster.gpus_of(rung, self.gpus_each)
            if wanted > self.gpus_each:
                raise UserError(
                    f"cluster.gpus: {rung.name} is to have {wanted} GPUs, here are {self.gpus_each} for training"
                )
            if wanted > 1 and isinstance(self.cluster.parallel, int) and self.cluster.parallel > len(self.devices):
                raise UserError(
                    f"cluster.parallel={self.cluster.parallel} shares {len(self.devices)} GPUs, and {rung.name} is to "
                    f"have {wanted} of its own: set cluster.gpus=1 or a lower cluster.parallel"
                )

    def _check_disk(self) -> None:
        """Refuses a ladder whose checkpoints do not fit, before hours are spent on the part that does."""
        missing = {rung.name for rung in to_train(ladder_status(self.directory, self.rungs))}
        plan = self.plan()
        needed = sum(rung.weights_bytes + rung.resume_bytes for rung in plan.rungs if rung.rung in missing)
        written = sum(_bytes_in(self.directory.run(name).path) for name in missing)
        place = self.directory.path.absolute()
        free = shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free
        if needed - written > free:
            raise UserError(
                f"{self.directory.path} needs {size(needed - written)} for checkpoints and resume states, its disk has "
                f"{size(free)} free; free space, choose another runs_dir, or set train.keep_checkpoints=2 or "
                "train.weights=bf16"
            )

    def status(self) -> LadderStatus:
        """From files first; the queue, where the cluster has one, says what they cannot."""
        note, incomplete = "", False
        try:
            queue = self._queue()
        except UserError as error:
            queue, note = {}, f"from files alone: {error}"
        try:
            self._check_identities(None)
        except UserError as error:
            note, incomplete = note or str(error), True
        statuses = ladder_status(self.directory, self.rungs, queue)
        if self.whole and all(status.state == "done" for status in statuses):
            note = note or self.forecast.describe()
            incomplete = incomplete or not self.forecast.made()
        holder = lock_holder(self.directory.path)
        here = holder is not None and holder[1] == platform.node()
        return LadderStatus(runs=statuses, at_work=bool(queue) or here, note=note, incomplete=incomplete)

    @functools.cached_property
    def target(self) -> Target:
        return self.config.chosen_target(self.ladder)

    @functools.cached_property
    def forecast(self) -> Forecast:
        return Forecast(self.directory, self.ladder, self.rungs, self.target, self.config.target.method)

    def cancel(self) -> None:
        """Ends the launcher of this machine and its trainings, or takes the chosen rungs' jobs out of SLURM's queue.

        Raises:
            UserError: the launcher is on another machine, does not end, or only a part of it was meant.
        """
        if queue := self._queue():
            names = {rung.name for rung in self.rungs}
            others_left = any(name not in names and not is_helper(name) for name in queue)
            chosen = {name for name in queue if name in names or (is_helper(name) and not others_left)}
            cancel(queue[name].id for name in chosen)
            print(f"cancelled {len(chosen)} of {len(queue)} jobs; those that ran save their state first")
            return
        holder = lock_holder(self.directory.path)
        if holder and holder[1] != platform.node():
            raise UserError(f"{self.directory.path}: the launcher is process {holder[0]} on {holder[1]}: cancel there")
        runs = find_runs(self.directory.path) if self.directory.path.is_dir() else []
        trainers = {run.name: pid for run in runs if (pid := at_work(run))}
        if others := sorted(set(trainers) - {rung.name for rung in self.rungs}):
            raise UserError(
                f"cancel ends all that runs here, also {', '.join(others)}; leave out --sizes, --multiples and rung"
            )
        processes = [holder[0]] if holder else list(trainers.values())
        for process in processes:
            os.kill(process, signal.SIGTERM)
        if not processes:
            print(f"nothing runs in {self.directory.path}")
            return
        listed = ", ".join(map(str, processes))
        print(f"process {listed} was asked to end; trainers finish their step and save", flush=True)
        deadline = time.monotonic() + CANCEL_SECONDS
        while any(map(process_lives, processes)):
            if time.monotonic() > deadline:
                raise UserError(f"process {listed} did not end in {CANCEL_SECONDS} s")
            time.sleep(0.1)

    def predict(self) -> None:
        """Predicts the target from the ladder, if that has not been done.

        Raises:
            UserError: points are missing, or the runs are not of one configuration.
        """
        self._check_identities(None)
        self.forecast.make()
        print(self.forecast.describe())


def _bytes_in(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # thinned out just now
            total += path.stat().st_size
    return total
