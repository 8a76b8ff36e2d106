"""On request: every document with its likelihoods, and the results in lm-evaluation-harness's form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.tasks.suite import Suite
from evaluate.tasks.tasks import AnyDocument, Document, GoldDocument, RankedTask
from ladder.files.writing import atomic_file
from ladder.records.metrics_file import MetricsFile

RESULTS_VERSION = 1
# Our metric -> the harness's. Its acc_norm is per character, its acc_bytes per byte, both without the leading space.
HARNESS_METRICS = {"acc_raw": "acc", "acc_per_char": "acc_norm", "acc_per_byte": "acc_bytes", "bpb": "bits_per_byte"}
HARNESS_GROUPS = {"acc": "acc", "bpb": "bits_per_byte"}


def write_samples(path: Path, suite: Suite, arrays: Mapping[str, np.ndarray]) -> None:
    """One line per document: its texts as scored, and the log-likelihood of each choice in nats."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for task in suite.tasks:
            start = 0
            for document in task.documents():
                stop = start + len(document.choices)
                row = {"task": task.name, "format": task.format} | _sample(document, arrays[task.key][start:stop])
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                start = stop


def _sample(document: AnyDocument, loglikelihoods: np.ndarray) -> dict[str, Any]:
    match document:
        case Document():
            same = len(set(document.contexts)) == 1
            return {
                "doc_id": document.id,
                "contexts": document.contexts[:1] if same else document.contexts,
                "choices": document.choices,
                "gold": document.gold,
                "loglikelihoods": loglikelihoods.tolist(),
            }
        case GoldDocument():
            return {
                "doc_id": document.id,
                "context": document.context,
                "answer": document.answer,
                "loglikelihood": float(loglikelihoods[0]),
            }


def harness_results(metrics: MetricsFile, suite: Suite) -> dict[str, Any]:
    """Keyed as lm-evaluation-harness keys its results, with all that its own `make_table` reads."""
    results: dict[str, dict[str, str | float]] = {}
    counts: dict[str, int] = {}
    for row in metrics.results:
        name = f"{row.task}_{row.format}"
        results[name] = {"alias": name}
        for ours, theirs in HARNESS_METRICS.items():
            results[name] |= {f"{theirs},none": getattr(row, ours), f"{theirs}_stderr,none": row.stderr[ours]}
        counts[name] = row.n
    for gold in metrics.gold:
        name = f"{gold.task}_gold"
        results[name] = _harness_row(name, "bits_per_byte", gold.bpb, gold.stderr["bpb"])
        counts[name] = gold.n
    groups = {
        group.name: _harness_row(group.name, HARNESS_GROUPS[group.metric], group.value, group.stderr)
        for group in metrics.groups
    }
    shots = _shots(suite)
    better = {theirs: theirs != "bits_per_byte" for theirs in HARNESS_METRICS.values()}
    return {
        "results": results,
        "groups": groups,
        "group_subtasks": {
            group.name: ["_".join(key.rsplit(".", 1)) for key in group.weights] for group in metrics.groups
        },
        "configs": {name: {"task": name} for name in results},
        "versions": dict.fromkeys([*results, *groups], RESULTS_VERSION),
        "n-shot": {name: shots[name] for name in results if name in shots},
        "n-samples": {name: {"original": count, "effective": count} for name, count in counts.items()},
        "higher_is_better": dict.fromkeys([*results, *groups], better),
        "config": {"model": "hf", "model_dtype": metrics.provenance.dtype},
        "model_name": metrics.run,
        "git_hash": metrics.git_revision,
        "task_hashes": dict(metrics.provenance.plans),
    }


def _harness_row(alias: str, metric: str, value: float, stderr: float) -> dict[str, str | float]:
    return {"alias": alias, f"{metric},none": value, f"{metric}_stderr,none": stderr}


def _shots(suite: Suite) -> dict[str, int]:
    """Examples in a prompt by the harness's name of a row, where they are known."""
    shots: dict[str, int] = {}
    for task in suite.tasks:
        categories = task.categories.values() if isinstance(task, RankedTask) else ()
        if task.shots is not None:
            shots |= dict.fromkeys((f"{name}_{task.format}" for name in (task.name, *categories)), task.shots)
    return shots
