"""A checkpoint's results on disk: log-likelihoods in one .npz, the metrics derived from them in one .json beside it.

Both say by content what they were measured on. Whatever matches is never measured again, whatever does not always is.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from evaluate.models.checkpoint import Checkpoint
from evaluate.tasks.groups import with_groups
from ladder.errors import UserError
from ladder.files.bind import bind
from ladder.files.writing import atomic_file
from ladder.records.metrics_file import MetricsFile, Origin, Provenance

WeightFiles = dict[str, tuple[int, int]]  # name -> size and change time in nanoseconds
UNKNOWN_WEIGHTS = ""
"""In place of the weights' hash, until that is known."""
_META = "provenance"
_STEP = re.compile(r"@.*\bstep[-_]?(\d{1,15})")


def foreign_origin(name: str, model: Any) -> Origin:
    """For a model that `train` did not make: its name and size, and the step where a revision's name says it."""
    step = _STEP.search(name)
    n = sum(value.numel() for value in model.parameters()) - model.get_input_embeddings().weight.numel()
    return Origin(run=name, size=name, n=n, d=None, step=int(step[1]) if step else 0, tokens=None)


class Results(Protocol):
    """Where an evaluation looks for what is measured already, and leaves what it measures."""

    def loglikelihoods(self, provenance: Provenance) -> dict[str, np.ndarray]: ...

    def save_loglikelihoods(self, provenance: Provenance, arrays: Mapping[str, np.ndarray]) -> None: ...

    def save_metrics(self, measured: MetricsFile) -> MetricsFile: ...


@dataclass(frozen=True)
class ResultFiles:
    """`path` is the metrics file; the log-likelihoods lie beside it.

    Files that do not lie in the checkpoint's run say by `model_path` whose they are.
    """

    path: Path
    model_path: str | None = None

    @classmethod
    def named(cls, directory: Path, checkpoint: Checkpoint) -> ResultFiles:
        """The checkpoint's in a directory of many, under the first of its names that is not another model's.

        Raises:
            UserError: all of them are.
        """
        own = str(checkpoint.absolute)
        for name in checkpoint.names:
            files = cls(directory / f"{name}.json", own)
            if files._owner() in (None, own):
                return files
        raise UserError(f"{directory} holds {checkpoint.names[0]} of other models; give {own} an --output of its own")

    def _owner(self) -> str | None:
        """The path of the model that was measured; None where nothing was, or nothing readable."""
        try:
            metrics = self.metrics()
        except UserError:
            return None
        return metrics.model_path if metrics else None

    @property
    def arrays(self) -> Path:
        return self.path.with_suffix(".npz")

    def beside(self, form: str) -> Path:
        """A file of another kind for the same checkpoint, such as "samples_{}.jsonl"."""
        return self.path.with_name(form.format(self.path.stem))

    def metrics(self) -> MetricsFile | None:
        """Raises UserError where there is a file that is no metrics file."""
        return MetricsFile.load(self.path) if self.path.exists() else None

    def remove_damaged(self) -> None:
        """Takes away a metrics file that cannot be read, so that another can be written."""
        try:
            self.metrics()
        except UserError:
            self.path.unlink()

    def known_weights(self, stats: WeightFiles) -> str | None:
        """The weights' hash as last computed, if the weight files have not been touched since."""
        metrics = self.metrics()
        return metrics.provenance.weights if metrics is not None and metrics.weight_files == stats else None

    def remember_weights(self, stats: WeightFiles) -> None:
        """Notes which state of the weight files the metrics are of, once their contents have been compared."""
        metrics = self.metrics()
        if metrics is not None and metrics.weight_files != stats:
            replace(metrics, weight_files=stats).dump(self.path)

    def loglikelihoods(self, provenance: Provenance) -> dict[str, np.ndarray]:
        """Arrays by "task.format" that were measured on exactly what `provenance` says."""
        plans, arrays = self._stored(provenance)
        return {key: arrays[key] for key, plan in plans.items() if provenance.plans.get(key) == plan}

    def save_loglikelihoods(self, provenance: Provenance, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes them; those of other tasks that an earlier call measured on the same model stay."""
        plans, stored = self._stored(provenance)
        kept = {key: array for key, array in stored.items() if key not in provenance.plans}
        done = asdict(provenance) | {"plans": {**plans, **provenance.plans}}
        done["plans"] = {key: done["plans"][key] for key in [*kept, *arrays]}
        with atomic_file(self.arrays) as temporary, temporary.open("wb") as file:
            np.savez(file, **{_META: np.array(json.dumps(done))}, **kept, **dict(arrays))  # type: ignore[arg-type]

    def _stored(self, provenance: Provenance) -> tuple[Mapping[str, str], dict[str, np.ndarray]]:
        """Plans and arrays of the same model; none where the file is of another one, absent or unreadable."""
        try:
            with np.load(self.arrays, allow_pickle=False) as stored:
                have = bind(Provenance, json.loads(str(stored[_META])), str(self.arrays))
                if not have.same_model(provenance):
                    return {}, {}
                return have.plans, {key: stored[key] for key in have.plans}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, UserError):
            return {}, {}

    def save_metrics(self, measured: MetricsFile) -> MetricsFile:
        """Writes the metrics file; rows that an earlier call measured on the same model stay in it."""
        measured = replace(measured, model_path=self.model_path)
        before = self.metrics()
        if before is not None and before.provenance.same_model(measured.provenance):
            measured = _joined(before, measured)
        measured.dump(self.path)
        return measured


class HeldResults:
    """Results of weights whose hash is not known yet: kept here until it is."""

    def __init__(self, files: ResultFiles) -> None:
        self._files = files
        self._arrays: Mapping[str, np.ndarray] = {}
        self._metrics: MetricsFile | None = None

    def loglikelihoods(self, provenance: Provenance) -> dict[str, np.ndarray]:
        return {}

    def save_loglikelihoods(self, provenance: Provenance, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)

    def save_metrics(self, measured: MetricsFile) -> MetricsFile:
        self._metrics = measured
        return measured

    def write(self, weights: str) -> None:
        """Into the files, as measured on weights with this hash."""
        assert self._metrics is not None  # an evaluation ends with them
        provenance = replace(self._metrics.provenance, weights=weights)
        self._files.save_loglikelihoods(provenance, self._arrays)
        self._files.save_metrics(replace(self._metrics, provenance=provenance))


def _joined(before: MetricsFile, now: MetricsFile) -> MetricsFile:
    """The later one, and of the earlier one what it has not."""
    rows, gold = {(row.task, row.format) for row in now.results}, {row.task for row in now.gold}
    losses = {loss.name for loss in now.lm_loss}
    old, new = before.provenance, now.provenance
    both = replace(
        new,
        config=new.config or old.config,
        plans={**old.plans, **new.plans},
        definitions={**old.definitions, **new.definitions},
        texts={**old.texts, **new.texts},
        entries={**(old.entries or {}), **(new.entries or {})},
    )
    joined = replace(
        now,
        results=(*(row for row in before.results if (row.task, row.format) not in rows), *now.results),
        gold=(*(row for row in before.gold if row.task not in gold), *now.gold),
        lm_loss=(*(loss for loss in before.lm_loss if loss.name not in losses), *now.lm_loss),
        provenance=both,
    )
    return with_groups(joined, (*before.groups, *now.groups))
