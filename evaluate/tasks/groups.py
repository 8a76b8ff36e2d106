"""Tasks that are reported as one number: the mean over a named group, whatever their formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ladder.files.hashing import json_sha256
from ladder.records.metrics_file import Group, GroupResult, MetricsFile

Measured = Mapping[str, tuple[float, float]]  # "task.format" -> value and standard error


def group_key(group: Group) -> str:
    """Changes when the same tasks would be averaged differently."""
    return json_sha256([group.metric, dict(group.weights)])


def with_groups(metrics: MetricsFile, groups: Iterable[Group]) -> MetricsFile:
    """The metrics with those groups of which every task is measured; of two of a name the last counts."""
    measured = {"bpb": _losses(metrics), "acc": _accuracies(metrics)}
    by_name = {group.name: group for group in groups}
    complete = [group for group in by_name.values() if group.weights.keys() <= measured[group.metric].keys()]
    return replace(metrics, groups=tuple(_mean(group, measured[group.metric]) for group in complete))


def _losses(metrics: MetricsFile) -> Measured:
    ranked = {f"{row.task}.{row.format}": (row.bpb, row.stderr["bpb"]) for row in metrics.results}
    return ranked | {f"{row.task}.gold": (row.bpb, row.stderr["bpb"]) for row in metrics.gold}


def _accuracies(metrics: MetricsFile) -> Measured:
    return {f"{row.task}.{row.format}": (row.acc, row.stderr[row.primary]) for row in metrics.results}


def _mean(group: Group, measured: Measured) -> GroupResult:
    value = sum(weight * measured[key][0] for key, weight in group.weights.items())
    variance = sum((weight * measured[key][1]) ** 2 for key, weight in group.weights.items())
    return GroupResult(
        name=group.name, metric=group.metric, weights=group.weights, value=value, stderr=math.sqrt(variance)
    )
