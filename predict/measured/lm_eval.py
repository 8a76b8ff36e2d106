"""A folder of lm-evaluation-harness results: `results_*.json`, one per evaluated checkpoint, and `runs.csv`.

The harness does not know what a checkpoint is of. `runs.csv` in the folder says it, a line per model as the harness
names it: `model,run,n,d` and, for checkpoints from within a run, `step,tokens`; `size` and `ladder` if wanted, and
`chance`, the accuracy of guessing, for tasks of which nothing else says it. A checkpoint that was evaluated with
`revision=step1000` is `OWNER/NAME@step1000`, or `OWNER/NAME` where there is no other of that model.

The accuracy of guessing is that of a known benchmark; else 1 / choices as counted in `samples_TASK_*.jsonl` beside the
results (`--log_samples`); of a group of tasks the mean over its tasks. `tasks:` of a `--mapping` goes before all.

Of generated answers (pass@1, exact_match) guessing gets none, and the first of several filters counts.

MMLU's 57 subjects are its four categories, each the mean over the questions of its subjects; they are measured only
where all of a category's subjects are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ladder.errors import UserError, did_you_mean, shortened
from ladder.files.bind import Positive, Share, Whole, bind, lenient
from ladder.files.reading import parse_json, read
from ladder.rungs.benchmarks import LM_EVAL_NAMES
from ladder.words import named
from predict.measured import mapping as mappings
from predict.measured.about import About, Reading
from predict.measured.flat_files import read_frame
from predict.measured.mmlu_subjects import Subjects
from predict.measured.reader import Reader
from predict.measured.table import COUNTS, numbers
from predict.measured.tasks import CHANCE, ITEMS
from predict.notes import note

RUNS = "runs.csv"
GENERATED = ("pass@1", "pass_at_1", "exact_match", "math_verify")  # accuracies of what a model wrote: no guess is right
LAST_WORD = "lambada"  # whose acc is of greedy decoding
METRICS = {"acc_bytes": "rc_acc_per_byte", "acc": "rc_acc_raw", "bits_per_byte": "lm_loss"}  # theirs: ours


@lenient
@dataclass(frozen=True, kw_only=True)
class _Samples:
    original: Whole = 0
    effective: Whole = 0


@lenient
@dataclass(frozen=True, kw_only=True)
class _Config:
    model_args: str | dict[str, Any] | None = None


@lenient
@dataclass(frozen=True, kw_only=True)
class _Results:
    """What a results file must hold; the harness writes much more."""

    results: dict[str, dict[str, Any]]
    model_name: str | None = None
    config: _Config = _Config()
    counts: dict[str, _Samples] = field(default_factory=dict)
    group_subtasks: dict[str, list[str]] = field(default_factory=dict)


@lenient
@dataclass(frozen=True, kw_only=True)
class _Model:
    """A line of runs.csv; other columns of a measurement table may stand there too."""

    model: str
    run: str
    n: Positive
    d: Positive
    chance: Share | None = None


@lenient
@dataclass(frozen=True, kw_only=True)
class _Sample:
    """A line of a samples file: `arguments` has one entry per choice that was scored."""

    arguments: list[Any] | dict[str, Any]


def read_lm_eval(directory: Path, mapping: mappings.Mapping) -> Reading:
    """Raises UserError where runs.csv is absent or lacks a model, or a results file is not the harness's."""
    models = _Lines(path=directory / RUNS, by_model=_models(directory / RUNS))
    rows: list[dict[str, Any]] = []
    unread: set[str] = set()
    chances: dict[str, float] = {}
    subjects: dict[str, Subjects] = {}
    for path in sorted(directory.rglob("results_*.json")):
        content = _content(path)
        line = models.of(content, path)
        own = {name: value for name, value in line.items() if name != "chance"}
        facts = _Facts(content=content, folder=path.parent, fallback=line.get("chance"), counted=chances)
        here = subjects.setdefault(json.dumps(own, sort_keys=True), Subjects(own=own))
        for name, result in content.results.items():
            _check_numbers(name, result, path)
            measured = list(_rows(name, result, facts))
            if here.took(name, measured):
                continue
            rows += [own | row for row in measured]
            if not measured and result.keys() - {"alias"}:
                unread.add(name)
    for one in subjects.values():
        rows += one.rows()
    partial = sorted(set().union(*(one.unread() for one in subjects.values())))
    if not rows:
        raise UserError(f"{directory}: no accuracy (acc, acc_norm) and no bits_per_byte in any results file")
    notes = [note("tasks-unread", tasks=sorted(unread))] if unread else []
    notes += [note("subjects-unread", tasks=partial)] if partial else []
    read = mappings.tidy(pd.DataFrame(rows), mapping, str(directory))
    return replace(read, about=About(notes=(*notes, *read.about.notes)))


