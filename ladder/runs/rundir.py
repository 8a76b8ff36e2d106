"""The one place that knows where a run's files lie.

<runs_dir>/<ladder>/
    prediction-<target>.json  what the finished ladder predicts
    report-<target>/     the same as a page, with its plots
    jobs/                scripts and logs of jobs; what measuring and predicting printed
<runs_dir>/<ladder>/<rung>/
    run.json             what the run is: size, N, D, steps, config hash (written once, before step 1)
    config.yaml          the configuration as resolved
    events.jsonl         each start and how it ended: machine, process, git revision, versions
    code-<hash>.diff     how the checkout differed from that revision, where it did
    log.jsonl            a row every few steps
    output.txt           what its processes printed
    resume/              rolling full training state
    branches/            of a WSD run: states from which shorter runs go on
    checkpoints/step-0000200/   weights in Hugging Face layout, tokenizer, rung.json
    metrics/step-0000200.json   what `evaluate` measured on that checkpoint
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ladder.errors import UserError
from ladder.files.reading import read
from ladder.records.metrics_file import MeasuredOn
from ladder.records.run_record import RunOutline, RunRecord

RUN_FILE = "run.json"
RUNG_FILE = "rung.json"


def step_name(step: int) -> str:
    return f"step-{step:07d}"


def _step(name: str) -> int | None:
    digits = name.removeprefix("step-")
    return int(digits) if digits.isdecimal() else None


@dataclass(frozen=True)
class RunDirectory:
    """`entries` are a suite's, by hash: a checkpoint that was measured on others counts as not measured."""

    path: Path
    entries: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def run_file(self) -> Path:
        return self.path / RUN_FILE

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def log_file(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def output_file(self) -> Path:
        return self.path / "output.txt"

    def code_diff(self, sha256: str) -> Path:
        return self.path / f"code-{sha256[:12]}.diff"

    @property
    def resume(self) -> Path:
        return self.path / "resume"

    @property
    def branches(self) -> Path:
        return self.path / "branches"

    def branch(self, step: int) -> Path:
        """State from which a shorter run of a WSD ladder goes on."""
        return self.branches / step_name(step)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / step_name(step)

    def metrics_file(self, step: int) -> Path:
        return self.metrics / f"{step_name(step)}.json"

    def record(self) -> RunRecord:
        """run.json. Raises UserError where it is absent or damaged."""
        return RunRecord.load(self.run_file)

    def outline(self) -> RunOutline:
        """The same of a run that need not be ours."""
        return read(RunOutline, self.run_file)

    def checkpoint_steps(self) -> list[int]:
        """Steps whose checkpoint is complete (a checkpoint is renamed into place, so present means whole)."""
        names = (path.parent.name for path in self.checkpoints.glob(f"step-*/{RUNG_FILE}"))
        return sorted(step for name in names if (step := _step(name)) is not None)

    def metrics_files(self) -> list[Path]:
        return sorted(path for path in self.metrics.glob("step-*.json") if _step(path.stem) is not None)

    def measured_steps(self) -> list[int]:
        files = self.metrics_files()
        return [step for path in files if (step := _step(path.stem)) is not None and self._on_suite(path)]

    def _on_suite(self, path: Path) -> bool:
        """Whether the metrics file is of the suite's present entries; a damaged one is of none."""
        try:
            return not self.entries or read(MeasuredOn, path).provenance.has(self.entries)
        except UserError:
            return False


@dataclass(frozen=True)
class LadderDirectory:
    """`entries` as of a run."""

    path: Path
    entries: Mapping[str, str] = field(default_factory=dict, compare=False)

    def run(self, name: str) -> RunDirectory:
        return RunDirectory(self.path / name, self.entries)

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    def prediction(self, target: str) -> Path:
        return self.path / f"prediction-{target}.json"

    def report(self, target: str) -> Path:
        return self.path / f"report-{target}"


def find_runs(directory: Path) -> list[RunDirectory]:
    """The run that `directory` is, or the runs that lie in it, by name."""
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory")
    if (directory / RUN_FILE).exists():
        return [RunDirectory(directory)]
    return [RunDirectory(path.parent) for path in sorted(directory.glob(f"*/{RUN_FILE}"))]
