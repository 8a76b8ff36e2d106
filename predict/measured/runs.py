"""Measurements as the fits take them: per run, a task's values over its checkpoints, smoothed as the paper does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ladder.config.settings import Smoothing
from ladder.errors import UserError
from ladder.rungs.rung import parse_run_name
from predict.measured.same import same_point
from predict.measured.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[str, str, str]  # (task, split, metric)
_FINAL_SHARE = 0.1  # of a run's tokens


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One measured quantity of one run: `values` at `steps`, after so many `tokens`, each (checkpoints,), by steps."""

    steps: np.ndarray
    tokens: np.ndarray
    values: np.ndarray

    def where(self, kept: np.ndarray) -> Curve:
        """At some of its checkpoints."""
        return Curve(steps=self.steps[kept], tokens=self.tokens[kept], values=self.values[kept])

    def final(self, count: int) -> float:
        """The mean of the last `count` checkpoints, of those in the last tenth of the tokens.

        AI2's five are in the last 9% of a run or less. Where a run has few checkpoints they would reach back to when it
        was much worse.
        """
        late = self.tokens[-count:] >= (1 - _FINAL_SHARE) * self.tokens[-1]
        return float(self.values[-count:][late].mean())


@dataclass(frozen=True, kw_only=True)
class Run:
    """N parameters, D tokens at the end, and everything measured on the way."""

    name: str
    size: str
    n: float
    d: float
    last_tokens: float
    curves: Mapping[Key, Curve] = field(repr=False)

    @property
    def compute(self) -> float:
        """6ND in FLOPs."""
        return 6.0 * self.n * self.d

    @property
    def multiple(self) -> float:
        """The Chinchilla multiple that its name says, else D / 20N."""
        parsed = parse_run_name(self.name)
        return parsed.multiple if parsed else self.d / (20 * self.n)

    @property
    def tag(self) -> str:
        """As of `RunName`; empty where the name has another form."""
        parsed = parse_run_name(self.name)
        return parsed.tag if parsed else ""

    @property
    def swept(self) -> bool:
        """Whether it is a point of a sweep beside its rung: at another rate or batch than the recipe's."""
        parsed = parse_run_name(self.name)
        return parsed is not None and parsed.tag != "" and parsed.variation is not None

    def repeats(self, rung: Run) -> bool:
        """Whether it is that rung once more, with the same settings: its N and D, and its name with a tag, such as
        190M-1xC-rerun."""
        own, other = parse_run_name(self.name), parse_run_name(rung.name)
        if own is None or other is None or not own.tag or other.tag or self.swept:
            return False
        return own[:2] == other[:2] and same_point((self.n, self.d), (rung.n, rung.d))

    @property
    def finished(self) -> bool:
        return self.last_tokens >= 0.99 * self.d

    def reached_by(self, curve: Curve) -> bool:
        """Whether the last checkpoint of one of its curves is its own last one."""
        return bool(curve.tokens[-1] >= 0.99 * self.last_tokens)

    def final(self, curve: Curve, count: int) -> float | None:
        """The mean of the curve's last `count` checkpoints; None where it ends before the run does."""
        return curve.final(count) if self.reached_by(curve) else None

    @property
    def checkpoints(self) -> int:
        """How many checkpoints the most measured quantity has."""
        return max(len(curve.steps) for curve in self.curves.values())

    def curve(self, task: Task, metric: str) -> Curve:
        """The weighted mean over the task's parts, at the steps where all of them were measured.

        Raises KeyError where a part was not measured.
        """
        parts = [self.curves[(name, split, metric)] for name, split in task.parts]
        if len(parts) == 1:
            return parts[0]
        steps = parts[0].steps
        for part in parts[1:]:
            steps = steps if np.array_equal(steps, part.steps) else np.intersect1d(steps, part.steps)
        # `steps` are among each part's, so as many of them are the same ones.
        parts = [part if len(part.steps) == len(steps) else part.where(np.isin(part.steps, steps)) for part in parts]
        weights = np.array(task.weights)
        mean = weights @ np.stack([part.values for part in parts]) / weights.sum()
        return Curve(steps=steps, tokens=parts[0].tokens, values=mean)

    def lm_losses(self) -> list[str]:
        return sorted(task for task, _, metric in self.curves if metric == "lm_loss")

    def lm_loss(self, names: Iterable[str]) -> Curve:
        """The plain mean of these language-modelling losses, nats per token."""
        names = list(names)
        parts = tuple((name, self._lm_split(name)) for name in names)
        mean = Task(name="lm_loss", parts=parts, weights=(1 / len(names),) * len(names), chance=math.nan, items=0)
        return self.curve(mean, "lm_loss")

    def _lm_split(self, name: str) -> str:
        for task, split, metric in self.curves:
            if task == name and metric == "lm_loss":
                return split
        raise KeyError(name)

    def has(self, task: Task, metric: str) -> bool:
        return all((name, split, metric) in self.curves for name, split in task.parts)


