"""A ladder's measurements, ready to fit: its rungs, its tasks, what a run costs, and what limits any fit to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ladder.config.settings import Smoothing, TargetSettings
from ladder.errors import UserError, shortened, unknown
from ladder.rungs.rung import Ladder, Target
from ladder.words import count_of
from predict.measured import described
from predict.measured.loss_tasks import LossTask, loss_tasks
from predict.measured.runs import Run, accuracy_curve
from predict.measured.same import levels, same, same_point
from predict.measured.tasks import Measurements, Task, tasks_of
from predict.notes import Note, each_once, note, warning

TWIN = 0.1  # of D, at the target's N: its other variants, such as an anneal, give it away
MINIMUM_RUNGS = 3
FEW_RUNGS = 5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What can be predicted of a ladder: tasks by their accuracy, and losses that have none."""

    tasks: list[Task]
    losses: list[LossTask]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`rungs` are what a fit may use, by N and then D; `runs` is everything that was read.

    `measured` has the accuracy of guessing (NaN where unknown) and the number of questions of each (task, split);
    `target` is what the ladder was made for, `origin` says whose measurements they are, `notes` what there is to know
    about them.
    """

    name: str
    source: str
    rungs: tuple[Run, ...]
    runs: tuple[Run, ...]
    measured: Measurements
    smoothing: Smoothing
    ladder: Ladder | None = None
    target: TargetSettings | None = None
    origin: str = ""
    notes: tuple[Note, ...] = ()

    def __repr__(self) -> str:
        return described.in_a_line(self)

    def _repr_html_(self) -> str:
        return described.as_html(self)

    def task_names(self) -> list[str]:
        """Every task with an accuracy, by its plain name."""
        return list(tasks_of(self.measured).plain)

    def tasks(self, names: Iterable[str] = ()) -> list[Task]:
        """The tasks called `names`, or every task; without those that some rung lacks.

        `warnings(names)` says which are left out.

        Raises:
            UserError: a name that was not measured, an accuracy of guessing that is not known, or no task left.
        """
        asked = self._asked(names)
        if not asked:
            raise UserError(f"{self.source} holds no accuracy (rc_acc) of what is asked for, which this needs")
        if unknown_chance := [task.name for task in asked if not task.chance_known]:
            raise UserError(
                f"{self.source}: the accuracy of guessing (chance) is not known for "
                f"{shortened(', '.join(unknown_chance), 80)}; give it in a column chance, as tasks: in a --mapping "
                f"file (python -m predict collect --help), or leave the task out with --tasks"
            )
        complete = [task for task in asked if self.everywhere(task, "rc_acc")]
        if not complete:
            lacking = self._lacking(asked[0], "rc_acc")
            raise UserError(
                f"{self.source}: every task lacks rc_acc in some rung; {asked[0].name} in "
                f"{shortened(', '.join(lacking), 80)}"
            )
        return complete

    def asked(self, names: Iterable[str] = ()) -> Asked:
        """What to predict where `names` are asked for, or everything: tasks, and losses without an accuracy that every
        rung has.

        Raises:
            UserError: as `tasks`, where it is not losses alone that are asked for or were measured.
        """
        names, losses = list(names), self._losses()
        accuracies = [name for name in names if name not in losses]
        complete = [one for one in self.losses() if one.name in names or not names]
        if names and not accuracies and not complete:
            raise UserError(f"{self.source}: some rung lacks the loss of {shortened(', '.join(names), 80)}")
        some = bool(accuracies) if names else bool(self.task_names()) or not complete
        return Asked(tasks=self.tasks(accuracies) if some else [], losses=complete)

    def losses(self) -> list[LossTask]:
        """What has a loss and no accuracy, where every rung has it."""
        return [one for one in self._losses().values() if all(one.measured(run) for run in self.rungs)]

    def _losses(self) -> dict[str, LossTask]:
        return loss_tasks(self.rungs, self.measured)

    def every_task(self) -> list[Task]:
        """Without those that cannot be predicted."""
        tasks = tasks_of(self.measured).plain.values()
        return [task for task in tasks if task.chance_known and self.everywhere(task, "rc_acc")]

    def tasks_of_some(self, names: Iterable[str] = ()) -> list[Task]:
        """The tasks called `names`, or every task: those that can be predicted and that some rung has.

        Raises UserError for a name that was not measured.
        """
        return [
            task
            for task in self._asked(names)
            if task.chance_known and any(run.has(task, "rc_acc") for run in self.rungs)
        ]

    def _asked(self, names: Iterable[str]) -> list[Task]:
        """Without losses that have no accuracy, if any of `names` is one."""
        names, tasks, losses = list(names), tasks_of(self.measured), self._losses()
        for name in names:
            if name not in tasks.all and name not in losses:
                raise unknown(f"task of {self.source}", name, [*tasks.plain, *losses])
        return list(dict.fromkeys(tasks.all[name] for name in (names or tasks.plain) if name in tasks.all))

    def flops(self, n: float, d: float) -> float:
        """Training FLOPs: 6N + attention + 4 · head per token where the ladder knows the shape, else 6ND.

        That per-token sum reproduces the constants behind the paper's FLOPs analyses (section 6.1) exactly.
        """
        if self.ladder is None:
            return 6.0 * n * d
        for shape in (self.ladder.sizes | self.ladder.larger_sizes).values():
            if same(shape.n, n):
                attention = shape.flops_per_token_with_attention(self.ladder.recipe.sequence_length)
                return d * (attention + 4 * shape.head_parameters)
        return 6.0 * n * d

    def at(self, target: Target) -> Run | None:
        """The finished run that is the target, if it was measured."""
        runs = [
            run
            for run in self.runs
            if same_point((run.n, run.d), (target.n, target.d)) and run.finished and not run.tag
        ]
        return min(runs, key=lambda run: abs(run.d - target.d), default=None)

    def below(self, target: Target, at_least: int = MINIMUM_RUNGS) -> Measured:
        """Without the target's own run and its variants, and where no ladder names the rungs without costlier runs."""
        others = [run for run in self.rungs if not is_variant(run, target)]
        keep = [run for run in others if self.ladder is not None or run.compute < target.flops_6nd]
        notes = list(self.notes)
        if dear := [run.name for run in others if run not in keep]:
            notes.append(note("dearer-runs", runs=dear, target=target.name))
        if self.ladder is not None:
            names = {run.name for run in self.rungs}
            others = [run for run in self.runs if run.name not in names and not run.swept]
            left = [run for run in others if not is_variant(run, target)]
            if cheap := [run.name for run in left if run.compute < target.flops_6nd]:
                notes.append(note("no-rungs", runs=cheap, count=len(cheap), ladder=self.ladder.name))
        if len(keep) < at_least <= len(keep) + len(dear):
            raise UserError(
                f"{self.source}: target {target.name} takes no more compute than {len(dear)} of "
                f"{count_of(len(others), 'run')}, which leaves {len(keep)} to fit, and {at_least} are needed; "
                "give a larger target"
            )
        return replace(self, rungs=tuple(keep), notes=tuple(each_once(notes))).checked(at_least)

    def narrowed(self, names: Iterable[str] = ()) -> Measured:
        """Where every task lacks some rung: the rungs that have the task, of those called `names`, that most have."""
        asked = self._asked(names)
        if not asked or any(self.everywhere(task, "rc_acc") for task in asked):
            return self
        lacking = {task.name: self._lacking(task, "rc_acc") for task in asked}
        best = min(asked, key=lambda task: len(lacking[task.name]))
        left = warning("rungs-incomplete", runs=lacking[best.name], tasks=[best.name])
        rungs = tuple(run for run in self.rungs if run.has(best, "rc_acc"))
        return replace(self, rungs=rungs, notes=(*self.notes, left)).checked()

    def checked(self, at_least: int = MINIMUM_RUNGS) -> Measured:
        """Raises UserError where there are too few rungs to fit."""
        if len(self.rungs) < at_least:
            names = shortened(", ".join(run.name for run in self.rungs) or "none", 80)
            raise UserError(
                f"{self.source}: {count_of(len(self.rungs), 'rung')} to fit ({names}), at least {at_least} are needed; "
                f"train and evaluate more, or widen --sizes and --multiples"
            )
        return self

    def actual(self, target: Target, task: Task, count: int) -> float | None:
        """Measured accuracy of the target: the mean of its last `count` checkpoints; None where it lacks the end."""
        run = self.at(target)
        if run is None or not run.has(task, "rc_acc"):
            return None
        return run.final(accuracy_curve(run, task), count)

    def repeated(self) -> list[tuple[Run, Run]]:
        """Rungs, each with a run that repeats it."""
        return [(rung, other) for rung in self.rungs for other in self.runs if other.repeats(rung)]

    def everywhere(self, task: Task, metric: str) -> bool:
        """Whether every rung has that measurement."""
        return all(run.has(task, metric) for run in self.rungs)

    def _lacking(self, task: Task, metric: str) -> list[str]:
        return [run.name for run in self.rungs if not run.has(task, metric)]

    def warnings(self, names: Iterable[str] = ()) -> list[Note]:
        """What limits every fit on this ladder, and what is left out of it where the tasks `names` are asked for."""
        notes = list(self.notes)
        if len(self.rungs) < FEW_RUNGS:
            notes.append(warning("few-rungs", count=len(self.rungs)))
        for what, values in (
            ("size", levels(run.n for run in self.rungs)),
            ("number of tokens", levels(run.d for run in self.rungs)),
            ("multiple", levels(run.multiple for run in self.rungs)),
        ):
            if len(values) == 1:
                notes.append(warning("one-value", what=what))
        unfinished = [run.name for run in self.rungs if not run.finished]
        if unfinished:
            notes.append(warning("unfinished", runs=unfinished))
        return notes + self._left_out(list(names))

    def _left_out(self, names: Sequence[str]) -> list[Note]:
        asked = self._asked(names)
        notes = [warning("task-incomplete", **facts) for facts in self._gaps(asked, "rc_acc")]
        for loss in self._losses().values():
            if lacking := [run.name for run in self.rungs if not loss.measured(run)]:
                notes += [warning("task-incomplete", tasks=[loss.name], runs=lacking)] if loss.name in names else []
        tasks = [task for task in asked if self.everywhere(task, "rc_acc")]
        notes += [warning("task-loss-incomplete", **facts) for facts in self._gaps(tasks, "rc_bpb")]
        for task in tasks:
            if early := [run.name for run in self.rungs if not run.reached_by(accuracy_curve(run, task))]:
                notes.append(warning("measured-early", tasks=[task.name], runs=early))
        losses = [set(run.lm_losses()) for run in self.rungs]
        if losses and set.union(*losses) and not set.intersection(*losses):
            without = [run.name for run in self.rungs if not run.lm_losses()]
            notes.append(warning("lm-loss-incomplete", runs=without or [run.name for run in self.rungs]))
        return notes

    def _gaps(self, tasks: Sequence[Task], metric: str) -> list[dict[str, list[str]]]:
        """Tasks that some rungs have and others lack, with the rungs that lack them; those of the same together."""
        by_runs: dict[tuple[str, ...], list[str]] = {}
        for task in tasks:
            lacking = self._lacking(task, metric)
            if lacking and (metric == "rc_acc" or len(lacking) < len(self.rungs)):
                by_runs.setdefault(tuple(lacking), []).append(task.name)
        return [{"tasks": names, "runs": list(runs)} for runs, names in by_runs.items()]


def is_variant(run: Run, target: Target) -> bool:
    """Whether it is the target's own run, or one that differs from it by little, such as an anneal."""
    return same(run.n, target.n) and abs(run.d / target.d - 1) < TWIN
