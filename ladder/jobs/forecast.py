"""The prediction at the end of a ladder: refused while points are missing, made again when its inputs change."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from ladder.config.config_files import load_target
from ladder.errors import UserError
from ladder.files.hashing import json_sha256
from ladder.files.reading import read_json
from ladder.jobs.supervise import tail
from ladder.process.stages import stage_output
from ladder.records.metrics_file import text_entry
from ladder.rungs.rung import Ladder, Rung, Target
from ladder.runs.queue import JobKind
from ladder.runs.rundir import LadderDirectory, RunDirectory

FORECAST_SCHEMA: Literal[1] = 1  # of the files that `python -m predict register` writes
LADDER = "/ladder"  # among its inputs: method, target and runs; no task is called so


class LadderForecast:
    """What the `rungs` in `directory` say of `target` by a method of `python -m predict`.

    `measured` are the entries of what the suite measures: its tasks and texts, without its groups.
    """

    def __init__(
        self,
        directory: LadderDirectory,
        ladder: Ladder,
        rungs: Sequence[Rung],
        target: Target,
        method: str,
        measured: Collection[str] = (),
    ) -> None:
        self._ladder, self._measured = ladder, set(measured)
        self.path = directory.prediction(target.name)
        self._directory, self._rungs, self._target, self._method = directory, rungs, target, method

    def made(self) -> bool:
        """Whether the prediction is there and was made from just these measurements, rungs, target and method.

        What was measured besides, of a task that some run lacked then, does not count, unless it is in the suite.
        """
        written = self._written()
        before, now = written.get("inputs"), self._inputs()
        if written.get("schema") != FORECAST_SCHEMA or not isinstance(before, dict):
            return False
        same = before == {name: now.get(name) for name in before} | {LADDER: now[LADDER]}
        return same and self._measured <= before.keys()

    def _written(self) -> dict[str, Any]:
        """What the file holds; nothing where there is none, or none that can be read."""
        try:
            value = read_json(self.path)
        except UserError:
            return {}
        return value if isinstance(value, dict) else {}

    def make(self) -> None:
        """Registers the forecast and writes the report, unless they are there already; an older forecast is set aside.

        Raises:
            UserError: a run is not trained or a checkpoint not measured (each is listed), or no law can be fitted.
        """
        if points := [point for rung in self._rungs if (point := self.missing(rung))]:
            raise UserError(f"cannot predict {self._target.name} yet, missing: {'; '.join(points)}")
        if self.made():
            return
        words = [
            *("--ladder", str(self._directory.path), "--method", self._method),
            *self._target_words(),
            *("--sizes", ",".join(dict.fromkeys(rung.size for rung in self._rungs))),
            *("--multiples", ",".join(dict.fromkeys(f"{rung.multiple:g}" for rung in self._rungs))),
        ]
        report = self._directory.report(self._target.name)
        stage_output("predict", "report", *words, "--output", str(report))
        if self.path.exists():
            self.path.rename(_free_name(self.path))
        record = ("--name", self._target.name, "--inputs", json.dumps(self._inputs()), "--output", str(self.path))
        stage_output("predict", "register", *words, *record)

    def _target_words(self) -> tuple[str, ...]:
        """By its name where that says which model it is, so that the report has it as its title."""
        with contextlib.suppress(UserError):
            if load_target(self._target.name, self._ladder) == self._target:
                return "--target", self._target.name
        return "--n", f"{self._target.n:.17g}", "--d", f"{self._target.d:.17g}"

    def describe(self) -> str:
        """Where the prediction is; where there is none of these measurements, why."""
        if self.made():
            report = self._directory.report(self._target.name)
            return f"prediction for {self._target.name}: {self.path}, {report}/report.html"
        if self.path.exists():
            new = self._written().get("schema") == FORECAST_SCHEMA
            why = "is not of these measurements" if new else "is no forecast that this version reads"
            return f"{self.path} {why}; python -m ladder predict makes it again and keeps this one beside it"
        said = tail(self._directory.jobs / f"{JobKind.PREDICT}.txt")
        return f"no prediction for {self._target.name} yet{f', its job said: {said[-1]}' if said else ''}"

    def missing(self, rung: Rung) -> str:
        """What a run lacks, such as `190M-1xC (2 of 37 steps: 7200, 7272)`; empty where it is complete."""
        run = self._directory.run(rung.name)
        measured = set(run.measured_steps())
        steps = [step for step in rung.hparams.checkpoint_steps if step not in measured]
        if steps and not measured and rung.hparams.total_steps not in run.checkpoint_steps():
            return f"{rung.name} (not trained)"
        listed = ", ".join(map(str, steps[:5])) + (", …" if len(steps) > 5 else "")
        return f"{rung.name} ({len(steps)} of {len(rung.hparams.checkpoint_steps)} steps: {listed})" if steps else ""

    def _inputs(self) -> dict[str, str]:
        """Hashes of what a forecast is made of: the ladder, and each task and text that all runs have measured."""
        runs = {rung.name: _values(self._directory.run(rung.name)) for rung in self._rungs}
        shared = set.intersection(*(set(values) for values in runs.values()))
        ladder = json_sha256([self._method, self._target.n, self._target.d, sorted(runs)])
        of_tasks = {name: {run: values[name] for run, values in runs.items()} for name in sorted(shared)}
        return {LADDER: ladder} | {name: json_sha256(values) for name, values in of_tasks.items()}


def _free_name(path: Path) -> Path:
    """`prediction-x.json` -> `prediction-x.1.json`, or the first number that is free."""
    numbered = (path.with_suffix(f".{number}.json") for number in itertools.count(1))
    return next(name for name in numbered if not name.exists())


def _values(run: RunDirectory) -> dict[str, list[Any]]:
    """What was measured of each task and each text, by its entry, with the file's name: a copy has the same."""
    values: dict[str, list[Any]] = {}
    for path in run.metrics_files():
        content = read_json(path)
        node = content if isinstance(content, dict) else {}
        origin = [path.name, *(node.get(key) for key in ("n", "d", "step", "tokens"))]
        for row in [*_rows(node, "results"), *_rows(node, "gold")]:
            values.setdefault(str(row.get("task")), []).append([origin, row])
        for row in _rows(node, "lm_loss"):
            values.setdefault(text_entry(str(row.get("name"))), []).append([origin, row])
    return values


def _rows(node: dict[str, Any], key: str) -> list[dict[str, Any]]:
    rows = node.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
