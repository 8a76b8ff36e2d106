"""One ladder and what can be done with it: planned, run here or on a cluster, watched, cancelled, predicted from."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from ladder.cluster import Cluster, cluster_from_config, visible_gpus
from ladder.config import ladder_directory, load_target
from ladder.data import check_data
from ladder.errors import UserError
from ladder.files import exclusive, lock_holder, write_text
from ladder.history import process_lives
from ladder.jobs import PREDICT, Job, last_line, measuring_jobs, patience_hours, prediction_job, to_train, training_job
from ladder.local import LocalRun, check_affordable
from ladder.plan import Plan, make_plan, size
from ladder.rundir import LadderDirectory
from ladder.rung import Ladder, Rung
from ladder.slurm import accelerate_line, cancel, queue_of, script, submit_ladder
from ladder.status import LadderStatus, ladder_status, measured_mfu

LAUNCHER = "python -m ladder run"
CANCEL_SECONDS = 700  # a launcher waits 600 for its trainers to save


@dataclass(frozen=True, kw_only=True)
class Launch:
    """`rungs` are the chosen ones of `ladder`, which may be fewer; `overrides` are handed on to the stages."""

    config: DictConfig
    overrides: tuple[str, ...]
    ladder: Ladder
    rungs: tuple[Rung, ...]

    @property
    def directory(self) -> LadderDirectory:
        return LadderDirectory(ladder_directory(self.config))

    @functools.cached_property
    def cluster(self) -> Cluster:
        return cluster_from_config(self.config, self.ladder.sizes | self.ladder.larger_sizes)

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
            self.ladder.name,
            self.rungs,
            load_target(self.config.target.name, self.ladder),
            self.cluster,
            gpus_here=self.gpus_each,
            train=self.config.train,
            evaluation_tokens=float(self.config.suite.get("forward_tokens") or 0),
            measured_mfu=measured_mfu(ladder_status(self.directory, self.rungs)).get,
        )

    def jobs(self) -> list[Job]:
        """What is missing, as jobs; each follows those it waits for."""
        statuses = ladder_status(self.directory, self.rungs)
        names = [rung.name for rung in self.rungs]
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
        if self.whole and (jobs or not self._predicted()):
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
        parts = []
        if self.cluster.slurm:
            names = [job.name for job in jobs]
            parts = [f"# {job.name}\n{script(self.directory, self.cluster, job, names)}" for job in jobs]
        lines = [f"{accelerate_line(job, self.cluster.nodes_of(job.gpus))}" for job in jobs]
        return "\n".join([*parts, "# the same by hand, or for another scheduler", *lines])

    def run(self, report: Callable[[str], None]) -> None:
        """Starts what is missing and, on this machine, stays until it has ended.

        Raises:
            UserError: a second launcher, no GPU for a ladder that needs one, data or disk that do not suffice, jobs
                that failed or that SLURM rejects.
        """
        if not self.cluster.slurm:
            check_affordable(self.rungs, len(self.devices))
            self._check_devices()
        check_data(self.config.data, self.rungs)  # one clear error instead of one per rung
        self._check_disk()
        with exclusive(self.directory.path, LAUNCHER):
            jobs = self.jobs()
            done = sum(status.state == "done" for status in ladder_status(self.directory, self.rungs))
            if done:
                report(f"{done} of {len(self.rungs)} runs are already done")
            if self.cluster.slurm and jobs:
                submit_ladder(self.directory, self.cluster, jobs, report)
                report("see where they stand: python -m ladder status --watch " + shlex.join(self.overrides))
                return
            LocalRun(self.directory, self.cluster, self.rungs, self.devices, report).run(jobs)
        if self.whole:
            report(self._prediction())

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
        try:
            queue = queue_of(self.directory) if self.cluster.slurm else {}
            note = ""
        except UserError as error:
            queue, note = {}, f"from files alone: {error}"
        statuses = ladder_status(self.directory, self.rungs, queue)
        if self.whole and not note and all(status.state == "done" for status in statuses):
            note = self._prediction()
        at_work = bool(queue) or lock_holder(self.directory.path) is not None
        return LadderStatus(runs=statuses, at_work=at_work, note=note)

    @property
    def _target(self) -> str:
        return str(self.config.target.name)

    def _predicted(self) -> bool:
        """Whether the prediction is there and newer than every measurement that it rests on."""
        path = self.directory.prediction(self._target)
        measured = [file for rung in self.rungs for file in self.directory.run(rung.name).metrics_files()]
        return path.exists() and all(file.stat().st_mtime <= path.stat().st_mtime for file in measured)

    def _prediction(self) -> str:
        """Where the prediction is; where there is none, what its job said."""
        if self._predicted():
            report = self.directory.report(self._target)
            return f"prediction for {self._target}: {self.directory.prediction(self._target)}, {report}/report.html"
        said = last_line(self.directory.jobs / f"{PREDICT}.txt")
        return f"no prediction for {self._target} yet{f', its job said: {said}' if said else ''}"

    def cancel(self) -> None:
        """Ends the launcher of this machine, or takes the chosen rungs' jobs out of SLURM's queue.

        Raises:
            UserError: the launcher is on another machine, or does not end.
        """
        if self.cluster.slurm:
            names = {rung.name for rung in self.rungs}
            queue = queue_of(self.directory)
            others = {name for name in queue if name not in {rung.name for rung in self.ladder.rungs}}
            chosen = [job for name, job in queue.items() if name in names or (self.whole and name in others)]
            cancel(job.id for job in chosen)
            print(f"{len(chosen)} jobs cancelled; what they trained is saved, python -m ladder run goes on")
            return
        holder = lock_holder(self.directory.path)
        if holder is None:
            print(f"nothing runs in {self.directory.path}")
            return
        process, host = holder
        if host != socket.gethostname():
            raise UserError(f"{self.directory.path}: the launcher is process {process} on {host}; cancel it there")
        os.kill(process, signal.SIGTERM)
        print(f"process {process} was asked to end; its trainers finish their step and save", flush=True)
        deadline = time.monotonic() + CANCEL_SECONDS
        while process_lives(process):
            if time.monotonic() > deadline:
                raise UserError(f"process {process} did not end in {CANCEL_SECONDS} s")
            time.sleep(0.1)

    def predict(self) -> None:
        """Predicts the target from the ladder: numbers as JSON, and the report. Does nothing where that is up to date.

        Raises:
            UserError: a run is not trained or a checkpoint not measured; each is listed.
        """
        target, method = self._target, str(self.config.target.get("method", "default"))
        points = [point for rung in self.rungs if (point := self._missing(rung))]
        if points:
            raise UserError(f"cannot predict {target} yet, missing: {'; '.join(points)}")
        if not self._predicted():
            words = [
                *("--ladder", str(self.directory.path), "--target", target, "--method", method),
                *("--sizes", ",".join(dict.fromkeys(rung.size for rung in self.rungs))),
                *("--multiples", ",".join(dict.fromkeys(f"{rung.multiple:g}" for rung in self.rungs))),
            ]
            numbers = _stage("predict", *words, "--json")
            _stage("predict", "report", *words, "--output", str(self.directory.report(target)))
            write_text(self.directory.prediction(target), numbers)
        print(self._prediction())

    def _missing(self, rung: Rung) -> str:
        run = self.directory.run(rung.name)
        if rung.hparams.total_steps not in run.checkpoint_steps() and not run.measured_steps():
            return f"{rung.name} (not trained)"
        measured = set(run.measured_steps())
        steps = [step for step in rung.hparams.checkpoint_steps if step not in measured]
        listed = ", ".join(map(str, steps[:5])) + (", …" if len(steps) > 5 else "")
        return f"{rung.name} ({len(steps)} of {len(rung.hparams.checkpoint_steps)} steps: {listed})" if steps else ""


def _stage(*words: str) -> str:
    """What `python -m WORDS` prints; its error is raised as ours."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    if done.returncode:
        raise UserError((done.stderr.strip().splitlines() or [f"{words[0]} failed"])[-1].removeprefix("error: "))
    return done.stdout


def _bytes_in(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
