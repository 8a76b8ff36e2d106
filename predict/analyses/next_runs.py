"""Which runs could be added to a ladder, by names that somebody can train."""

from __future__ import annotations

from ladder.rungs.rung import Target, parse_run_name, rung_name
from predict.measured.counts import short_number
from predict.measured.ladder import Measured
from predict.measured.same import NEAR, SAME, levels, same_point


def candidates(measured: Measured, target: Target) -> list[tuple[str, float, float]]:
    """(name, N, D) of runs not yet made that cost less than the target.

    Sizes: the ladder's, those its configuration knows beyond, or else twice the largest, all below the target's.
    Multiples: those of the configuration, or else the ladder's own and twice the largest. Runs that are not named by
    size and multiple are another project's, and get its lengths (`_foreign`).
    """
    if measured.ladder is None and not all(parse_run_name(run.name) for run in measured.rungs):
        runs = _foreign(measured, target)
        have, within = [(run.n, run.d) for run in measured.rungs], NEAR
    else:
        runs = _by_multiples(measured, target)
        have, within = [(run.n, 20 * run.n * run.multiple) for run in measured.rungs], SAME
    return [
        (name, n, d)
        for name, n, d in runs
        if n * d < target.n * target.d and not any(same_point((n, d), point, within) for point in have)
    ]


def _by_multiples(measured: Measured, target: Target) -> list[tuple[str, float, float]]:
    sizes = {run.size: run.n for run in measured.rungs}
    smallest, largest = min(sizes.values()), max(sizes.values())
    multiples = set(levels(run.multiple for run in measured.rungs))
    if measured.ladder is not None:
        shapes = measured.ladder.sizes | measured.ladder.larger_sizes
        sizes |= {size: float(shape.n) for size, shape in shapes.items() if smallest <= shape.n < target.n}
        multiples = set(levels([*multiples, *measured.ladder.multiples]))
    else:
        multiples.add(2 * max(multiples))
    if max(sizes.values()) == largest and 2 * largest < target.n:
        sizes[short_number(2 * largest)] = 2 * largest
    return [
        (rung_name(size, multiple), n, 20 * n * multiple) for size, n in sizes.items() for multiple in sorted(multiples)
    ]


def _foreign(measured: Measured, target: Target) -> list[tuple[str, float, float]]:
    """Sizes on the lengths that the ladder has and twice the longest, whether those are of tokens or of tokens per
    parameter; where all runs have one length, half of it too. No shorter run: that far down no law was fitted."""
    ns = levels((run.n for run in measured.rungs), NEAR)
    ns += [2 * ns[-1]] if 2 * ns[-1] < target.n else []
    tokens = levels((run.d for run in measured.rungs), NEAR)
    ratios = levels((run.d / run.n for run in measured.rungs), NEAR)
    lengths = tokens if len(tokens) <= len(ratios) else ratios
    lengths = [*([lengths[0] / 2] if len(lengths) == 1 else []), *lengths, 2 * lengths[-1]]
    points = [(n, length if len(tokens) <= len(ratios) else length * n) for n in ns for length in lengths]
    return [(f"{short_number(n)} on {short_number(d)} tokens", n, d) for n, d in points]
