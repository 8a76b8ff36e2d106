"""`python -m predict advise`: which runs to add, those that make the target surest for their compute.

The law of each task is linearised around its fit: a run at (N, D) measures ln L with the noise of a run, the exponents
carry the default method's prior, and the variance of ln L at the target follows from the information of all runs
(c-optimal design). Rungs below the smallest one are never proposed: they gain little and often misfit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from ladder.errors import UserError
from ladder.rungs.rung import Target
from predict.analyses.next_runs import candidates
from predict.fitting.forms import PowerLaw
from predict.fitting.ridge import PowerTerms, Prior, fit_ridge
from predict.measured.ladder import Measured
from predict.measured.loss_tasks import LossTask
from predict.measured.points import TaskPoints, task_points
from predict.measured.runs import n_and_d
from predict.measured.tasks import Task
from predict.methods.gate import following
from predict.methods.members import DIRECT_PRIOR, LOSS_PRIOR, beyond_chance, direct
from predict.show import command_line
from predict.show.plots import BLUE, GREY, Plot, label, place_names
from predict.show.tables import Table, share, significant, whole, words

SMALLEST_NOISE = 0.004  # of ln L: from AI2's reruns at 1xC, the standard deviation of a run is 0.2% to 1.6%
WORTH_IT = 0.01  # smaller reductions are no reason to train a run
RELATIVE_PRIOR = np.log(10.0)  # of A, B and E around their fit: within a factor of 10


class Basis(StrEnum):
    """The quantity whose law says what a run is worth, in the words of a note."""

    TASK_LOSS = "task loss"
    LM_LOSS = "LM loss"
    ACCURACY = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A run that could be added; `reduction` of the target's sd, in [0, 1], if only it were added."""

    name: str
    n: float
    d: float
    flops: float
    reduction: float
    chosen: int | None = None

    @property
    def per_flop(self) -> float:
        return self.reduction / self.flops


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The candidates, best per FLOP first, and for each task the quantity whose law they were weighed by."""

    candidates: tuple[Candidate, ...]
    bases: tuple[Basis, ...]

    @property
    def notes(self) -> list[str]:
        """What the advice rests on where that is no task loss, and why nothing is chosen where nothing is."""
        notes = []
        others = [basis for basis in self.bases if basis is not Basis.TASK_LOSS]
        if others:
            names = " or ".join(sorted(set(others)))
            notes.append(f"{len(others)} of {len(self.bases)} tasks by {names}: no task loss in every rung")
        if all(one.chosen is None for one in self.candidates):
            best = self.candidates[0]
            notes.append(
                f"none chosen: {best.name}, the best per FLOP, would take {best.reduction:.1%} off the uncertainty, "
                f"and less than {WORTH_IT:.0%} is no reason to train a run"
            )
        return notes


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """A task's law around its fit: information (5, 5) of the present runs, and the target's gradient (5,)."""

    basis: Basis
    law: PowerLaw
    noise: float
    information: np.ndarray
    target: np.ndarray

    def sd(self, added: Sequence[tuple[float, float]] = ()) -> float:
        """Standard deviation of ln L at the target once runs (n, d) are added."""
        information = self.information
        for n, d in added:
            row = gradient(self.law, n, d)
            information = information + np.outer(row, row) / self.noise**2
        return float(np.sqrt(self.target @ np.linalg.solve(information, self.target)))


def gradient(law: PowerLaw, n: float, d: float) -> np.ndarray:
    """Of ln L by ln A, ln alpha, ln B, ln beta and ln E."""
    first, second = law.A / n**law.alpha, law.B / d**law.beta
    parts = [first, -first * law.alpha * np.log(n), second, -second * law.beta * np.log(d), law.E]
    return np.array(parts) / (first + second + law.E)


def sensitivities(
    measured: Measured, target: Target, tasks: Sequence[Task], losses: Sequence[LossTask] = ()
) -> list[Sensitivity]:
    """One a task, of the best quantity that was measured in every rung: task loss, LM loss or accuracy; and one for
    each of the `losses` that have no accuracy."""
    runs = list(measured.rungs)
    n, d = n_and_d(runs)
    n0, d0 = _middle(n), _middle(d)
    by_task = []
    laws = [_fitted(task_points(runs, task, measured.smoothing)) for task in tasks]
    for loss in losses:
        laws.append(_fitted_loss(n, d, loss.finals(runs, measured.smoothing.final_checkpoints), Basis.TASK_LOSS))
    for basis, y, terms, prior in laws:
        fitted = terms.law(0)
        # In units of the ladder's middle, A and alpha are hardly correlated.
        A, B = float(terms.A[0]), float(terms.B[0])
        law = PowerLaw(A=max(A, 1e-6), alpha=fitted.alpha, B=max(B, 1e-6), beta=fitted.beta, E=max(fitted.E, 1e-6))
        residual = np.log(terms(n, d)[0] / y)
        noise = max(float(np.sqrt((residual**2).sum() / max(len(runs) - 3, 1))), SMALLEST_NOISE)
        rows = np.array([gradient(law, a / n0, b / d0) for a, b in zip(n, d, strict=True)])
        prior_information = np.diag([1 / RELATIVE_PRIOR**2, 1 / prior.width**2] * 2 + [1 / RELATIVE_PRIOR**2])
        information = rows.T @ rows / noise**2 + prior_information
        at = gradient(law, target.n / n0, target.d / d0)
        by_task.append(Sensitivity(basis=basis, law=law, noise=noise, information=information, target=at))
    return by_task


class _Law(NamedTuple):
    """What was measured, its values (runs,), the default method's law of them, and the prior of that law."""

    basis: Basis
    y: np.ndarray
    terms: PowerTerms
    prior: Prior


