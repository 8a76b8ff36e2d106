"""A run beside its forecast: what it should show at each moment, and what its own checkpoints make of the forecast.

Accuracy at a moment is the predicted final one less what is still to be gained. That follows from a loss, whose way to
the end all runs of a ladder share (`course.py`), and from the ladder's step 2. The loss is the first of the members of
method `default` that was measured: the language-modelling loss, whose curves are the smoothest, the task's own loss,
or, of accuracies alone, -ln Q. How well each carries on is found out by back-tests inside the ladder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ladder.errors import UserError
from ladder.rungs.rung import Target
from predict.measured.ladder import Measured
from predict.measured.progress import Trace, trace
from predict.measured.runs import Curve, Run, accuracy_curve
from predict.measured.tasks import Task
from predict.methods.base import Estimate
from predict.methods.course import FIRST, SHARES, Course, CurveOf, course_of, decades_from, latest, wiggle
from predict.methods.ensemble import FittedEnsemble
from predict.methods.loss_fits import LossFit
from predict.methods.members import MemberName
from predict.methods.slack import Z80, Slack, Weighing, correlation, estimate, fit_slack, sd_of, tail_of
from predict.methods.study import TaskStudy
from predict.methods.task_way import Seen, TaskWay
from predict.methods.text_loss import TextLoss, fit_text_loss

LEAST = Slack(noise=0.004, misfit=0.05)  # of an accuracy: a rerun changes it by 0.4 points
FEW_CELLS = 20
# Of AI2's ladder, where back-tests are too few.
BORROWED = Weighing(slack=Slack(noise=0.008, misfit=0.15), correlation=0.5, cells=0)
CLIP = (0.01, 0.99)  # of the part of the questions beyond chance that is answered


def schedule_knee(measured: Measured) -> float:
    """The share of training at which the learning rate of a WSD ladder begins to fall; 0 for any other."""
    recipe = measured.ladder.recipe if measured.ladder else None
    return 1.0 - recipe.decay_fraction if recipe and recipe.schedule == "wsd" else 0.0


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What a run's own checkpoints say of its final accuracy, and how far the `way` there is.

    That is the gain that was added to them, times one more than the decades of N·D from what was fitted.
    """

    accuracy: float
    way: float


def _weighing(rows: np.ndarray, others: np.ndarray | None = None) -> Weighing:
    """From back-tests; those of `others` weigh as much in all as `rows` do."""
    if len(rows) < FEW_CELLS:
        return BORROWED
    weights = np.full(len(rows), 1 / len(rows))
    if others is not None:
        rows, weights = np.concatenate([rows, others]), np.append(weights, np.full(len(others), 1 / len(others)))
    errors, lengths, left, before, places = rows.T
    slack = fit_slack(errors, lengths, LEAST, weights, left).widened(len(set(places)))
    return Weighing(slack=slack, correlation=correlation(errors / slack.sd(lengths, left), before), cells=len(rows))


