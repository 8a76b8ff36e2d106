"""What a run's log says of its training: that it diverged, spiked, skipped updates, or that its gradient grew.

Noise is estimated from the differences between neighbouring rows by their median, which neither a trend nor a spike
moves. Limits are multiples of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ladder.check.logs import RunLog
from ladder.records.checks import Check, Finding, Subject, Verdict, by_limits

OF_TRAINING = (Subject.DIVERGENCE, Subject.SPIKES, Subject.SKIPPED, Subject.GRADIENT)
LOOK, BAD = 5.0, 8.0  # standard deviations
WINDOW = 10  # rows whose median the next one is held against
FEWEST_ROWS = 3 * WINDOW
END = 0.05  # share of the rows whose mean is the loss at a point
LOST = 0.1  # of the steps: a spike that takes longer to get back from has cost the run so much of its data
UNFINISHED = 0.01  # of the updates: a run with less than 99% of them counts as not finished
NORMAL = 1.4826  # standard deviations in a median absolute deviation
LEAST_GROWTH = 0.1  # of the gradient norm, in its logarithm: the least that rungs are taken to differ by


def training_checks(logs: Mapping[str, RunLog], ended: Mapping[str, str]) -> list[Check]:
    """By run; `ended` has the error that ended a run, where one did."""
    alone = (
        (Subject.DIVERGENCE, lambda run, log: divergence(run, log, ended.get(run, ""))),
        (Subject.SPIKES, spikes),
        (Subject.SKIPPED, skipped),
    )
    checks = [
        Check(subject=subject, findings=tuple(judge(run, log) for run, log in logs.items())) for subject, judge in alone
    ]
    return [*checks, gradient_growth(logs)]


def divergence(run: str, log: RunLog, ended: str) -> Finding:
    """Whether the loss at the end is above the lowest before it; bad where it is above that of half the way too."""
    loss = log.loss[np.isfinite(log.loss)]
    if ended and len(log) and not np.isfinite(log.loss[-1]):
        return Finding(run=run, verdict=Verdict.BAD, values={"step": int(log.steps[-1])})
    if len(loss) < FEWEST_ROWS:
        return Finding(run=run, verdict=Verdict.UNKNOWN)
    rows = max(5, round(END * len(loss)))
    means = sliding_window_view(loss, rows).mean(axis=1)
    sigma = max(_noise(loss) / rows**0.5, 1e-9)
    above_lowest = float((means[-1] - means.min()) / sigma)
    above_half = float((means[-1] - means[: len(means) // 2 + 1].min()) / sigma)
    verdict = Verdict.BAD if above_half > LOOK else Verdict.LOOK if above_lowest > LOOK else Verdict.OK
    values = {"above_lowest": float(means[-1] - means.min()), "sigmas": above_lowest, "loss": float(means[-1])}
    return Finding(run=run, verdict=verdict, values=values)


def spikes(run: str, log: RunLog) -> Finding:
    """Rows far above the ones before them, and the share of the steps until the loss was back."""
    finite = np.isfinite(log.loss)
    loss, steps = log.loss[finite], log.steps[finite]
    if len(loss) < FEWEST_ROWS:
        return Finding(run=run, verdict=Verdict.UNKNOWN)
    before = np.median(sliding_window_view(loss[:-1], WINDOW), axis=1)
    heights = (loss[WINDOW:] - before) / max(_noise(loss), 1e-9)
    highest = int(heights.argmax())
    count, lost, back = 0, 0, -1
    for place in np.flatnonzero(heights > LOOK).tolist():
        if place > back:
            later = np.flatnonzero(loss[WINDOW + place :] <= before[place])
            back = place + int(later[0]) if len(later) else len(heights) - 1
            count, lost = count + 1, lost + int(steps[WINDOW + back] - steps[WINDOW + place - 1])
    share = lost / int(steps[-1])
    return Finding(
        run=run,
        verdict=Verdict.OK if not count else Verdict.BAD if share > LOST else Verdict.LOOK,
        values={
            "count": count,
            "step": int(steps[WINDOW + highest]),
            "sigmas": float(heights[highest]),
            "lost": share,
        },
    )


def skipped(run: str, log: RunLog) -> Finding:
    """Updates that were not applied, as their gradient was not finite."""
    counts = log.skipped[np.isfinite(log.skipped)]
    if not len(counts):
        return Finding(run=run, verdict=Verdict.UNKNOWN)
    count = int(counts.max())
    share = count / max(int(log.steps[-1]), 1)
    return Finding(run=run, verdict=by_limits(share, 0.0, UNFINISHED), values={"count": count, "share": share})


def gradient_growth(logs: Mapping[str, RunLog]) -> Check:
    """The gradient norm of the last tenth over that of the second quarter, beside the same of the other rungs."""
    growths = {run: _growth(log) for run, log in logs.items()}
    log_growths = {run: np.log(growth) for run, growth in growths.items() if growth is not None}
    values = np.array(list(log_growths.values()))
    if len(log_growths) < 4:
        return Check(
            subject=Subject.GRADIENT, findings=tuple(Finding(run=run, verdict=Verdict.UNKNOWN) for run in logs)
        )
    middle = float(np.median(values))
    sigma = max(NORMAL * float(np.median(np.abs(values - middle))), LEAST_GROWTH)
    findings = []
    for run in logs:
        if run not in log_growths:
            findings.append(Finding(run=run, verdict=Verdict.UNKNOWN))
            continue
        sigmas = float((log_growths[run] - middle) / sigma)
        facts = {"growth": float(np.exp(log_growths[run])), "sigmas": sigmas}
        findings.append(Finding(run=run, verdict=by_limits(sigmas, LOOK, BAD), values=facts))
    return Check(subject=Subject.GRADIENT, findings=tuple(findings), values={"growth": float(np.exp(middle))})


def _growth(log: RunLog) -> float | None:
    if not len(log):
        return None
    share = log.steps / log.steps[-1]
    early, late = log.grad_norm[(share > 0.25) & (share <= 0.5)], log.grad_norm[share > 0.9]
    early, late = early[np.isfinite(early)], late[np.isfinite(late)]
    if len(early) < 3 or len(late) < 3 or np.median(early) <= 0 or np.median(late) <= 0:
        return None
    return float(np.median(late) / np.median(early))


def _noise(values: Sequence[float] | np.ndarray) -> float:
    steps = np.diff(np.asarray(values))
    return float(NORMAL * np.median(np.abs(steps - np.median(steps))) / 2**0.5)