def _fitted(points: TaskPoints) -> _Law:
    for basis, y in ((Basis.TASK_LOSS, points.loss), (Basis.LM_LOSS, points.lm)):
        if y is not None:
            return _fitted_loss(points.n, points.d, y, basis)
    fits = direct(points, np.ones((1, len(points.n))))
    return _Law(Basis.ACCURACY, -np.log(beyond_chance(points)), fits.step1, DIRECT_PRIOR)


def _fitted_loss(n: np.ndarray, d: np.ndarray, y: np.ndarray, basis: Basis) -> _Law:
    return _Law(basis, y, fit_ridge(n, d, y, 1 / y[None, :] ** 2, LOSS_PRIOR, offset=True, log=True), LOSS_PRIOR)


def _middle(values: np.ndarray) -> float:
    return float(np.exp(np.log(values).mean()))


def advise(
    measured: Measured, target: Target, tasks: Sequence[Task], budget: float, losses: Sequence[LossTask] = ()
) -> Advice:
    """Affordable candidates, best per FLOP first; `chosen` numbers those that the budget buys one after another.

    Raises:
        UserError: no candidate costs as little as the budget.
    """
    by_task = sensitivities(measured, target, tasks, losses)
    n0, d0 = map(_middle, n_and_d(measured.rungs))
    options = {name: (n, d) for name, n, d in candidates(measured, target) if 6 * n * d <= budget}
    if not options:
        costs = [6 * n * d for _, n, d in candidates(measured, target)]
        why = f"the cheapest takes {min(costs):.3g} FLOPs" if costs else "none costs less than the target itself"
        raise UserError(f"--budget {budget:.3g} buys no further run; {why}")

    def gain(name: str, added: Sequence[str]) -> float:
        points = [(options[one][0] / n0, options[one][1] / d0) for one in added]
        here = (options[name][0] / n0, options[name][1] / d0)
        return float(np.mean([1 - one.sd([*points, here]) / one.sd(points) for one in by_task]))

    cost = {name: 6 * n * d for name, (n, d) in options.items()}
    chosen = _greedy(cost, gain, budget)
    listed = [
        Candidate(
            name=name, n=n, d=d, flops=cost[name], reduction=gain(name, []),
            chosen=chosen.index(name) + 1 if name in chosen else None,
        )
        for name, (n, d) in options.items()
    ]  # fmt: skip
    ranked = sorted(listed, key=lambda candidate: -candidate.per_flop)
    return Advice(candidates=tuple(ranked), bases=tuple(one.basis for one in by_task))