class Companion:
    """The shapes of a ladder's curves, for runs of `target`; `measured` is what was fitted."""

    def __init__(self, measured: Measured, fitted: FittedEnsemble, target: Target, run: Run) -> None:
        self._measured, self._fitted = measured, fitted
        self.target, self.run = target, run
        self.knee = schedule_knee(measured)
        self._losses: dict[str, Course] = {}
        self._weighings: dict[str, Weighing] = {}
        self._tested: dict[str, np.ndarray] = {}

    @cached_property
    def lm_course(self) -> Course | None:
        """Of the language-modelling loss; None where the run or the rungs have none in common."""
        text = self.text_loss
        if text is None or not set(text.texts) <= set(self.run.lm_losses()):
            return None
        return self._course(lambda run: run.lm_loss(text.texts), text.fit)

    @cached_property
    def lm_trace(self) -> Trace:
        """The run's own, where `lm_course` is not None."""
        return trace(self.run.lm_loss(self.text_loss.texts if self.text_loss else ()), self.target.d)

    def loss_course(self, task: Task) -> Course | None:
        """Of the task's own loss; None where the run or some rung lacks it."""
        if not self.run.has(task, "rc_bpb") or not self._measured.everywhere(task, "rc_bpb"):
            return None
        if task.name not in self._losses:
            fit = next(one for one in self._fitted.asked if one.task == task).loss
            self._losses[task.name] = self._course(lambda run: run.curve(task, "rc_bpb"), fit)
        return self._losses[task.name]

    def loss_trace(self, task: Task) -> Trace:
        """The run's own, where `loss_course` is not None."""
        return trace(self.run.curve(task, "rc_bpb"), self.target.d)

    def _course(self, curve_of: CurveOf, fit: LossFit | None) -> Course:
        """`fit` has the laws of the loss; None where it is of a kind that has no irreducible part."""
        measured, splits = self._measured, self._fitted.study.splits
        floors = np.zeros(len(splits) + 1) if fit is None else fit.laws.irreducible
        return course_of(measured.rungs, curve_of, splits, floors, measured.smoothing, self.knee)

    @cached_property
    def ways(self) -> dict[str, TaskWay]:
        """By task, of those that the run was measured on."""
        by_task = {}
        for study in self._fitted.asked:
            if self.run.has(study.task, "rc_acc"):
                by_task[study.task.name] = self._way(study)
        if not by_task:
            raise UserError(f"run {self.run.name} has no accuracy of any task that the ladder predicts")
        return by_task

    def _way(self, study: TaskStudy) -> TaskWay:
        task = study.task
        if self.text_loss and self.lm_course and MemberName.LM_LOSS in study.fits:
            return self._made(study, MemberName.LM_LOSS, self.lm_course, self.lm_trace, self.text_loss.fit)
        if MemberName.TASK_LOSS in study.fits and (course := self.loss_course(task)):
            return self._made(study, MemberName.TASK_LOSS, course, self.loss_trace(task), study.loss)

        def curve_of(run: Run) -> Curve:
            curve = accuracy_curve(run, task)
            beyond = np.clip((curve.values - task.chance) / (1 - task.chance), *CLIP)
            return replace(curve, values=-np.log(beyond))

        own = trace(curve_of(self.run), self.target.d)
        return self._made(study, MemberName.DIRECT, self._course(curve_of, None), own, None)

    def _made(self, study: TaskStudy, member: MemberName, course: Course, own: Trace, loss: LossFit | None) -> TaskWay:
        rungs = zip(self._measured.rungs, course.traces, strict=True)
        return TaskWay(
            study=study,
            member=member,
            loss=loss,
            course=course,
            rungs=tuple(Seen.of(run, run.d, study.task, loss) for run, loss in rungs),
            own=Seen.of(self.run, self.target.d, study.task, own),
        )

    def carried(self, way: TaskWay, place: int | None, share: float, split: int | None = None) -> Carried | None:
        """What the checkpoints of a run up to a share of its tokens say of its final accuracy; None too early on.

        The run is the rung in that `place`, or the one that is followed. The loss at the end is what its own curve
        says, weighed against the law. `split` is a back-test, of which the law, the shape and step 2 then are.
        """
        seen = way.own if place is None else way.rungs[place]
        fit, drops = (0, way.course.drops) if split is None else (split + 1, way.course.back_tests[split])
        accuracy = latest(seen.accuracy, share, drops.knee, way.course.count).after(drops.start * (1 - 1e-6))
        if not len(accuracy.shares) or not len(seen.loss.shares):
            return None
        leads = way.own_ends if split is None or place is None else way.course.ends[split, place]
        values, ends = (np.interp(accuracy.shares, seen.loss.shares, y) for y in (seen.loss.values, leads))
        end, far = float(ends.mean()), self._beyond(seen.n, seen.d, split)
        if not np.isfinite(end):
            return None
        if way.loss:
            left = float((values / end - 1).mean()) * (1 + far)
            value, sd = way.loss.at(seen.n, seen.d, fit, far)
            own, law = 1 / float(way.course.slack.sd(left)) ** 2, 1 / (self._widening(way) * sd) ** 2
            end = (end * own + value * law) / (own + law)
        step2 = way.step2(fit)
        gains = np.asarray(step2(end)) - np.asarray(step2(values))
        return Carried(accuracy=float((accuracy.values + gains).mean()), way=float(np.mean(gains)) * (1 + far))

    def _beyond(self, n: float, d: float, split: int | None = None) -> float:
        """Decades of N·D from what was fitted, by the ladder or by a back-test in it."""
        rungs = self._measured.rungs
        return decades_from(
            rungs if split is None else [rungs[i] for i in self._fitted.study.splits[split].train], n, d
        )

    def _widening(self, way: TaskWay) -> float:
        """By how much the law of a final loss is less sure than a normal distribution of its standard deviation."""
        text = self.text_loss if way.member is MemberName.LM_LOSS else None
        scale = text.scale if text else self._fitted.scale
        return scale.factor80 / Z80

    @cached_property
    def text_loss(self) -> TextLoss | None:
        """Of the texts that all rungs have in common."""
        return fit_text_loss(self._measured)

    @cached_property
    def weighing(self) -> Weighing:
        """How far off carried accuracies were in the ladder's back-tests, over the tasks that follow scale."""
        return _weighing(self._clear)

    @cached_property
    def _clear(self) -> np.ndarray:
        """The back-tests of the tasks that follow scale; of all where none does."""
        clear = [way for way in self.ways.values() if way.study.verdict.standing == "follows"]
        return np.concatenate([self._rows(way) for way in clear or self.ways.values()])

    def weighing_of(self, task: str) -> Weighing:
        """By the task's own back-tests, and as much by those of all tasks that follow scale if it does too.

        Tests differ in their noise (by how many questions they have), and the back-tests of one are few.
        """
        if task not in self._weighings:
            way = self.ways[task]
            pooled = way.study.verdict.standing == "follows"
            self._weighings[task] = _weighing(self._rows(way), self._clear if pooled else None)
        return self._weighings[task]

    def _rows(self, way: TaskWay) -> np.ndarray:
        """(cells, 5): as `_back_tests`."""
        name = way.study.task.name
        if name not in self._tested:
            self._tested[name] = np.array(self._back_tests(way), dtype=float).reshape(-1, 5)
        return self._tested[name]

    def _back_tests(self, way: TaskWay) -> list[tuple[float, float, float, float, int]]:
        """Of each cell and share: error of the carried accuracy, way, part of the run that is left, error of the
        prediction, place of the run."""
        rows = []
        before = way.study.errors(self._fitted.study.members)
        for (split, place), truth, error in zip(way.study.cells, way.study.actual, before, strict=True):
            for share in SHARES:
                if one := self.carried(way, place, share, split):
                    rows.append((one.accuracy - truth, one.way, 1 - share, error, int(place)))
        return rows

    def updated(self, task: str, prior: Estimate, share: float) -> Estimate:
        """The forecast of a task's final accuracy after the checkpoints up to a share; before `FIRST` as it was."""
        if share < FIRST:
            return prior
        one = self.carried(self.ways[task], None, share)
        return self.weighing_of(task).combined(prior, one.accuracy, one.way, 1 - share) if one else prior

    def expected_loss(self, course: Course, prior: Estimate, shares: np.ndarray) -> list[Estimate | None]:
        """The loss that checkpoints at these shares should show, before any of them was seen; None too early on."""
        n, d = self.run.n, self.target.d
        values = course.drops.before(prior.value, shares, n, d)
        ways = (values / prior.value - 1) * (1 + self._beyond(n, d))
        sds = np.sqrt((sd_of(prior) / prior.value) ** 2 + course.slack.sd(ways) ** 2 + course.wiggle**2)
        return [
            estimate(value, sd * value, tail_of(prior), 0.0) if np.isfinite(value) else None
            for value, sd in zip(values.tolist(), sds, strict=True)
        ]

    def expected(self, task: str, prior: Estimate, shares: np.ndarray) -> list[Estimate | None]:
        """The accuracy that checkpoints at these shares should show, before any of them was seen; None too early on."""
        way = self.ways[task]
        gains = way.ahead(shares, self.run.n, self.target.d)
        far = self._beyond(self.run.n, self.target.d)
        shake = wiggle([seen.accuracy for seen in way.rungs])
        slack = self.weighing_of(task).slack.sd(gains * (1 + far), 1 - shares)
        sds = np.sqrt(sd_of(prior) ** 2 + slack**2 + shake**2)
        return [
            estimate(prior.value - gain, sd, tail_of(prior), 0.0, 1.0) if np.isfinite(gain) else None
            for gain, sd in zip(gains, sds, strict=True)
        ]
