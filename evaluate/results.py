"""A checkpoint's results on disk: log-likelihoods in one .npz, the metrics derived from them in one .json beside it.

Both say by content what they were measured on. Whatever matches is never measured again, whatever does not always is.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ladder.measurements import SCHEMA_VERSION
from ladder.reading import read_json
from ladder.writing import atomic_file, write_json

_META = "provenance"
_BY_TASK = ("plans", "definitions", "texts")
_ORIGIN = ("run", "size", "n", "d", "step", "tokens")


def origin_of(rung_info: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a checkpoint in the measurement table, out of its rung.json."""
    return {key: rung_info[key] for key in _ORIGIN}


def foreign_origin(name: str, model: Any) -> dict[str, Any]:
    """The same for a model that `train` did not make: its name and size; tokens and budget are not known."""
    n = sum(value.numel() for value in model.parameters()) - model.get_input_embeddings().weight.numel()
    return {"run": name, "size": name, "n": n, "d": None, "step": 0, "tokens": None}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the numbers depend on."""

    weights: str  # content hash of the weights
    tokenizer: str
    dtype: str
    plans: Mapping[str, str] = field(default_factory=dict)  # "task.format" -> hash of documents, tokenizer and context
    definitions: Mapping[str, str] = field(default_factory=dict)  # "task.format" -> hash of how metrics are derived
    texts: Mapping[str, str] = field(default_factory=dict)  # language-model losses, as plans

    def same_model(self, other: Provenance) -> bool:
        return (self.weights, self.tokenizer, self.dtype) == (other.weights, other.tokenizer, other.dtype)


@dataclass(frozen=True)
class ResultFiles:
    """`path` is the metrics file; the log-likelihoods lie beside it."""

    path: Path

    @property
    def arrays(self) -> Path:
        return self.path.with_suffix(".npz")

    def beside(self, form: str) -> Path:
        """A file of another kind for the same checkpoint, such as "samples_{}.jsonl"."""
        return self.path.with_name(form.format(self.path.stem))

    def metrics(self) -> dict[str, Any] | None:
        return read_json(self.path) if self.path.exists() else None

    def covers(self, wanted: Provenance) -> bool:
        """Whether everything wanted is measured already."""
        metrics = self.metrics()
        if metrics is None or metrics.get("schema") != SCHEMA_VERSION:
            return False
        have = _provenance(metrics.get(_META, {}))
        return (
            have is not None
            and have.same_model(wanted)
            and wanted.plans.items() <= have.plans.items()
            and wanted.definitions.items() <= have.definitions.items()
            and wanted.texts.items() <= have.texts.items()
        )

    def known_weights(self, stats: Mapping[str, list[int]]) -> str | None:
        """The weights' hash as last computed, if the weight files have not been touched since."""
        metrics = self.metrics() or {}
        return metrics.get(_META, {}).get("weights") if metrics.get("weight_files") == stats else None

    def remember_weights(self, stats: Mapping[str, list[int]]) -> None:
        """Notes which state of the weight files the metrics are of, once their contents have been compared."""
        metrics = self.metrics()
        if metrics is not None and metrics.get("weight_files") != stats:
            write_json(self.path, metrics | {"weight_files": dict(stats)})

    def loglikelihoods(self, wanted: Provenance) -> dict[str, np.ndarray]:
        """Arrays by "task.format" that were measured on exactly what is wanted now."""
        plans, arrays = self._stored(wanted)
        return {key: arrays[key] for key, plan in plans.items() if wanted.plans.get(key) == plan}

    def save_loglikelihoods(self, wanted: Provenance, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes them; those of other tasks that an earlier call measured on the same model stay."""
        plans, stored = self._stored(wanted)
        kept = {key: array for key, array in stored.items() if key not in wanted.plans}
        done = asdict(wanted) | {"plans": {**plans, **wanted.plans}}
        done["plans"] = {key: done["plans"][key] for key in [*kept, *arrays]}
        with atomic_file(self.arrays) as temporary, temporary.open("wb") as file:
            np.savez(file, **{_META: np.array(json.dumps(done))}, **kept, **dict(arrays))  # type: ignore[arg-type]

    def _stored(self, wanted: Provenance) -> tuple[Mapping[str, str], dict[str, np.ndarray]]:
        """Plans and arrays of the same model; none where the file is of another one, absent or unreadable."""
        try:
            with np.load(self.arrays, allow_pickle=False) as stored:
                have = _provenance(json.loads(str(stored[_META])))
                if have is None or not have.same_model(wanted):
                    return {}, {}
                return have.plans, {key: stored[key] for key in have.plans}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}, {}

    def save_metrics(self, metrics: Mapping[str, Any], provenance: Provenance) -> dict[str, Any]:
        """Writes the metrics file; rows that an earlier call measured on the same model stay in it."""
        before = self.metrics() or {}
        have = _provenance(before.get(_META, {}))
        value = dict(metrics)
        if have is not None and have.same_model(provenance):
            results, losses = metrics["results"], metrics["lm_loss"]
            keys = {(row["task"], row["format"]) for row in results}
            names = {row["name"] for row in losses}
            value["results"] = [row for row in before["results"] if (row["task"], row["format"]) not in keys] + results
            value["lm_loss"] = [row for row in before["lm_loss"] if row["name"] not in names] + losses
            both = {name: {**getattr(have, name), **getattr(provenance, name)} for name in _BY_TASK}
            value[_META] = asdict(provenance) | both
        else:
            value[_META] = asdict(provenance)
        write_json(self.path, value)
        return value


def _provenance(value: Mapping[str, Any]) -> Provenance | None:
    try:
        return Provenance(**value)
    except TypeError:  # another version's fields
        return None