def accuracy_curve(run: Run, task: Task, metric: str = "rc_acc") -> Curve:
    """Raises UserError where the run has no such measurement of the task."""
    try:
        return run.curve(task, metric)
    except KeyError:
        raise UserError(f"run {run.name} has no {metric} for {task.name}; leave the task out with --tasks") from None


def n_and_d(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and tokens, (runs,) each."""
    return np.array([run.n for run in runs]), np.array([run.d for run in runs])


def runs_of(table: pd.DataFrame) -> list[Run]:
    """The runs of a checked measurement table by N, then D: the order of rows and files does not matter."""
    names = ["run", "task", "split", "metric"]
    codes = np.stack([table[name].cat.codes.to_numpy().astype(np.int64) for name in names])
    steps, tokens, values = table.step.to_numpy(), table.tokens.to_numpy(), table.value.to_numpy()
    starts = np.flatnonzero(np.append(True, (codes[:, 1:] != codes[:, :-1]).any(axis=0)))
    ends = np.append(starts[1:], len(table))
    labels = [table[name].cat.categories.to_list() for name in names]
    curves: dict[str, dict[Key, Curve]] = {}
    first: dict[str, int] = {}
    for start, end in zip(starts, ends, strict=True):
        run, task, split, metric = (label[code] for label, code in zip(labels, codes[:, start], strict=True))
        first.setdefault(run, int(start))
        curve = Curve(steps=steps[start:end], tokens=tokens[start:end], values=values[start:end])
        curves.setdefault(run, {})[task, split, metric] = curve
    last = table.groupby("run", observed=True, sort=False).tokens.max()
    n, d, size = table.n.to_numpy(), table.d.to_numpy(), table["size"].cat.codes.to_numpy()
    sizes = table["size"].cat.categories.to_list()
    runs = [
        Run(name=run, size=sizes[size[at]], n=n[at], d=d[at], last_tokens=float(last[run]), curves=curves[run])
        for run, at in first.items()
    ]
    return sorted(runs, key=lambda run: (run.n, run.d, run.name))


def measured_tasks(table: pd.DataFrame) -> dict[tuple[str, str], tuple[float, int]]:
    """(task, split) -> (chance, items) of everything that has an accuracy; chance is NaN where the table has none."""
    rows = table[table.metric.isin(["rc_acc", "mc_acc"])]
    first = rows.groupby(["task", "split"], observed=True)[["chance", "items"]].max()
    return {
        (str(task), str(split)): (float(chance), int(items))
        for (task, split), chance, items in zip(first.index, first["chance"], first["items"], strict=True)
    }


def trailing_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over the last `window` values at each position, over fewer at the start (section 3.2)."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def paired(run: Run, x: Curve, y: Curve, smoothing: Smoothing) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) over the checkpoints of one run: the first ones skipped, then both smoothed (section 3.2).

    Raises UserError where it has no checkpoint with both.
    """
    if np.array_equal(x.steps, y.steps):
        xs, ys = x.values, y.values
    else:
        _, at_x, at_y = np.intersect1d(x.steps, y.steps, return_indices=True)
        xs, ys = x.values[at_x], y.values[at_y]
    if not len(xs):
        raise UserError(
            f"run {run.name}: loss and accuracy were measured at no step in common (steps {x.steps[0]} to "
            f"{x.steps[-1]}, and {y.steps[0]} to {y.steps[-1]})"
        )
    skip = math.ceil(smoothing.skip_fraction * len(xs))
    skip = min(skip, max(len(xs) - 1, 0))  # a run with one checkpoint keeps it
    return trailing_mean(xs[skip:], smoothing.window), trailing_mean(ys[skip:], smoothing.window)
