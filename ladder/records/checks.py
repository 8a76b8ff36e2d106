"""What a check of a ladder has found: a verdict a run with its values, as stages hand it on. Words come later."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ladder.files.bind import Name, Number, Text, bind, lenient


class Verdict(StrEnum):
    OK = "ok"
    LOOK = "look"
    BAD = "bad"
    UNKNOWN = "not known"


EXIT_WELL, EXIT_LOOK, EXIT_BAD = 0, 1, 3
SEVERITY = (Verdict.UNKNOWN, Verdict.OK, Verdict.LOOK, Verdict.BAD)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most severe; not known where there is none."""
    return max(verdicts, key=SEVERITY.index, default=Verdict.UNKNOWN)


def by_limits(value: float, look: float, bad: float) -> Verdict:
    """A value that is bad from one limit on and worth a look above another."""
    return Verdict.BAD if value > bad else Verdict.LOOK if value > look else Verdict.OK


class Subject(StrEnum):
    """What a check is of."""

    FINISHED = "finished"
    RULE = "recipe"
    DATA = "data"
    EPOCHS = "epochs"
    DIVERGENCE = "divergence"
    SPIKES = "spikes"
    SKIPPED = "skipped updates"
    GRADIENT = "gradient norm"
    LAW = "loss law"
    COLLAPSE = "collapse"
    RATE = "learning rate"
    BATCH = "batch"
    DRIFT_N = "drift with N"
    DRIFT_D = "drift with D"


@lenient
@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one run (or of the sweep around one): numbers by name, and names of what differs."""

    run: Name
    verdict: Verdict
    values: dict[Text, Number] = field(default_factory=dict)
    names: tuple[Text, ...] = ()


@lenient
@dataclass(frozen=True, kw_only=True)
class Check:
    """A finding for each run that there is; `values` are what they were judged by, such as the noise."""

    subject: Subject
    findings: tuple[Finding, ...] = ()
    values: dict[Text, Number] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        return worst(one.verdict for one in self.findings)

    @property
    def judged(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.verdict is not Verdict.UNKNOWN)

    @property
    def named(self) -> tuple[Finding, ...]:
        """What is not well, the worst first."""
        findings = [one for one in self.findings if one.verdict in (Verdict.LOOK, Verdict.BAD)]
        return tuple(sorted(findings, key=lambda one: -SEVERITY.index(one.verdict)))

    def to_json(self) -> dict[str, Any]:
        return {"subject": self.subject, "verdict": self.verdict} | dataclasses.asdict(self)


def checks_json(checks: Sequence[Check]) -> str:
    return json.dumps([one.to_json() for one in checks], indent=1)


def checks_of(node: Any, where: str) -> list[Check]:
    """Raises UserError where the value is not what `checks_json` writes."""
    return list(bind(tuple[Check, ...], node, where))


def exit_code(checks: Sequence[Check]) -> int:
    """0: nothing to mend as far as is known. 1: something is worth a look. 3: something is bad."""
    verdict = worst(one.verdict for one in checks)
    return {Verdict.BAD: EXIT_BAD, Verdict.LOOK: EXIT_LOOK}.get(verdict, EXIT_WELL)
