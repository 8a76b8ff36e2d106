"""Method `default` on ladders of few rungs, and tasks without a trend, where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ladder.config.settings import Smoothing
from ladder.rungs.rung import Target
from predict.fitting.curve_grid import fit_curves
from predict.measured.ladder import Measured
from predict.measured.rungs import measured_ladder
from predict.measured.table import table_of
from predict.methods.base import Prediction
from predict.methods.constants import CONSTANTS, Shares
from predict.methods.ensemble import Ensemble
from predict.methods.intervals import UNLIKE, Calibration, Reach

Law = Callable[[Any, Any], Any]

TARGET = Target(name="target", n=7e9, d=1.4e11)
NEARER = Target(name="nearer", n=2.5e9, d=5e10)
SIZES = (7e7, 1.6e8, 4.1e8, 1e9)
ITEMS, CHANCE = 1000, 0.25
LADDERS = {
    "3 rungs": [(n, 20 * n) for n in SIZES[:3]],
    "one D": [(n, 1e10) for n in (*SIZES, 2e9)],
    "6 rungs": [(n, 20 * n * m) for n in SIZES[1:] for m in (1, 5)],
    "12 rungs": [(n, 20 * n * m) for n in SIZES for m in (1, 2, 5)],
    "20 rungs": [(n, 20 * n * m) for n in SIZES for m in (0.5, 1, 2, 5, 10)],
    "one N": [(1e9, d) for d in np.geomspace(2e9, 1.2e11, 9)],
}
MOST_OFF = {
    "3 rungs": (0.05, 0.1),
    "one D": (0.055, 0.13),
    "one N": (0.07, 0.13),
}  # mean error and half-width, where they are larger than for the others


def law(random: np.random.Generator) -> Law:
    """Not of the family that is fitted: N and D have exponents of their own, and the floor is guessing."""
    level, share, alpha, beta = (random.uniform(*ends) for ends in ((0.2, 2.5), (0.3, 0.7), (0.15, 0.4), (0.15, 0.4)))

    def accuracy(n: Any, d: Any) -> Any:
        error = share * (n / 1e9) ** -alpha + (1 - share) * (d / 2e10) ** -beta
        return CHANCE + (1 - CHANCE) * np.exp(-level * error)

    return accuracy


def flat(level: float) -> Law:
    return lambda n, d: level + 0 * n * d


def ladder_of(points: Sequence[tuple[float, float]], laws: Sequence[Law], seed: int) -> Measured:
    """A run per point, a task per law, measured once with the noise of a run and of a test of `ITEMS` questions."""
    random = np.random.default_rng(seed)
    rows = []
    for i, (n, d) in enumerate(points):
        for task, one in enumerate(laws):
            value = np.clip(one(n, d) + 0.006 * random.standard_normal(), 0, 1)
            value = random.binomial(ITEMS, value) / ITEMS
            place = {
                "run": f"run{i}",
                "size": f"{n:g}",
                "n": n,
                "d": d,
                "step": 1,
                "tokens": d,
                "task": f"t{task:02d}",
                "split": "test",
            }
            rows.append(place | {"metric": "rc_acc", "value": value, "items": ITEMS, "chance": CHANCE})
    return measured_ladder(
        table_of(rows, "simulated"),
        "simulated",
        name="simulated",
        smoothing=Smoothing(final_checkpoints=1, window=1, skip_fraction=0.0),
        ladder=None,
    )


def predicted(data: Measured, target: Target = TARGET) -> list[Prediction]:
    return Ensemble().fit(data, data.tasks()).predict(target)


@pytest.mark.parametrize("name", LADDERS)
def test_intervals_hold_the_truth_from_three_rungs_up(name: str) -> None:
    random = np.random.default_rng(7)
    laws = [law(random) for _ in range(80)]
    found = predicted(ladder_of(LADDERS[name], laws, seed=3))
    truths = [float(one(TARGET.n, TARGET.d)) for one in laws]
    intervals = [(p.accuracy.interval80, p.accuracy.interval95) for p in found]
    in80 = np.mean([truth in i for truth, (i, _) in zip(truths, intervals, strict=True) if i])
    in95 = np.mean([truth in i for truth, (_, i) in zip(truths, intervals, strict=True) if i])
    assert in80 >= 0.75 and in95 >= 0.9
    error, half = MOST_OFF.get(name, (0.045, 0.09))
    assert np.mean([abs(p.accuracy.value - truth) for p, truth in zip(found, truths, strict=True)]) < error
    assert np.mean([i.width for i, _ in intervals if i]) / 2 < half


@pytest.mark.parametrize("name", LADDERS)
def test_a_task_at_chance_stays_there_and_its_interval_says_what_may_come(name: str) -> None:
    found = predicted(ladder_of(LADDERS[name], [flat(CHANCE)] * 20, seed=5), NEARER)
    rises = [p.accuracy.value - CHANCE for p in found]
    assert np.mean(np.abs(rises)) < 0.075 and max(rises) < 0.17
    assert np.mean([p.verdict.trendless for p in found]) > 0.6
    assert np.mean([CHANCE in p.accuracy.interval95 for p in found if p.accuracy.interval95]) >= 0.9


@pytest.mark.parametrize("name", ["6 rungs", "12 rungs", "20 rungs"])
def test_a_saturated_task_is_not_expected_to_rise_far(name: str) -> None:
    found = predicted(ladder_of(LADDERS[name], [flat(0.93)] * 10, seed=6))
    assert all(abs(p.accuracy.value - 0.93) < 0.03 for p in found)
    assert all(p.accuracy.interval80 and p.accuracy.interval80.high < 1 for p in found)


def test_one_number_of_tokens_is_warned_about() -> None:
    data = ladder_of(LADDERS["one D"], [flat(0.5)], seed=1)
    assert [note.values["what"] for note in data.warnings() if note.code == "one-value"] == ["number of tokens"]
    two = ladder_of(LADDERS["6 rungs"], [flat(0.5)], seed=1)
    assert not [note for note in two.warnings() if note.code == "one-value"]


def reaching(largest_n: float, one_n: bool = False) -> Calibration:
    reach = Reach(top=1e18, largest_n=largest_n, largest_d=1e10, one_n=one_n, one_d=False)
    return Calibration(reach=reach)


def test_a_ladder_of_tiny_models_has_wider_intervals_and_says_so() -> None:
    smallest = CONSTANTS.origin.smallest_n
    usual, tiny = reaching(smallest), reaching(0.9 * smallest)
    wide, narrow = (
        one.accuracy(0.5, 1e9, 1e11, spread=0.02, noise=0.01, items=1000).interval80 for one in (tiny, usual)
    )
    assert wide and narrow and wide.width == pytest.approx(UNLIKE * narrow.width)
    codes = [[note.code for note in one.notes(1e9, 1e11)] for one in (tiny, usual)]
    assert codes == [["intervals-learned", "ladder-unlike"], ["intervals-learned"]]


def test_what_a_ladder_does_not_vary_widens_its_intervals_and_is_said() -> None:
    several, one = reaching(1e8), reaching(1e8, one_n=True)
    near, far, known = (
        which.accuracy(0.5, n, 1e12, spread=0.02, noise=0.01, items=1000).interval80
        for which, n in ((one, 1e8), (one, 1e10), (several, 1e10))
    )
    assert near and far and known and far.width > 1.2 * known.width > 1.2 * near.width
    assert [note.code for note in one.notes(1e10, 1e12)] == ["intervals-learned", "unvaried"]
    assert [note.code for note in one.notes(1e8, 1e12)] == ["intervals-learned"]


def test_runs_that_are_nominally_one_size_are_one() -> None:
    reach = Reach.of(np.array([1e9, 1.004e9]), np.array([1e10, 2e10]))
    assert reach.one_n and not reach.one_d
    assert reach.unvaried(1e10, 1e12) == pytest.approx(np.log10(1e10 / 1.004e9))
    assert Reach.of(np.array([1e9, 2e9]), np.array([1e10, 1e10])).unvaried(1e12, 1e10) == 0


def test_curves_have_most_of_the_say_where_rungs_are_few_and_all_of_it_without_a_trend() -> None:
    shares = Shares(few=0.8, many=0.4, short=7, long=15, trusted=0.8)
    found = [float(shares.of(*case)) for case in ((3, 1.0), (7, 0.9), (11, 0.9), (16, 0.99), (16, 0.7))]
    assert found == pytest.approx([0.8, 0.8, 0.6, 0.4, 1.0])


def test_curves_recover_one_of_their_own() -> None:
    n, d = np.array(LADDERS["12 rungs"]).T
    truth = 0.25 + 0.75 * np.exp(-1.0 * (0.4 * (n / 1e9) ** -0.35 + 0.6 * (d / 1e11) ** -0.35))
    (found,) = fit_curves(n, d, truth[None], np.array([0.25]), np.array([0]), CONSTANTS.prior)
    mean, spread = found(TARGET.n, TARGET.d)
    expected = 0.25 + 0.75 * np.exp(-1.0 * (0.4 * 7**-0.35 + 0.6 * 1.4**-0.35))
    assert abs(mean - expected) < 0.02 < 2 * spread + 0.02
    assert np.allclose([found(a, b)[0] for a, b in zip(n, d, strict=True)], found(n, d)[0])
    assert found.flat < 1e-6