def _models(path: Path) -> dict[str, dict[str, Any]]:
    """Model -> its columns. Raises UserError for a file that is absent, lacks a column or has a model twice."""
    if not path.exists():
        raise UserError(f"{path} does not exist; it says what each model is, a line each: model,run,n,d[,step,tokens]")
    frame = read_frame(path)
    missing = [name for name in ("model", "run", "n", "d") if name not in frame.columns]
    if missing:
        raise UserError(f"{path}: missing {named('column', missing)}; expected model,run,n,d[,step,tokens]")
    for name in COUNTS:
        if name in frame.columns:
            frame[name] = numbers(frame[name], name, str(path))
    by_model: dict[str, dict[str, Any]] = {}
    for row, record in zip(frame.index, frame.to_dict("records"), strict=True):
        values = {str(key): value for key, value in record.items() if not pd.isna(value)}
        values |= {key: str(values[key]) for key in ("model", "run", "size", "ladder") if key in values}
        bind(_Model, values, f"{path}, row {row}")
        model = values.pop("model")
        if model in by_model:
            raise UserError(f'{path}, row {row}: the model "{shortened(model)}" stands there twice')
        by_model[model] = values
    return by_model


def _content(path: Path) -> _Results:
    value = read(dict[str, Any], path)
    if not isinstance(value.get("results"), dict):
        raise UserError(f"{path} holds no results of lm-evaluation-harness")
    return bind(_Results, value | {"counts": value.get("n-samples", {})}, str(path))


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """The lines of runs.csv by model, and which revision each of those was that are named without one."""

    path: Path
    by_model: dict[str, dict[str, Any]]
    revisions: dict[str, str] = field(default_factory=dict)

    def of(self, content: _Results, file: Path) -> dict[str, Any]:
        """The line of a results file's model: as `model_name` or pretrained=… names it, else its folder.

        Raises UserError where it has none, or the same as another revision of that model.
        """
        arguments = _arguments(content)
        model = content.model_name or arguments.get("pretrained") or file.parent.name
        revision = arguments.get("revision", "main")
        if (named := f"{model}@{revision}") in self.by_model:
            return self.by_model[named]
        if model not in self.by_model:
            asked = model if revision == "main" else named
            raise UserError(
                f'{file}: the model "{shortened(asked)}" has no line in {self.path}; '
                f"{did_you_mean(asked, self.by_model)}"
            )
        if self.revisions.setdefault(model, revision) != revision:
            raise UserError(
                f"{file}: revisions {self.revisions[model]} and {revision} of {shortened(model)} have one line in "
                f"{self.path}; give each its own, such as {shortened(named)}"
            )
        return self.by_model[model]


