"""One ladder and what can be done with it: planned, run here or on a cluster, watched, cancelled, predicted from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ladder.config.cluster import Cluster
from ladder.config.data import check_data, missing_data, open_data
from ladder.config.settings import Config
from ladder.errors import UserError
from ladder.files.locks import exclusive
from ladder.jobs.cancel import cancel_here, cancel_queued
from ladder.jobs.forecast import LadderForecast
from ladder.jobs.jobs import Job, measuring_jobs, patience_hours, prediction_job, training_job
from ladder.jobs.local import LocalRun
from ladder.jobs.preflight import (
    check_affordable,
    check_context,
    check_devices,
    check_disk,
    check_identities,
    check_names,
    check_suite,
    check_target,
)
from ladder.jobs.slurm import accelerate_line, script, submit_ladder
from ladder.jobs.snapshot import Snapshot, take_snapshot
from ladder.process.gpus import visible_gpus
from ladder.rungs.rung import Ladder, Rung, Target
from ladder.runs.adopt import adopt
from ladder.runs.identity import OtherSettings
from ladder.runs.plan import Costs, Plan, make_plan
from ladder.runs.queue import JobKind
from ladder.runs.rundir import LadderDirectory
from ladder.runs.status import LadderStatus
from ladder.words import count_of

LAUNCHER = "python -m ladder run"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """`rungs` are the chosen ones of `ladder`, which may be fewer; `overrides` are handed on to the stages."""

    config: Config
    overrides: tuple[str, ...]
    ladder: Ladder
    rungs: tuple[Rung, ...]

    @functools.cached_property
    def entries(self) -> dict[str, str]:
        """The suite's, by hash."""
        return self.config.suite.entries()

    @property
    def directory(self) -> LadderDirectory:
        return LadderDirectory(self.config.directory, self.entries)

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

    @functools.cached_property
    def target(self) -> Target:
        return self.config.chosen_target(self.ladder)

    @functools.cached_property
    def forecast(self) -> LadderForecast:
        return LadderForecast(
            self.directory,
            self.ladder,
            self.rungs,
            self.target,
            self.config.target.method,
            self.config.suite.measured_entries(),
        )

    def snapshot(self) -> Snapshot:
        """The ladder as it stands. Raises UserError where the cluster is SLURM and its queue does not answer."""
        snapshot = self.files()
        if snapshot.silent and self.cluster.slurm:
            raise snapshot.silent
        return snapshot

    def files(self) -> Snapshot:
        """The same without a queue that has to answer."""
        return take_snapshot(self.directory, self.rungs)

    def plan(self, snapshot: Snapshot) -> Plan:
        costs = Costs(
            cluster=self.cluster,
            gpus_here=self.gpus_each,
            train=self.config.train,
            evaluation_tokens=self.config.suite.forward_tokens or 0.0,
            measured_mfu=snapshot.measured_mfu,
        )
        return make_plan(self.ladder, self.rungs, self.target, costs)

    def jobs(self, snapshot: Snapshot) -> list[Job]:
        """What is missing, as jobs; each follows those it waits for. What the queue trains is measured too."""
        names = list(dict.fromkeys([*(rung.name for rung in self.rungs), *snapshot.queued_trainings]))
        plan, rungs = self.plan(snapshot), snapshot.to_train
        jobs = [self._training(rung, rungs, plan) for rung in rungs]
        if snapshot.done < len(self.rungs):
            jobs += measuring_jobs(
                self.directory,
                names,
                parameters=max(rung.shape.total_parameters for rung in self.rungs),
                gpu=bool(self.devices or self.cluster.slurm) and self._uses_gpus,
                count=self.cluster.evaluators if rungs else 0,
                patience=patience_hours(plan),
            )
        if (self.whole and (jobs or not self.forecast.made())) or (jobs and JobKind.PREDICT in snapshot.queue):
            jobs.append(prediction_job(self.directory, names, self.overrides))
        return jobs

    def _training(self, rung: Rung, rungs: Sequence[Rung], plan: Plan) -> Job:
        gpus = self.cluster.gpus_of(rung, self.gpus_each) if self._uses_gpus else 0
        job = training_job(self.config, self.overrides, rung, plan, self.directory, gpus)
        if rung.hparams.schedule != "wsd" or rung.variation.tag:
            return job
        # The shorter runs of a WSD size branch off the longer one, which saves the states they start from.
        longer = [
            other
            for other in rungs
            if other.size == rung.size and other.multiple > rung.multiple and not other.variation.tag
        ]
        return replace(job, after=tuple(other.name for other in longer))

    @property
    def _uses_gpus(self) -> bool:
        return any(self.cluster.gpus_of(rung, self.gpus_each) for rung in self.rungs)

    def dry_run(self) -> str:
        """The sbatch scripts, where the cluster is SLURM, and the lines that start the same jobs by hand."""
        jobs = self.jobs(self.files())
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

    def run(self, report: Callable[[str], None]) -> bool:
        """Starts what is missing and, on this machine, stays until it has ended; `check` comes before.

        Returns:
            False where it is in SLURM's queue now, so that nothing has ended yet.

        Raises:
            UserError: a second launcher, jobs that failed or that SLURM rejects.
        """
        with exclusive(self.directory.path, LAUNCHER):
            snapshot = self.snapshot()
            if snapshot.queue and not self.cluster.slurm:
                raise UserError(
                    f"SLURM has {count_of(len(snapshot.queue), 'job')} of {self.directory.path} "
                    f"({', '.join(snapshot.queue)}): add cluster=slurm, or end them with "
                    "python -m ladder cancel cluster=slurm"
                )
            for rung in self.rungs:
                adopt(self.config, self.directory.run(rung.name))
            jobs = self.jobs(snapshot)
            if snapshot.done:
                report(f"{snapshot.done} of {len(self.rungs)} runs are already done")
            if snapshot.outdated:
                report(f"{self._outdated(snapshot)}: what is new or changed in it is measured")
            if self.cluster.slurm and jobs:
                submit_ladder(self.directory, self.cluster, jobs, snapshot.queue, report)
                return False
            LocalRun(self.directory, self.cluster, self.rungs, self.devices, report, snapshot.done).run(jobs)
        if points := [point for rung in self.rungs if (point := self.forecast.missing(rung))]:
            raise UserError(f"{self.directory.path} is not complete, and what is missing cannot be made: {points[0]}")
        if self.whole:
            report(self.forecast.describe())
        return True

    def check(self) -> None:
        """One clear error instead of one per rung, before anything is written.

        Raises:
            UserError: runs begun with another configuration, no GPU for a ladder that needs one, data, suite or disk
                that do not suffice.
        """
        snapshot = self.snapshot()
        if not self.cluster.slurm:
            check_affordable(snapshot.to_train, len(self.devices))
            check_devices(self.cluster, self.rungs, len(self.devices))
        self._check_inputs()
        check_disk(self.directory, self.plan(snapshot), snapshot.to_train)

    def _check_plan(self) -> None:
        """What does not depend on files."""
        if self.whole:
            check_target(self.target, self.rungs)
        check_names(self.config.suite)
        check_context(self.config.suite, self.ladder.recipe.sequence_length)

    def _check_inputs(self) -> None:
        self._check_plan()
        check_data(self.config.data, self.rungs)
        check_suite(self.config.suite)
        check_identities(self.config, self.directory, self.rungs, open_data(self.config.data))

    def check_prepared(self) -> str:
        """The same refusals for whoever only looks, on any machine; where the data is not prepared yet, that it is not.

        Raises:
            UserError: as `run`, for data, suite, and runs that are there.
        """
        self._check_plan()
        if absent := missing_data(self.config.data):
            return f"{absent} is not prepared yet: its amount and the suite's files are not checked"
        self._check_inputs()
        return ""

    def status(self) -> LadderStatus:
        """From files first; the queue, where the cluster has one, says what they cannot."""
        snapshot = self.files()
        note = f"from files alone: {snapshot.silent}" if snapshot.silent and self.cluster.slurm else ""
        incomplete, others = False, set()
        for rung in self.rungs:
            try:
                check_identities(self.config, self.directory, [rung], None)
            except UserError as error:
                note, incomplete = note or str(error), True
                others |= {rung.name} if isinstance(error, OtherSettings) else set()
        if snapshot.outdated:
            note = note or f"{self._outdated(snapshot)}: python -m ladder run measures what is new or changed in it"
        if self.whole and snapshot.done == len(self.rungs):
            note = note or self.forecast.describe()
            incomplete = incomplete or not self.forecast.made()
        runs = [replace(run, other_settings=run.rung.name in others) for run in snapshot.runs]
        return LadderStatus(runs=runs, at_work=snapshot.at_work, note=note, incomplete=incomplete)

    def _outdated(self, snapshot: Snapshot) -> str:
        return (
            f"{count_of(snapshot.outdated, 'checkpoint')} measured with another suite than "
            f"{self.config.suite.name} now is"
        )

    def cancel(self) -> None:
        """Ends the launcher of this machine and its trainings, or takes the chosen rungs' jobs out of SLURM's queue."""
        snapshot = self.snapshot()
        if snapshot.queue:
            cancel_queued(snapshot, self.rungs)
        else:
            cancel_here(self.directory, snapshot, self.rungs)

    def predict(self) -> None:
        """Predicts the target from the ladder, if that has not been done.

        Raises:
            UserError: points are missing, or the runs are not of one configuration.
        """
        check_identities(self.config, self.directory, self.rungs, None)
        self.forecast.make()
        print(self.forecast.describe())
