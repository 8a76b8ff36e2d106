"""A ladder's finished rungs, the loss that they are judged by, and how much of it is chance."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ladder.rungs.rung import Target
from predict.fitting.loss_grid import LossLaws, fit_loss_laws
from predict.measured.ladder import Measured
from predict.measured.points import common_lm_losses
from predict.measured.runs import Curve, Run, n_and_d
from predict.methods.course import CurveOf
from predict.methods.soundness import USUAL, Deviations, law_deviations


@dataclass(frozen=True, kw_only=True)
class CheckedLadder:
    """`target` is what the ladder is to predict, where that is known."""

    measured: Measured
    target: Target | None

    @cached_property
    def rungs(self) -> list[Run]:
        return [run for run in self.measured.rungs if run.finished]

    @cached_property
    def curve_of(self) -> CurveOf | None:
        """The language-modelling loss; where some rung has none, the mean of the task losses that all have."""
        if names := common_lm_losses(self.rungs):
            return lambda run: run.lm_loss(names)
        tasks = [key for key in self.rungs[0].curves if key[2] == "rc_bpb"] if self.rungs else []
        shared = [key for key in tasks if all(key in run.curves for run in self.rungs)]
        return (lambda run: _mean_loss([run.curves[key] for key in shared])) if shared else None

    def curve(self, run: Run) -> Curve:
        """Of that loss; empty where the run was not measured on it."""
        with contextlib.suppress(KeyError):
            if self.curve_of is not None:
                return self.curve_of(run)
        return Curve(steps=np.zeros(0, dtype=int), tokens=np.zeros(0), values=np.zeros(0))

    def final(self, run: Run) -> float:
        assert self.curve_of is not None
        return self.curve_of(run).final(self.measured.smoothing.final_checkpoints)

    @cached_property
    def n(self) -> np.ndarray:
        return n_and_d(self.rungs)[0]

    @cached_property
    def d(self) -> np.ndarray:
        return n_and_d(self.rungs)[1]

    @cached_property
    def finals(self) -> np.ndarray:
        return np.array([self.final(run) for run in self.rungs])

    @cached_property
    def rerun_noise(self) -> float | None:
        """Relative, of a final loss, where some rung was run again."""
        pairs = (
            [pair for pair in self.measured.repeated() if all(run.finished for run in pair)] if self.curve_of else []
        )
        gaps = np.array([np.log(self.final(b) / self.final(a)) for a, b in pairs])
        return float(np.sqrt((gaps**2).mean() / 2)) if len(gaps) else None

    @cached_property
    def law(self) -> Deviations | None:
        if self.curve_of is None:
            return None
        return law_deviations(self.n, self.d, self.finals, self.rerun_noise)

    @cached_property
    def laws(self) -> LossLaws:
        """The power laws that are fitted to predict, of all rungs and, after that, without each."""
        used = np.concatenate([np.ones((1, len(self.rungs))), 1 - np.eye(len(self.rungs))])
        return fit_loss_laws(self.n, self.d, self.finals, used)

    @property
    def noise(self) -> float:
        """Relative, of a final loss: of reruns, else about the law, else what is usual."""
        return self.rerun_noise or (self.law.noise if self.law else USUAL)

    @property
    def swept_losses(self) -> dict[str, float]:
        """Final losses of all finished runs that were measured on what the rungs were."""
        if self.curve_of is None:
            return {}
        by_run: dict[str, float] = {}
        for run in self.measured.runs:
            with contextlib.suppress(KeyError):
                by_run |= {run.name: self.final(run)} if run.finished else {}
        return by_run


def _mean_loss(curves: Sequence[Curve]) -> Curve:
    steps = curves[0].steps
    for curve in curves[1:]:
        steps = np.intersect1d(steps, curve.steps)
    shared = [curve.where(np.isin(curve.steps, steps)) for curve in curves]
    mean = np.exp(np.mean([np.log(curve.values) for curve in shared], axis=0))
    return Curve(steps=steps, tokens=shared[0].tokens, values=mean)
