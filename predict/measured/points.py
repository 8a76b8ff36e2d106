"""A task's measurements over the rungs as arrays, the form in which the fits of the default method take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ladder.config.settings import Smoothing
from predict.measured.runs import Curve, Run, accuracy_curve, n_and_d, paired
from predict.measured.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Checkpoints of all runs: feature `x` and `accuracy` (points,), the index of their run, how far it had come."""

    x: np.ndarray
    accuracy: np.ndarray
    run: np.ndarray
    progress: np.ndarray  # tokens at the checkpoint / tokens at the end of its run


@dataclass(frozen=True, kw_only=True)
class TaskPoints:
    """`n`, `d`, `accuracy` and the final features have shape (runs,); a feature that was not measured is None."""

    task: Task
    n: np.ndarray
    d: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray | None
    loss_cloud: Cloud | None
    lm: np.ndarray | None
    lm_cloud: Cloud | None


def task_points(runs: Sequence[Run], task: Task, smoothing: Smoothing) -> TaskPoints:
    """Collects a task's points; language-modelling losses are those that every run has, averaged."""
    count = smoothing.final_checkpoints
    accuracies = [accuracy_curve(run, task) for run in runs]
    losses = [run.curve(task, "rc_bpb") for run in runs] if all(run.has(task, "rc_bpb") for run in runs) else None
    names = common_lm_losses(runs)
    lms = [run.lm_loss(names) for run in runs] if names else None
    n, d = n_and_d(runs)
    return TaskPoints(
        task=task,
        n=n,
        d=d,
        accuracy=np.array([curve.final(count) for curve in accuracies]),
        loss=np.array([curve.final(count) for curve in losses]) if losses else None,
        loss_cloud=_cloud(runs, losses, accuracies, smoothing) if losses else None,
        lm=np.array([curve.final(count) for curve in lms]) if lms else None,
        lm_cloud=_cloud(runs, lms, accuracies, smoothing) if lms else None,
    )


def common_lm_losses(runs: Sequence[Run]) -> list[str]:
    """The language-modelling losses that every run has."""
    shared = set(runs[0].lm_losses()) if runs else set()
    for run in runs[1:]:
        shared &= set(run.lm_losses())
    return sorted(shared)


def _cloud(runs: Sequence[Run], features: Sequence[Curve], accuracies: Sequence[Curve], smoothing: Smoothing) -> Cloud:
    x, y, index, progress = [], [], [], []
    for i, (feature, accuracy) in enumerate(zip(features, accuracies, strict=True)):
        xs, ys = paired(runs[i], feature, accuracy, smoothing)
        tokens = feature.tokens[np.isin(feature.steps, accuracy.steps)][-len(xs) :]
        x.append(xs)
        y.append(ys)
        index.append(np.full(len(xs), i))
        progress.append(tokens / tokens[-1] if tokens[-1] > 0 else np.ones(len(xs)))
    return Cloud(
        x=np.concatenate(x), accuracy=np.concatenate(y), run=np.concatenate(index), progress=np.concatenate(progress)
    )
