"""Tasks that have a loss and no accuracy: bits per byte of a gold answer, and language-modelling losses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ladder.rungs.benchmarks import BENCHMARKS
from predict.measured.runs import Run
from predict.measured.tasks import Measurements

LossMetric = Literal["rc_bpb", "rc_task_ce", "lm_loss"]  # of a task in two ways, and of running text
AloneMetric = Literal["rc_bpb", "lm_loss"]  # of what has a loss and no accuracy
UNITS: dict[str, str] = {"rc_bpb": "bits per byte", "lm_loss": "nats per token"}
SHORT_UNITS: dict[str, str] = {"rc_bpb": "bpb", "lm_loss": "nats"}


@dataclass(frozen=True, kw_only=True)
class LossTask:
    """What is measured of it is `metric` on `split`, and no accuracy."""

    name: str
    split: str
    metric: AloneMetric

    @property
    def title(self) -> str:
        return BENCHMARKS[self.name].title if self.name in BENCHMARKS else self.name

    @property
    def unit(self) -> str:
        return UNITS[self.metric]

    @property
    def short_unit(self) -> str:
        return SHORT_UNITS[self.metric]

    def measured(self, run: Run) -> bool:
        return (self.name, self.split, self.metric) in run.curves

    def final(self, run: Run, count: int) -> float:
        """The mean of the run's last `count` checkpoints. Raises KeyError where it was not measured."""
        return run.curves[self.name, self.split, self.metric].final(count)

    def finals(self, runs: Sequence[Run], count: int) -> np.ndarray:
        """(runs,)"""
        return np.array([self.final(run, count) for run in runs])


def loss_tasks(runs: Iterable[Run], accuracies: Measurements) -> dict[str, LossTask]:
    """By name, those that some run has: gold answers first. Of several splits the test split counts."""
    by_name: dict[str, LossTask] = {}
    named = {task for task, _ in accuracies}
    keys = {key for run in runs for key in run.curves if key[2] in UNITS and key[0] not in named}
    for name, split, metric in sorted(keys, key=lambda key: (key[2] == "lm_loss", key[0], key[1] != "test", key[1])):
        by_name.setdefault(name, LossTask(name=name, split=split, metric="rc_bpb" if metric == "rc_bpb" else "lm_loss"))
    return by_name
