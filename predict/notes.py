"""What a reader must know about a set of numbers: a code that programs may rely on, a severity, and the values.

Notes are made where something is found out and worded where they are shown, by `Note.words` and `Note.text`. A new
kind of note is a line in `TEXTS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ladder.errors import shortened
from ladder.words import count_of

LONGEST = 300  # characters of a note
MOST = 6  # names that are listed one by one


class Severity(StrEnum):
    NOTE = "note"  # where the numbers come from
    WARNING = "warning"  # what limits them


# Code: words, with the note's values in braces; a list of names is cut to its first few.
TEXTS = {
    "few-rungs": (
        "only {count} rungs: they do not determine the five coefficients of the paper's step 1, so that its method is "
        "shown only when asked for (--method paper)"
    ),
    "one-value": "only one {what}: the fit cannot tell how loss changes with it",
    "unfinished": "no final checkpoint measured: {runs}",
    "not-measured": "not measured: {rungs}",
    "columns-absent": "{source} has no column {columns}, which the mapping names: not measured there",
    "metrics-unread": "left out, as metrics: of the mapping does not name them: {metrics}",
    "runs-empty": "left out, as nothing was measured of them: {runs}",
    "tasks-telling": (
        "over {count} of {of} shared tasks: the others are near chance, or do not rise clearly (--tasks takes them in)"
    ),
    "recipes-apart": "left out, without a scale that another has: {names}",
    "rungs-unshared": (
        "over the rungs whose N and D both have, {a} of A's {of_a} and {b} of B's {of_b}: the accuracies rest on these "
        "alone and may differ from those of predict --ladder, which fits all"
    ),
    "no-rungs": "{count:measured run} not fitted, being no rungs of ladder {ladder} (--sizes, --multiples): {runs}",
    "dearer-runs": "not fitted, as they take no less compute than {target}: {runs}",
    "tasks-unread": "left out, without an accuracy that is known (acc, acc_norm): {tasks}",
    "subjects-unread": "left out, as the other subjects of their category of MMLU were not measured: {tasks}",
    "rungs-incomplete": "not fitted, without an accuracy of {tasks}: {runs}",
    "tasks-without-feature": "left out by method {method}, as some rung lacks the loss it needs: {tasks}",
    "task-incomplete": "{tasks} left out: not measured in {runs}",
    "measured-early": (
        "{tasks} not measured at the end of {runs}: the last measurements before it are taken for the final ones"
    ),
    "task-loss-incomplete": "no task loss of {tasks} in {runs}: the member task loss takes no part there",
    "lm-loss-incomplete": "no language-modelling loss that every rung has (none in {runs}): no member LM loss",
    "mixed-recipes": "the rungs were trained by different recipes: they differ in {keys}",
    "fitted-on": "fitted on {runs:run} of {source} ({share:.2%} of the target's compute)",
    "shipped-laws": "no --ladder given: laws that come with the package",
    "laws-of": "laws fitted by this tool on {ladder} ({measurements}; {runs:run}, up to N = {max_n:.3g})",
    "members": "members: {names} (mean error on {splits:back-test} {error:.2f} points; alone: {alone})",
    "members-untested": "members: {names} (no back-tests: too few rungs)",
    "members-apart": "members: {names} (not compared by back-tests: some tasks lack a loss that a member needs)",
    "members-trendless": "members: {names} (not compared by back-tests: no task follows scale)",
    "intervals-learned": (
        "intervals: accuracy's rest on the errors on {families} model families, not on this ladder's back-tests; "
        "{unseen:.0%} wider, as families that were left out needed"
    ),
    "unvaried": (
        "the rungs have one {what} alone and the target lies {decades:.1f} decades beyond it: "
        "how accuracy changes with it is known from other families only"
    ),
    "ladder-unlike": (
        "the largest rung (N = {largest:.3g}) is smaller than all models of the families that intervals were learned "
        "from (N >= {smallest:.3g}): intervals made {factor:g} times as wide"
    ),
    "loss-calibrated": (
        "intervals of the loss: spread of the laws that fit, noise and distance, and at least as wide as {cells} "
        "back-tests of this ladder ask for"
    ),
    "loss-untested": "intervals of the loss: spread of the laws that fit, noise and distance; no back-tests",
    "losses-calibrated": (
        "intervals of losses alone: spread of the laws that fit, noise and distance, and at least as wide as {cells} "
        "back-tests of this ladder ask for"
    ),
    "losses-untested": "intervals of losses alone: spread of the laws that fit, noise and distance; no back-tests",
    "target-inside": "a run as large as the target was fitted, perhaps the target itself: no prediction",
    "beyond-back-tests": (
        "the target lies {decades:.1f} decades of N·D beyond the ladder; "
        "the back-tests reach {reached:.1f} beyond theirs"
    ),
    "at-bound": "step 1: {coefficients} at the lower bound",
    "paper-at-bound": "method paper: {coefficients} of step 1 at the lower bound",
    "paper-starts-disagree": (
        "method paper: starts of step 1 disagree (objective {lower:.0%} lower, loss at 100x compute {shift:+.1%})"
    ),
    "starts-disagree": "step 1: starts disagree (objective {lower:.0%} lower, loss at 100x compute {shift:+.1%})",
}


# What is in doubt about the laws of method paper, where they stand beside those of another.
OF_PAPER = {"at-bound": "paper-at-bound", "starts-disagree": "paper-starts-disagree"}


@dataclass(frozen=True, kw_only=True)
class Note:
    """`values` are what JSON holds: numbers, texts, lists of texts, and numbers by name."""

    code: str
    severity: Severity = Severity.NOTE
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Raises ValueError for a code without words, and for values that its words do not take: notes lie in files."""
        try:
            _ = self.words
        except (KeyError, ValueError, TypeError):
            raise ValueError(f"must be a note with a code such as {next(iter(TEXTS))}, and its values") from None

    @property
    def words(self) -> str:
        """One line of at most 300 characters, whatever its severity."""
        return shortened(TEXTS[self.code].format(**{key: _words(value) for key, value in self.values.items()}), LONGEST)

    @property
    def text(self) -> str:
        """The same, "warning: " before it where it is one."""
        return shortened(f"warning: {self.words}" if self.severity is Severity.WARNING else self.words, LONGEST)

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "severity": self.severity.value, "values": dict(self.values), "text": self.text}


def note(code: str, **values: Any) -> Note:
    return Note(code=code, values=values)


def warning(code: str, **values: Any) -> Note:
    return Note(code=code, severity=Severity.WARNING, values=values)


def each_once(notes: Sequence[Note]) -> list[Note]:
    """Without those that stand before; values may be lists, which have no hash."""
    return [one for place, one in enumerate(notes) if one not in notes[:place]]


def _words(value: Any) -> Any:
    if isinstance(value, dict):
        value = [f"{name} {number:.2f}" for name, number in value.items()]
    if isinstance(value, list | tuple):
        names = [shortened(str(item), 40) for item in value]
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        return ", ".join(names[:MOST]) + more
    if isinstance(value, int):
        return _Count(value)
    return shortened(value, 120) if isinstance(value, str) else value


class _Count(int):
    """`{runs:run}` -> "1 run", or "16 runs"."""

    def __format__(self, spec: str) -> str:
        return count_of(self, spec) if len(spec) > 2 and spec[0].isalpha() else super().__format__(spec)
