"""On request: every document with its likelihoods, and the results in lm-evaluation-harness's form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.suite import Suite
from ladder.metrics_file import MetricsFile
from ladder.writing import atomic_file

RESULTS_VERSION = 1
# Our metric -> the harness's. Its acc_norm is per character, its acc_bytes per byte, both without the leading space.
HARNESS_METRICS = {"acc_raw": "acc", "acc_per_char": "acc_norm", "acc_per_byte": "acc_bytes", "bpb": "bits_per_byte"}


def write_samples(path: Path, suite: Suite, arrays: Mapping[str, np.ndarray]) -> None:
    """One line per document: its texts as scored, and the log-likelihood of each choice in nats."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for task in suite.tasks:
            start = 0
            for document in task.documents():
                stop = start + len(document.choices)
                row = {
                    "task": task.name,
                    "format": task.format,
                    "doc_id": document.id,
                    "contexts": document.contexts if len(set(document.contexts)) > 1 else document.contexts[:1],
                    "choices": document.choices,
                    "gold": document.gold,
                    "loglikelihoods": arrays[task.key][start:stop].tolist(),
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                start = stop


def harness_results(metrics: MetricsFile, suite: Suite) -> dict[str, Any]:
    """Keyed as lm-evaluation-harness keys its results, with all that its own `make_table` reads."""
    results: dict[str, dict[str, str | float]] = {}
    counts, better = {}, {}
    shots: dict[str, int | None] = {}
    for task in suite.tasks:
        shots |= {f"{name}_{task.format}": task.shots for name in (task.name, *task.categories.values())}
    for row in metrics.results:
        name = f"{row.task}_{row.format}"
        results[name] = {"alias": name}
        for ours, theirs in HARNESS_METRICS.items():
            results[name] |= {f"{theirs},none": getattr(row, ours), f"{theirs}_stderr,none": row.stderr[ours]}
        counts[name] = {"original": row.n, "effective": row.n}
        better[name] = {theirs: theirs != "bits_per_byte" for theirs in HARNESS_METRICS.values()}
    return {
        "results": results,
        "group_subtasks": {},
        "configs": {name: {"task": name} for name in results},
        "versions": dict.fromkeys(results, RESULTS_VERSION),
        "n-shot": {name: shots.get(name) for name in results if shots.get(name) is not None},
        "n-samples": counts,
        "higher_is_better": better,
        "config": {"model": "hf", "model_dtype": metrics.provenance.dtype},
        "model_name": metrics.run,
        "git_hash": metrics.git_revision,
        "task_hashes": dict(metrics.provenance.plans),
    }
