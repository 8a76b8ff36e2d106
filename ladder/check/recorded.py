"""What a run's own record says of it: whether it ended, and whether rule and data are those of the ladder."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ladder.check.logs import RunLog
from ladder.config.data import DataSettings
from ladder.config.settings import Config
from ladder.errors import UserError
from ladder.files.bind import lenient
from ladder.files.reading import read
from ladder.records.checks import Check, Finding, Subject, Verdict, by_limits
from ladder.records.run_record import RunRecord
from ladder.records.shards import MANIFEST, Manifest
from ladder.rungs.rung import Rung
from ladder.runs.identity import run_identity
from ladder.runs.rundir import RunDirectory
from ladder.runs.status import RunState, RunStatus

SAME = 0.01  # relative: what a rounded step or a rescaled warmup may differ by
WHOLE = ("groups", "document_mask")  # of a run's record, without a number that would say by how much they differ
MANY, TOO_MANY = 4.0, 16.0
"""Epochs. Up to 4, repeated text is worth almost as much as new; what it is worth has fallen to 1/e after some 16
(Muennighoff et al. 2023, arXiv 2305.16264)."""
LEFT_OUT, MUCH_LEFT_OUT = 0.01, 0.1  # of the sequences: 1% is what a run may lack and still counts as finished
STANDING = {RunState.DONE: Verdict.OK, RunState.TRAINED: Verdict.OK, RunState.STOPPED: Verdict.LOOK}
STANDING |= {RunState.FAILED: Verdict.BAD}


def finished_check(runs: Sequence[RunStatus]) -> Check:
    """What is under way, or has not begun, is not known yet."""
    findings = [
        Finding(
            run=run.rung.name,
            verdict=STANDING.get(run.state, Verdict.UNKNOWN),
            values={"share": run.fraction},
            names=(run.error,) if run.error else (),
        )
        for run in runs
    ]
    return Check(subject=Subject.FINISHED, findings=tuple(findings))


def rule_check(
    config: Config, rungs: Sequence[Rung], records: Mapping[str, RunRecord], logs: Mapping[str, RunLog]
) -> Check:
    """Whether batch, schedule, rate and all else are the recipe's, as recorded before the first step and as logged."""
    findings = []
    for rung in rungs:
        if (record := records.get(rung.name)) is None:
            findings.append(Finding(run=rung.name, verdict=Verdict.UNKNOWN))
            continue
        rule = run_identity(config, rung, None)
        differing = _differing(rule.hparams, record.hparams, without=("checkpoint_every",))
        differing |= _differing(rule.shape, record.shape)
        differing |= _differing(rule.recipe, record.recipe, prefix="recipe.")
        differing |= {name: 0.0 for name in WHOLE if getattr(rule, name) != getattr(record, name)}
        if "peak_lr" not in differing and (off := _rate_off(rung, logs[rung.name])):
            differing["lr in the log"] = off
        findings.append(
            Finding(
                run=rung.name,
                verdict=Verdict.BAD if differing else Verdict.OK,
                values={key: ratio for key, ratio in differing.items() if ratio},
                names=tuple(differing),
            )
        )
    return Check(subject=Subject.RULE, findings=tuple(findings))


def _differing(
    rule: Mapping[str, object], there: Mapping[str, object], prefix: str = "", without: Sequence[str] = ()
) -> dict[str, float]:
    """The keys whose values differ, with the run's over the rule's where both are numbers above 0, else 0."""
    ratios = {}
    for key, value in rule.items():
        other = there.get(key, value)
        if key in without or other == value:
            continue
        numbers = all(isinstance(one, int | float) and one > 0 for one in (value, other))
        ratio = float(other) / float(value) if numbers else 0.0  # type: ignore[arg-type]
        if not numbers or abs(ratio - 1) > SAME:
            ratios[prefix + key] = ratio
    return ratios


def _rate_off(rung: Rung, log: RunLog) -> float:
    """The median ratio of the logged learning rates to the recipe's, where it is not 1; else 0."""
    rule = np.array([rung.hparams.lr_at(int(step)) for step in log.steps])
    usable = np.isfinite(log.lr) & (rule > 0)
    ratio = float(np.median(log.lr[usable] / rule[usable])) if usable.any() else 1.0
    return ratio if abs(ratio - 1) > SAME else 0.0


def data_check(rungs: Sequence[Rung], records: Mapping[str, RunRecord], logs: Mapping[str, RunLog]) -> Check:
    """Whether all rungs were trained on one text, and learned from what they read of it."""
    prints = {run: record.data_fingerprint for run, record in records.items() if record.data_fingerprint}
    usual = Counter(prints.values()).most_common(1)[0][0] if prints else None
    findings = []
    for rung in rungs:
        log = logs[rung.name]
        left_out = float(np.nanmean(log.left_out)) if np.isfinite(log.left_out).any() else 0.0
        verdict = by_limits(left_out, LEFT_OUT, MUCH_LEFT_OUT) if rung.name in prints else Verdict.UNKNOWN
        other = prints.get(rung.name, usual) != usual
        findings.append(
            Finding(
                run=rung.name,
                verdict=Verdict.BAD if other else verdict,
                values={"left_out": left_out},
                names=("other text",) if other else (),
            )
        )
    return Check(subject=Subject.DATA, findings=tuple(findings))


@lenient
@dataclass(frozen=True, kw_only=True)
class _Begun:
    """What is read of a run's config.yaml."""

    data: DataSettings


def epochs_check(config: Config, rungs: Sequence[Rung], runs: Mapping[str, RunDirectory]) -> Check:
    """How often a rung reads its text, or is to read it; of a mix the part that is read most often."""
    sizes: dict[str, int | None] = {}
    findings = []
    for rung in rungs:
        epochs = _epochs(rung, _data_of(runs[rung.name], config), sizes)
        verdict = Verdict.UNKNOWN if epochs is None else by_limits(epochs, MANY, TOO_MANY)
        findings.append(Finding(run=rung.name, verdict=verdict, values={} if epochs is None else {"epochs": epochs}))
    return Check(subject=Subject.EPOCHS, findings=tuple(findings))


def _data_of(run: RunDirectory, config: Config) -> DataSettings:
    with contextlib.suppress(UserError):
        return read(_Begun, run.config_file).data
    return config.data


def _epochs(rung: Rung, data: DataSettings, sizes: dict[str, int | None]) -> float | None:
    """None where some text is not here to be counted."""
    parts = [(data.directory or "", 1.0)] if data.mix is None else [(p.directory, p.weight) for p in data.mix.values()]
    whole = sum(weight for _, weight in parts)
    for directory, _ in parts:
        if directory not in sizes:
            sizes[directory] = _tokens(Path(directory))
    counts = [(weight / whole, sizes[directory]) for directory, weight in parts]
    if any(not count for _, count in counts):
        return None
    return max(rung.d * share / count for share, count in counts if count)


def _tokens(directory: Path) -> int | None:
    with contextlib.suppress(UserError):
        split = read(Manifest, directory / MANIFEST).splits.get("train")
        return split.tokens if split else None
    return None
