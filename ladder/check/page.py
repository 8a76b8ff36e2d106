"""The page of a check: a line each with its verdict and the runs that it names, then what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ladder.errors import shortened
from ladder.records.checks import Check, Finding, Subject, Verdict
from ladder.words import count_of

MOST = 4  # runs that are described one by one
NARROWEST = 110  # columns where nobody looks at a terminal
COLOURS = {Verdict.OK: "green", Verdict.LOOK: "yellow", Verdict.BAD: "bold red", Verdict.UNKNOWN: "dim"}
SWEPT = (Subject.RATE, Subject.BATCH, Subject.DRIFT_N, Subject.DRIFT_D)  # whose numbers are told in any case

Values = Mapping[str, float]


def print_page(title: str, checks: Sequence[Check]) -> None:
    console = Console()
    console.width = max(console.width, NARROWEST)
    table = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("runs", overflow="fold")
    for one in checks:
        table.add_row(one.subject, Text(one.verdict, style=COLOURS[one.verdict]), Text(said(one)))
    console.print(table)
    for one in checks:
        if one.named:
            console.print(Text(f"{one.subject}: {ADVICE[one.subject]}"))


def said(check: Check) -> str:
    """What a check found, in words."""
    shown = check.judged if check.subject in SWEPT else check.named
    if not shown and not check.judged:
        reasons = dict.fromkeys(reason for one in check.findings for reason in one.names)
        return "; ".join(reasons) or "nothing to judge by"
    if not shown:
        return "; ".join([f"{len(check.judged)} of {count_of(len(check.findings), 'run')}", *_measure(check)])
    parts = [f"{one.run} {_what(check.subject, one)}" for one in shown[:MOST]]
    if len(shown) > MOST:
        parts.append("and " + shortened(", ".join(one.run for one in shown[MOST:]), 120))
    return "; ".join([*parts, *_measure(check)])


def _measure(check: Check) -> list[str]:
    values = check.values
    if "power_law" in values:
        return [f"noise of a run {values['noise']:.2%}; the power law is {values['power_law']:.2%} off the rungs"]
    if "target_penalty" in values:
        shift = f", and moves what the ladder predicts for it by {values.get('target_shift', 0.0):+.2%}"
        return [f"the rule costs the target {values['target_penalty']:.2%}" + shift * ("target_shift" in values)]
    return []


def _what(subject: Subject, one: Finding) -> str:
    return WORDS[subject](one.values, one.names)


def _recipe(values: Values, names: Sequence[str]) -> str:
    parts = [f"{name} x{values[name]:.3g}" if name in values else name for name in names]
    return "differs in " + shortened(", ".join(parts), 160)


def _data(values: Values, names: Sequence[str]) -> str:
    return "read another text than the other rungs" if names else f"left {values['left_out']:.0%} of it out of the loss"


def _spikes(values: Values, names: Sequence[str]) -> str:
    count, step = count_of(values["count"], "spike"), f"{values['step']:,.0f}"
    return f"{count}, the highest at step {step}; {values['lost']:.0%} of its steps to get back"


def _divergence(values: Values, names: Sequence[str]) -> str:
    if "above_lowest" not in values:
        return f"has no finite loss at step {values['step']:,.0f}"
    return f"ends {values['above_lowest']:.3g} above its lowest training loss"


def _law(values: Values, names: Sequence[str]) -> str:
    moved = f"; without it the target's loss {values['at_target']:+.2%}" if "at_target" in values else ""
    return f"{values['relative']:+.2%} off the others' law ({values['sigmas']:+.1f} sigma{moved})"


def _collapse(values: Values, names: Sequence[str]) -> str:
    where = "above" if values["relative"] > 0 else "below"
    return f"lies {abs(values['relative']):.2%} {where} the others' way to the end ({values['sigmas']:+.1f} sigma)"


def _rate(values: Values, names: Sequence[str]) -> str:
    if not values["inside"]:
        return "has its lowest loss beyond the sweep" + (" (higher)" if values["optimum"] > 1 else " (lower)")
    best = f"best at {values['optimum']:.2f} times the rule's rate (±{values['octaves_sd']:.2f} octaves)"
    return f"{best}, which costs {values['penalty']:.2%}"


def _drift(values: Values, names: Sequence[str]) -> str:
    moved = f"{values['octaves']:+.2f} (±{values['octaves_sd']:.2f}) octaves per doubling"
    return f"{moved}; the rule costs the largest rung {values['penalty_at_top']:.2%}"


WORDS: dict[Subject, Callable[[Values, Sequence[str]], str]] = {
    Subject.FINISHED: lambda values, names: ": ".join(
        [f"at {values['share']:.0%} of its steps", *(shortened(name, 100) for name in names)]
    ),
    Subject.RULE: _recipe,
    Subject.DATA: _data,
    Subject.EPOCHS: lambda values, names: f"reads its text {values['epochs']:.1f} times",
    Subject.DIVERGENCE: _divergence,
    Subject.SPIKES: _spikes,
    Subject.SKIPPED: lambda values, names: f"skipped {count_of(values['count'], 'update')} ({values['share']:.1%})",
    Subject.GRADIENT: lambda values, names: f"{values['growth']:.3g} times its norm of earlier on",
    Subject.LAW: _law,
    Subject.COLLAPSE: _collapse,
    Subject.RATE: _rate,
    Subject.BATCH: lambda values, names: (
        f"best at {values['optimum']:g} times the rule's batch, which costs {values['penalty']:.2%}"
    ),
    Subject.DRIFT_N: _drift,
    Subject.DRIFT_D: _drift,
}

ADVICE = {
    Subject.FINISHED: "python -m ladder run goes on with it; until then leave it out (--sizes, --multiples).",
    Subject.RULE: "a law takes the difference for an effect of N or D: train it again by the rule, or all by its own.",
    Subject.DATA: "train it again on the text of the others.",
    Subject.EPOCHS: "prepare more text: up to 4 times is as good as new, and the law knows nothing of repetition.",
    Subject.DIVERGENCE: "lower the peak learning rate (a sweep says by how much) and train it again.",
    Subject.SPIKES: "look at the data of that step; where it came back late, train it again with another seed.",
    Subject.SKIPPED: "its gradients were not finite: look at the data of those steps, and at the precision.",
    Subject.GRADIENT: "a rate that is too high often begins so: look at its loss, and sweep the rate.",
    Subject.LAW: "train it again with another seed (rung=NAME-rerun seed=1); if that is off too, it is no chance.",
    Subject.COLLAPSE: "its rate, schedule or data is not the others': compare their run.json, and train it again.",
    Subject.RATE: "set the recipe's rate to the optimum before the ladder is trained.",
    Subject.BATCH: "set the recipe's batch to the best one before the ladder is trained.",
    Subject.DRIFT_N: "the rule does not carry the optimum to larger models: change its exponent, or the recipe.",
    Subject.DRIFT_D: "the rule's rate is not the best for longer runs: set ladder.recipe.peak_lr_horizon_exponent.",
}
