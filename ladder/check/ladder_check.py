"""All that is checked of a ladder: its runs' own files here, their measured losses by `python -m predict check`."""

from __future__ import annotations

from collections.abc import Sequence

from ladder.check.logs import read_log
from ladder.check.recorded import data_check, epochs_check, finished_check, rule_check
from ladder.check.training import OF_TRAINING, training_checks
from ladder.config.settings import Config
from ladder.errors import UserError
from ladder.files.reading import parse_json
from ladder.process.stages import stage_output
from ladder.records.checks import EXIT_BAD, EXIT_LOOK, Check, Finding, Subject, Verdict, checks_of
from ladder.rungs.rung import Rung
from ladder.runs.rundir import LadderDirectory
from ladder.runs.status import RunStatus

COMMAND = ("predict", "check")


def check_ladder(
    config: Config, directory: LadderDirectory, rungs: Sequence[Rung], statuses: Sequence[RunStatus]
) -> list[Check]:
    """Raises UserError for a damaged run.json, and where no rung was begun."""
    runs = {rung.name: directory.run(rung.name) for rung in rungs}
    records = {name: run.record() for name, run in runs.items() if run.run_file.exists()}
    if not records:
        raise UserError(f"{directory.path} holds no run of these rungs to check; python -m ladder run trains them")
    logs = {name: read_log(run.log_file) for name, run in runs.items()}
    return [
        finished_check(statuses),
        rule_check(config, rungs, records, logs),
        data_check(rungs, records, logs),
        epochs_check(config, rungs, runs),
        *training_checks(logs, {run.rung.name: run.error for run in statuses}),
        *measured_checks(directory, rungs),
    ]


def measured_checks(directory: LadderDirectory, rungs: Sequence[Rung]) -> list[Check]:
    """Of the rungs that were measured, without what their logs say better.

    Where they cannot be read as one ladder, the reason stands for the verdicts.
    """
    measured = [rung for rung in rungs if directory.run(rung.name).metrics_files()]
    if not measured:
        return _unknown(rungs)
    words = (
        *("--ladder", str(directory.path), "--json"),
        *("--sizes", ",".join(dict.fromkeys(rung.size for rung in measured))),
        *("--multiples", ",".join(dict.fromkeys(f"{rung.multiple:g}" for rung in measured))),
    )
    try:
        said = stage_output(*COMMAND, *words, allowed=(EXIT_LOOK, EXIT_BAD))
    except UserError as error:
        return _unknown(rungs, str(error))
    where = f"python -m {' '.join(COMMAND)}"
    return [one for one in checks_of(parse_json(said, where), where) if one.subject not in OF_TRAINING]


def _unknown(rungs: Sequence[Rung], *reasons: str) -> list[Check]:
    findings = tuple(Finding(run=rung.name, verdict=Verdict.UNKNOWN, names=reasons) for rung in rungs)
    return [Check(subject=subject, findings=findings) for subject in (Subject.LAW, Subject.COLLAPSE)]