def _greedy(cost: Mapping[str, float], gain: Callable[[str, Sequence[str]], float], budget: float) -> list[str]:
    """Names in the order in which to train them: always the one that gains most per FLOP, while it gains enough."""
    chosen: list[str] = []
    left = budget
    while affordable := [name for name in cost if name not in chosen and cost[name] <= left]:
        best = max(affordable, key=lambda name: gain(name, chosen) / cost[name])
        if gain(best, chosen) < WORTH_IT:
            break
        chosen.append(best)
        left -= cost[best]
    return chosen


def advice_table(advice: Advice, target: Target, budget: float) -> Table:
    best = max(advice.candidates[0].per_flop, 1e-300)
    rows = tuple(
        (one.name, one.flops, one.flops / budget, -one.reduction, one.per_flop / best, one.chosen)
        for one in advice.candidates
    )
    return Table(
        title=f"Runs to add for {target.name} within {budget:.3g} FLOPs, best per FLOP first",
        columns=(
            words("run"),
            significant("FLOPs", 3, "FLOPs"),
            share("of budget"),
            share("uncertainty", 1, signed=True),
            share("gain per FLOP", 1),
            whole("order"),
        ),
        rows=rows,
        notes=(
            "gain per FLOP: of the best one's",
            "uncertainty: change of the sd of the target's predicted loss, mean over tasks, if only this run is added",
            "order: what to train first, second, … until the budget is spent",
            *advice.notes,
        ),
    )


def advice_plot(advice: Advice, target: Target) -> Plot:
    """What each candidate costs and how much surer the target gets; names stand where they overlap nothing."""
    plot = Plot(1, f"Runs to add for {target.name}", height=4.6, wide=2.0)
    (axis,) = plot.axes
    axis.set_xscale("log")
    candidates = advice.candidates
    for one in candidates:
        chosen = one.chosen is not None
        axis.plot(one.flops, 100 * one.reduction, "o", color=BLUE if chosen else GREY, markersize=8 if chosen else 5)
    axis.margins(x=0.15, y=0.12)
    ranked = sorted(candidates, key=lambda one: (one.chosen is None, one.chosen or 0, -one.reduction))
    names = [f"{one.chosen}. {one.name}" if one.chosen else one.name for one in ranked]
    place_names(axis, [(one.flops, 100 * one.reduction) for one in ranked], names)
    some = any(one.chosen for one in candidates)
    hint = "numbered: what to train first, second, …" if some else "none is worth its compute"
    label(axis, "Gain against cost", hint, "FLOPs of the run (6ND)", "less uncertainty of the target, %")
    return plot


def main(argv: list[str]) -> None:
    options = command_line.parser("advise", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_target(options)
    options.add_argument(
        "--budget", type=command_line.positive, required=True, metavar="FLOPS", help="compute to spend, 6ND"
    )
    command_line.add_format(options)
    command_line.add_plot(options)
    given, overrides = command_line.parse(options, argv)
    measured = command_line.data_of(given, overrides)
    target = command_line.target_of(given, measured)
    measured = measured.below(target)
    asked = measured.asked(given.tasks)
    tasks = asked.tasks if given.tasks or not asked.tasks else following(measured, asked.tasks)
    # What is asked for by name, or all there is: a ladder's accuracies come before losses that have none.
    losses = asked.losses if given.tasks or not asked.tasks else []
    advice = advise(measured, target, tasks, given.budget, losses)
    command_line.show(given.form, advice_table(advice, target, given.budget))
    if given.plot:
        advice_plot(advice, target).save(given.plot)