def _arguments(content: _Results) -> dict[str, str]:
    """What the harness was called with: `pretrained=…,revision=…`."""
    given = content.config.model_args or ""
    if isinstance(given, dict):
        return {key: str(value) for key, value in given.items() if value is not None}
    words = [word.partition("=") for word in given.split(",")]
    return {key.strip(): value for key, _, value in words if value}


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What one results file and the samples beside it say about tasks; `counted` is kept from file to file."""

    content: _Results
    folder: Path
    fallback: float | None
    counted: dict[str, float]

    def items(self, name: str) -> int:
        """Documents that were scored, 0 where unknown; of a group those of its tasks."""
        if name in self.content.counts:
            return self.content.counts[name].effective
        return sum(self.content.counts[task].effective for task in self._inside(name))

    def chance(self, name: str) -> float:
        """NaN where nothing says it."""
        ours = LM_EVAL_NAMES.get(name, name)
        if ours in CHANCE:
            return CHANCE[ours]
        if ours == LAST_WORD:
            return 0.0
        if name not in self.counted:
            sampled = self._sampled(name)
            self.counted[name] = self._of_group(name) if math.isnan(sampled) else sampled
        if math.isnan(self.counted[name]) and self.fallback is not None:
            return self.fallback
        return self.counted[name]

    def _sampled(self, name: str) -> float:
        """1 / choices, over the documents whose samples were logged."""
        files = sorted(self.folder.glob(f"samples_{glob_safe(name)}_[0-9]*.jsonl"))
        chances = [1 / count for path in files[:1] for count in _choices(path)]
        return sum(chances) / len(chances) if chances else math.nan

    def _of_group(self, name: str) -> float:
        inside = self._inside(name)
        weights = [self.content.counts[task].effective for task in inside]
        if not sum(weights):
            return math.nan
        return sum(w * self.chance(task) for w, task in zip(weights, inside, strict=True)) / sum(weights)

    def _inside(self, name: str, level: int = 0) -> list[str]:
        """The tasks of a group that have samples, also in the groups within it."""
        tasks = []
        for task in self.content.group_subtasks.get(name, []) if level < 10 else []:
            tasks += [task] if task in self.content.counts else self._inside(task, level + 1)
        return tasks


def glob_safe(name: str) -> str:
    """A task's name as part of a pattern of file names."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name[:200].replace("/", "_"))


def _choices(path: Path) -> Iterator[int]:
    """How many choices each document has that was scored by choices."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            sample = bind(_Sample, parse_json(line, f"{path}, line {number}"), f"{path}, line {number}")
            if len(sample.arguments) > 1:
                yield len(sample.arguments)


def _check_numbers(name: str, result: Mapping[str, Any], path: Path) -> None:
    """Raises UserError where something that is read is neither a number nor left out."""
    for key, value in result.items():
        read_here = key.partition(",")[0] in ("acc_norm", *METRICS, *GENERATED)
        absent = value in (None, "", "N/A") or (isinstance(value, int | float) and not isinstance(value, bool))
        if read_here and not absent:
            raise UserError(f"{path}: {shortened(name)} {shortened(key)} = {shortened(repr(value))} is not a number")


def _rows(name: str, result: Mapping[str, Any], facts: _Facts) -> Iterator[dict[str, Any]]:
    """The primary accuracy is the length-normalised one where the task reports it; of generated answers, theirs."""
    values: dict[str, int | float] = {}
    for key, value in result.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            values.setdefault(key.partition(",")[0], value)
    task = LM_EVAL_NAMES.get(name, name)
    common = {"task": task, "split": "test", "items": facts.items(name) or ITEMS.get(task, 0)}
    by_metric = {METRICS[key]: values[key] for key in METRICS if key in values}
    primary = values.get("acc_norm", values.get("acc"))
    generated = next((values[key] for key in GENERATED if key in values), None)
    if primary is None and generated is not None:
        yield common | {"metric": "rc_acc", "value": generated, "chance": 0.0}
    for metric, value in (by_metric if primary is None else {"rc_acc": primary} | by_metric).items():
        if metric == "lm_loss":
            yield common | {"metric": metric, "value": value, "items": 0}
        else:
            yield common | {"metric": metric, "value": value, "chance": facts.chance(name)}


READER = Reader(
    kind="results of lm-evaluation-harness",
    matches=lambda path: path.is_dir() and any(path.rglob("results_*.json")),
    read=read_lm_eval,
    mapped=True,
)
