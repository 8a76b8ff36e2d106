"""`python -m predict advise`: which runs to add, those that make the target surest for their compute.

The law of each task is linearised around its fit: a run at (N, D) measures ln L with the noise of a run, the exponents
carry the default method's prior, and the variance of ln L at the target follows from the information of all runs
(c-optimal design). Rungs below the smallest one are never proposed: they gain little and often misfit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ladder.errors import UserError
from ladder.rung import Target, rung_name
from predict.fitting.forms import PowerLaw
from predict.fitting.ridge import fit_ridge
from predict.measured.ladder import Measured
from predict.measured.mapping import size_name
from predict.measured.points import task_points
from predict.measured.same import levels, same_point
from predict.measured.tasks import Task
from predict.methods.members import LOSS_PRIOR
from predict.show import command_line
from predict.show.plots import BLUE, GREY, panels, save
from predict.show.tables import Table, fixed, share, significant, whole, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST_NOISE = 0.004  # of ln L: from AI2's reruns at 1xC, the standard deviation of a run is 0.2% to 1.6%
WORTH_IT = 0.01  # smaller reductions are no reason to train a run
RELATIVE_PRIOR = np.log(10.0)  # of A, B and E around their fit: within a factor of 10


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
    def per_budget(self) -> float:
        return self.reduction / self.flops


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """A task's law around its fit: information (5, 5) of the present runs, and the target's gradient (5,)."""

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


def sensitivities(data: Measured, target: Target, tasks: Sequence[Task]) -> list[Sensitivity]:
    """For each task whose loss was measured. Raises UserError where that is none."""
    runs = list(data.rungs)
    n, d = np.array([run.n for run in runs]), np.array([run.d for run in runs])
    n0, d0 = float(np.exp(np.log(n).mean())), float(np.exp(np.log(d).mean()))
    found = []
    for task in tasks:
        loss = task_points(runs, task, data.smoothing).loss
        if loss is None:
            continue
        terms = fit_ridge(n, d, loss, 1 / loss[None, :] ** 2, LOSS_PRIOR, offset=True, log=True)
        fitted = terms.law(0)
        # In units of the ladder's middle, A and alpha are hardly correlated.
        A, B = float(terms.A[0]), float(terms.B[0])
        law = PowerLaw(A=max(A, 1e-6), alpha=fitted.alpha, B=max(B, 1e-6), beta=fitted.beta, E=max(fitted.E, 1e-6))
        residual = np.log(terms(n, d)[0] / loss)
        noise = max(float(np.sqrt((residual**2).sum() / max(len(runs) - 3, 1))), SMALLEST_NOISE)
        rows = np.array([gradient(law, a / n0, b / d0) for a, b in zip(n, d, strict=True)])
        prior = np.diag([1 / RELATIVE_PRIOR**2, 1 / LOSS_PRIOR.width**2] * 2 + [1 / RELATIVE_PRIOR**2])
        information = rows.T @ rows / noise**2 + prior
        at = gradient(law, target.n / n0, target.d / d0)
        found.append(Sensitivity(law=law, noise=noise, information=information, target=at))
    if not found:
        raise UserError(f"{data.source}: no task loss (rc_bpb) in every rung, which advice is computed from")
    return found


def advise(data: Measured, target: Target, tasks: Sequence[Task], budget: float) -> list[Candidate]:
    """Affordable candidates, best per FLOP first; `chosen` numbers those that the budget buys one after another.

    Raises:
        UserError: no candidate costs as little as the budget.
    """
    found = sensitivities(data, target, tasks)
    runs = list(data.rungs)
    n0 = float(np.exp(np.mean([np.log(run.n) for run in runs])))
    d0 = float(np.exp(np.mean([np.log(run.d) for run in runs])))
    options = {name: (n, d) for name, n, d in candidates(data, target) if 6 * n * d <= budget}
    if not options:
        costs = [6 * n * d for _, n, d in candidates(data, target)]
        why = f"the cheapest takes {min(costs):.3g} FLOPs" if costs else "none costs less than the target itself"
        raise UserError(f"--budget {budget:.3g} buys no further run; {why}")

    def gain(name: str, added: Sequence[str]) -> float:
        points = [(options[one][0] / n0, options[one][1] / d0) for one in added]
        here = (options[name][0] / n0, options[name][1] / d0)
        return float(np.mean([1 - one.sd([*points, here]) / one.sd(points) for one in found]))

    cost = {name: 6 * n * d for name, (n, d) in options.items()}
    chosen: list[str] = []
    left = budget
    while affordable := [name for name in options if name not in chosen and cost[name] <= left]:
        best = max(affordable, key=lambda name: gain(name, chosen) / cost[name])
        if gain(best, chosen) < WORTH_IT:
            break
        chosen.append(best)
        left -= cost[best]
    listed = [
        Candidate(
            name=name, n=n, d=d, flops=cost[name], reduction=gain(name, []),
            chosen=chosen.index(name) + 1 if name in chosen else None,
        )
        for name, (n, d) in options.items()
    ]  # fmt: skip
    return sorted(listed, key=lambda candidate: -candidate.per_budget)


def candidates(data: Measured, target: Target) -> list[tuple[str, float, float]]:
    """(name, N, D) of runs not yet made that cost less than the target.

    Sizes: the ladder's, those its configuration knows beyond, or else twice the largest, all below the target's.
    Multiples: those of the configuration, or else the ladder's own and twice the largest.
    """
    have = [(run.n, 20 * run.n * run.multiple) for run in data.rungs]
    sizes = {run.size: run.n for run in data.rungs}
    smallest, largest = min(sizes.values()), max(sizes.values())
    multiples = set(levels(run.multiple for run in data.rungs))
    if data.ladder is not None:
        shapes = data.ladder.sizes | data.ladder.larger_sizes
        sizes |= {size: float(shape.n) for size, shape in shapes.items() if smallest <= shape.n < target.n}
        multiples = set(levels([*multiples, *data.ladder.multiples]))
    else:
        multiples.add(2 * max(multiples))
    if max(sizes.values()) == largest and 2 * largest < target.n:
        sizes[size_name(2 * largest)] = 2 * largest
    return [
        (rung_name(size, multiple), n, 20 * n * multiple)
        for size, n in sizes.items()
        for multiple in sorted(multiples)
        if not any(same_point((n, 20 * n * multiple), point) for point in have)
        and n * 20 * n * multiple < target.n * target.d
    ]


def advice_table(found: Sequence[Candidate], target: Target, budget: float) -> Table:
    rows = tuple(
        (one.name, one.flops, one.flops / budget, -one.reduction, 100 * one.per_budget * budget, one.chosen)
        for one in found
    )
    return Table(
        title=f"Runs to add for {target.name} within {budget:.3g} FLOPs, best per FLOP first",
        columns=(
            words("run"),
            significant("FLOPs", 3, "FLOPs"),
            share("of budget"),
            share("uncertainty", 1, signed=True),
            fixed("gain per budget", 1, "percent"),
            whole("order"),
        ),
        rows=rows,
        notes=(
            "uncertainty: change of the sd of the target's predicted loss, mean over tasks, if only this run is added",
            "order: what to train first, second, … until the budget is spent",
        ),
    )


def advice_figure(found: Sequence[Candidate], target: Target) -> Figure:
    """What each candidate costs and how much surer the target gets."""
    figure, (axis,) = panels(1, f"Runs to add for {target.name}", height=4.0)
    figure.set_size_inches(7.5, 4.8)
    for one in found:
        chosen = one.chosen is not None
        axis.plot(one.flops, 100 * one.reduction, "o", color=BLUE if chosen else GREY, markersize=8 if chosen else 5)
        label = f"{one.chosen}. {one.name}" if chosen else one.name
        axis.annotate(label, (one.flops, 100 * one.reduction), xytext=(6, 4), textcoords="offset points", fontsize=8)
    axis.set_xscale("log")
    axis.margins(x=0.15, y=0.15)
    axis.set_xlabel("FLOPs of the run (6ND)")
    axis.set_ylabel("less uncertainty of the target's loss, %")
    return figure


def main(argv: list[str]) -> None:
    options = command_line.parser("advise", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_target(options)
    options.add_argument(
        "--budget", type=command_line.positive, required=True, metavar="FLOPS", help="compute to spend, 6ND"
    )
    command_line.add_format(options)
    command_line.add_plot(options)
    known, overrides = command_line.parse(options, argv)
    data = command_line.data_of(known, overrides)
    target = command_line.target_of(known, data)
    data = data.below(target)
    found = advise(data, target, data.tasks(known.tasks), known.budget)
    command_line.show(known.form, advice_table(found, target, known.budget))
    if known.plot:
        save(advice_figure(found, target), known.plot)
