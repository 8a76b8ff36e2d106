"""All that is checked of a ladder: its runs' own files here, their measured losses by `python -m predict check`."""

from __future__ import annotations

from collections.abc import Sequence

from ladder.check.logs import read_log
from ladder.check.page import EXIT_BAD, EXIT_LOOK
from ladder.check.recorded import data_check, epochs_check, finished_check, rule_check
from ladder.check.training import training_checks
from ladder.config.settings import Config
from ladder.files.reading import parse_json
from ladder.process.stages import stage_output
from ladder.records.checks import Check, Finding, Subject, Verdict, checks_of
from ladder.rungs.rung import Rung
from ladder.runs.rundir import LadderDirectory
from ladder.runs.status import RunStatus

COMMAND = ("predict", "check")


def check_ladder(
    config: Config, directory: LadderDirectory, rungs: Sequence[Rung], statuses: Sequence[RunStatus]
) -> list[Check]:
    """Raises UserError for a damaged run.json, and where measurements cannot be read."""
    runs = {rung.name: directory.run(rung.name) for rung in rungs}
    records = {name: run.record() for name, run in runs.items() if run.run_file.exists()}
    logs = {name: read_log(run.log_file) for name, run in runs.items()}
    return [
        finished_check(statuses),
        rule_check(config, rungs, records, logs),
        data_check(rungs, records, logs),
        epochs_check(config, rungs, runs),
        *training_checks(logs, {run.rung.name: run.error for run in statuses}),
        *measured_checks(config, directory, rungs),
    ]


def measured_checks(config: Config, directory: LadderDirectory, rungs: Sequence[Rung]) -> list[Check]:
    """Of what was measured; nothing is known where nothing was."""
    if not any(directory.run(rung.name).metrics_files() for rung in rungs):
        unknown = tuple(Finding(run=rung.name, verdict=Verdict.UNKNOWN) for rung in rungs)
        return [Check(subject=subject, findings=unknown) for subject in (Subject.LAW, Subject.COLLAPSE)]
    words = (
        *("--ladder", str(directory.path), "--json"),
        *("--sizes", ",".join(dict.fromkeys(rung.size for rung in rungs))),
        *("--multiples", ",".join(dict.fromkeys(f"{rung.multiple:g}" for rung in rungs))),
    )
    said = stage_output(*COMMAND, *words, allowed=(EXIT_LOOK, EXIT_BAD))
    where = f"python -m {' '.join(COMMAND)}"
    return checks_of(parse_json(said, where), where)
