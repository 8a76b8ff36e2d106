"""Whether a bad rung is named by its loss, its curve or a sweep around it, on ladders whose curves are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from simulated_ladder import LM_LOSS, MULTIPLES, SIZES, rows_of, simulated, write

from ladder.check.training import OF_TRAINING
from ladder.config.settings import Smoothing
from ladder.records.checks import Check, Subject, Verdict, checks_of
from ladder.rungs.rung import Target, Variation
from predict.__main__ import main
from predict.analyses.check import checks
from predict.analyses.checked_ladder import CheckedLadder
from predict.measured.rungs import measured_ladder
from predict.measured.table import table_of
from predict.methods.rate_sweep import fit_parabola
from predict.methods.soundness import law_deviations
from predict.methods.student import limit

SMOOTHING = Smoothing(final_checkpoints=1, window=3, skip_fraction=0.1)
TARGET = Target(name="7B-20xC", n=7e9, d=2.8e12)
N = np.repeat(list(SIZES.values()), len(MULTIPLES))
D = 20 * N * np.tile(MULTIPLES, len(SIZES))
NOISE = 0.002
BAD_RUN = "370M-5xC"


def rungs_alone(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame.run != TARGET.name]


def found_in(frame: pd.DataFrame) -> dict[Subject, Check]:
    measured = measured_ladder(
        rungs_alone(frame), "simulated", name="simulated", smoothing=SMOOTHING, ladder=None, at_least=1
    )
    return {one.subject: one for one in checks(CheckedLadder(measured=measured, target=TARGET))}


def names_of(check: Check) -> list[str]:
    return [one.run for one in check.named]


def changed(frame: pd.DataFrame, run: str, factor: Callable[[pd.Series], pd.Series]) -> pd.DataFrame:
    """The LM losses of a run, times a factor of its share of training."""
    rows = (frame.run == run) & (frame.metric == "lm_loss")
    return frame.assign(
        value=frame.value.where(~rows, frame.value * factor(frame.step / frame.groupby("run").step.transform("max")))
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_ladder_is_not_named(seed: int) -> None:
    found = found_in(simulated(noise=4 * NOISE, seed=seed))  # a quarter of it is the LM loss's
    assert list(found) == [*OF_TRAINING, Subject.LAW, Subject.COLLAPSE]
    assert not any(one.named for one in found.values())
    assert found[Subject.SKIPPED].verdict is Verdict.UNKNOWN  # no table has it
    assert len(found[Subject.LAW].judged) == 16


def test_a_rung_that_ends_off_the_law_is_named_and_no_other() -> None:
    found = found_in(changed(simulated(noise=4 * NOISE), BAD_RUN, lambda share: 1 + 0.03 * share**0))
    law = found[Subject.LAW]
    assert names_of(law) == [BAD_RUN] and law.verdict is Verdict.BAD
    (one,) = law.named
    assert one.values["relative"] == pytest.approx(0.03, abs=0.01)
    assert abs(one.values["at_target"]) > 0.005
    assert law.values["noise"] == pytest.approx(NOISE, rel=0.6)  # the bad one has no part in it


def test_two_bad_rungs_do_not_hide_each_other() -> None:
    frame = changed(simulated(noise=4 * NOISE), BAD_RUN, lambda share: 1.04 + 0 * share)
    found = found_in(changed(frame, "1.3B-1xC", lambda share: 1.04 + 0 * share))
    assert set(names_of(found[Subject.LAW])) == {BAD_RUN, "1.3B-1xC"}


def test_a_run_whose_curve_is_another_is_named_though_it_ends_on_the_law() -> None:
    found = found_in(changed(simulated(noise=NOISE), BAD_RUN, lambda share: 1 + 0.15 * (1 - share)))
    assert names_of(found[Subject.COLLAPSE]) == [BAD_RUN]
    assert found[Subject.COLLAPSE].named[0].values["relative"] > 0  # it falls later than the others
    assert found[Subject.LAW].verdict is Verdict.OK


def test_a_spike_and_a_divergence_among_many_checkpoints() -> None:
    frame = changed(simulated(noise=NOISE, checkpoints=60), BAD_RUN, lambda share: 1 + 0.2 * (share == 40 / 60))
    found = found_in(changed(frame, "190M-2xC", lambda share: 1 + (share - 0.8).clip(0)))
    assert [one.verdict for one in found[Subject.SPIKES].findings if one.run == BAD_RUN] == [Verdict.LOOK]
    assert names_of(found[Subject.DIVERGENCE]) == ["190M-2xC"]


def test_few_rungs_and_losses_of_tasks_alone() -> None:
    frame = simulated(noise=NOISE)
    few = found_in(frame[frame.run.isin([f"190M-{m}xC" for m in MULTIPLES])])
    assert {one.verdict for one in few.values()} == {Verdict.UNKNOWN}
    tasks = frame[frame.metric != "lm_loss"]
    rows = (tasks.run == BAD_RUN) & (tasks.metric == "rc_bpb")
    assert names_of(found_in(tasks.assign(value=tasks.value.where(~rows, tasks.value * 1.05)))[Subject.LAW]) == [
        BAD_RUN
    ]


def test_an_unfinished_run_is_not_judged() -> None:
    frame = simulated(noise=NOISE)
    half = frame[(frame.run != BAD_RUN) | (frame.step <= 10)]
    found = found_in(half)
    assert found[Subject.LAW].verdict is Verdict.OK and len(found[Subject.LAW].judged) == 15


def test_limits_hold_as_often_as_they_say() -> None:
    """Of clean ladders with a noise of their own, about one in fifty has a run beyond the limit for a look."""
    random = np.random.default_rng(0)
    beyond = 0
    for _ in range(150):
        losses = LM_LOSS(N, D) * np.exp(0.003 * random.standard_normal(len(N)))
        found = law_deviations(N, D, losses)
        assert found is not None
        beyond += bool((np.abs(found.sigmas) > found.limits()[0]).any())
    assert beyond <= 9


@pytest.mark.parametrize("freedom", [1, 2, 5, 8, 13])
@pytest.mark.parametrize("chance", [0.05, 1e-3, 1e-6])
def test_students_limits(freedom: int, chance: float) -> None:
    assert limit(chance, freedom) == pytest.approx(student.ppf(1 - chance / 2, freedom), rel=1e-6)


def swept(
    octaves: float, by_n: float = 0.0, by_d: float = 0.0, curvature: float = 0.02, best_batch: float = 1.0
) -> pd.DataFrame:
    """A ladder with a sweep on its cheapest rungs, whose optimum lies so many octaves above the rule's rate.

    It moves by doublings of N and of the multiple.
    """

    def rows(size: str, multiple: float, variation: Variation) -> list[dict[str, object]]:
        n, d = SIZES[size], 20 * SIZES[size] * multiple
        best = octaves + by_n * np.log2(n / SIZES["190M"]) + by_d * np.log2(multiple)
        off = curvature * (np.log2(variation.lr) - best) ** 2 + 0.01 * np.log2(variation.batch / best_batch) ** 2
        name = "-".join(part for part in (f"{size}-{multiple}xC", variation.tag) if part)
        found = [row for row in rows_of(name, size, n, d, checkpoints=4) if row["metric"] == "lm_loss"]
        return [row | {"value": float(row["value"]) * float(np.exp(off))} for row in found]

    bases = [("190M", 1), ("370M", 1), ("190M", 5)]
    points = [(base, Variation(lr=lr)) for base in bases for lr in (0.25, 0.5, 2.0, 4.0)]
    others = [Variation(batch=batch, lr=lr) for batch in (0.5, 2.0) for lr in (0.5, 1.0, 2.0)]
    points += [(base, other) for base in bases[:2] for other in others]
    ladder = [row for size in SIZES for multiple in MULTIPLES for row in rows(size, multiple, Variation())]
    return table_of([*ladder, *(row for base, point in points for row in rows(*base, point))], "simulated")


def test_a_sweep_whose_optimum_is_the_rule() -> None:
    found = found_in(swept(0.0))
    assert {found[subject].verdict for subject in (Subject.RATE, Subject.BATCH, Subject.DRIFT_N, Subject.DRIFT_D)} == {
        Verdict.OK
    }
    assert found[Subject.RATE].findings[0].values["optimum"] == pytest.approx(1.0, abs=0.01)


def test_a_rate_that_is_set_too_low_is_named_with_what_it_costs() -> None:
    found = found_in(swept(1.2))
    rate = found[Subject.RATE]
    assert rate.verdict is Verdict.BAD and names_of(rate) == ["190M-1xC", "190M-5xC", "370M-1xC"]
    for one in rate.named:
        assert one.values["optimum"] == pytest.approx(2**1.2, rel=0.1)
        assert one.values["penalty"] == pytest.approx(0.02 * 1.2**2, rel=0.2)
    assert rate.values["target_penalty"] == pytest.approx(0.02 * 1.2**2, rel=0.2)
    assert rate.values["target_shift"] == pytest.approx(0.02 * 1.2**2, rel=0.3)
    assert found[Subject.DRIFT_N].verdict is Verdict.OK


def test_an_optimum_beyond_the_sweep() -> None:
    one = found_in(swept(3.0, curvature=0.01))[Subject.RATE].named[0]
    assert one.verdict is Verdict.BAD and not one.values["inside"]


def test_drift_with_n_and_with_d() -> None:
    found = found_in(swept(0.0, by_n=-0.5))
    assert found[Subject.DRIFT_N].verdict is Verdict.BAD and found[Subject.DRIFT_D].verdict is Verdict.OK
    assert found[Subject.DRIFT_N].named[0].values["octaves"] == pytest.approx(-0.5, abs=0.1)
    longer = found_in(swept(0.0, by_d=-0.5))
    assert longer[Subject.DRIFT_D].verdict is Verdict.BAD and longer[Subject.DRIFT_N].verdict is Verdict.OK


def test_another_batch_is_better() -> None:
    (first, second) = found_in(swept(0.0, best_batch=2.0))[Subject.BATCH].findings
    assert (first.verdict, first.values["optimum"]) == (Verdict.BAD, 2.0)
    assert first.values["penalty"] == pytest.approx(0.01, rel=0.1) and second.values["optimum"] == 2.0


def test_a_parabola_takes_a_diverged_point_lightly() -> None:
    octaves = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    logs = 1.0 + 0.01 * (octaves - 0.3) ** 2
    logs[-1] += 1.5
    found = fit_parabola(octaves, logs, NOISE)
    assert found is not None and found.optimum == pytest.approx(0.3, abs=0.3)
    assert fit_parabola(octaves, -logs, NOISE) is None


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean = write(tmp_path / "clean.csv", rungs_alone(simulated(noise=NOISE)))
    assert main(["check", "--ladder", str(clean)]) == 0
    page = capsys.readouterr().out
    assert "loss law" in page and "16 of 16 runs" in page
    off = write(
        tmp_path / "off.csv", rungs_alone(changed(simulated(noise=NOISE), BAD_RUN, lambda share: 1.03 + 0 * share))
    )
    assert main(["check", "--ladder", str(off), "--json"]) == 3
    *_, law, collapse = checks_of(json.loads(capsys.readouterr().out), "it")
    assert (law.verdict, collapse.verdict) == (Verdict.BAD, Verdict.OK) and names_of(law) == [BAD_RUN]
    assert main(["check", "--ladder", str(off)]) == 3
    page = capsys.readouterr().out
    assert BAD_RUN in page and "train it again with another seed" in page
