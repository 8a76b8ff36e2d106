"""A sweep of learning rate and batch on a ladder's cheapest rungs: whether the recipe's rule is near its optimum.

Rates on the smallest rung, on the size above it (how the optimum drifts with N) and on a longer run of the smallest
size (how it drifts with D); two other batches on the first two, each with rates of its own, since a larger batch wants
a higher one. The points at factor 1 are the ladder's own rungs.
"""

from __future__ import annotations

from ladder.rungs.rung import Ladder, Rung, Variation

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the rule's: so wide that the optimum of a rule that is off lies inside
BATCHES = (0.5, 2.0)
RATES_OF_BATCHES = (0.5, 1.0, 2.0)
LONGER = 4.0  # times the multiple of the smallest rung


def sweep_rungs(ladder: Ladder) -> list[Rung]:
    """The points, those on the ladder's smallest rung first; a batch that is rounded to the rule's own is left out."""
    sizes = sorted(ladder.sizes, key=lambda size: ladder.sizes[size].n)[:2]
    shortest, *more = sorted(ladder.multiples)
    longer = next((multiple for multiple in more if multiple >= LONGER * shortest), more[-1] if more else None)
    bases = [(size, shortest) for size in sizes] + ([(sizes[0], longer)] if longer else [])
    rates = [(*base, Variation(lr=lr)) for base in bases for lr in RATES]
    batches = [
        (size, shortest, Variation(batch=batch, lr=lr))
        for size in sizes
        for batch in BATCHES
        for lr in RATES_OF_BATCHES
    ]
    points = [ladder.make_rung(*point) for point in (*rates, *batches)]
    plain = {rung.size: rung.hparams.batch_sequences for rung in points if not rung.variation.tag}
    return [rung for rung in points if rung.variation.batch == 1 or rung.hparams.batch_sequences != plain[rung.size]]
