"""Fits and smoothing on ladders whose law is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_ladder import ACCURACY, LOSS, MULTIPLES, SIZES, simulated

from ladder.config.settings import Smoothing
from ladder.rungs.rung import Target
from predict.fitting.forms import LogSigmoid, PowerLaw
from predict.fitting.step1 import fit_power_law_from_many
from predict.fitting.step2 import fit_log_sigmoid
from predict.measured.ladder import Measured
from predict.measured.rungs import measured_ladder
from predict.measured.runs import trailing_mean
from predict.measured.table import check
from predict.methods.fits import predict_target

TARGET = Target(name="7B-20xC", n=7e9, d=2.8e12)
FINAL = Smoothing(final_checkpoints=1, window=1, skip_fraction=0.1)
N = np.repeat(list(SIZES.values()), len(MULTIPLES))
D = 20 * N * np.tile(MULTIPLES, len(SIZES))


def data_of(frame, smoothing: Smoothing = FINAL) -> Measured:  # type: ignore[no-untyped-def]
    return measured_ladder(frame, "simulated", name="simulated", smoothing=smoothing, ladder=None)


def test_a_known_ladder_is_predicted_exactly() -> None:
    data = data_of(simulated())
    assert len(data.below(TARGET).rungs) == 16  # the target's own run is left out
    variant = Target(name="annealed", n=TARGET.n, d=1.05 * TARGET.d)
    assert len(data.below(variant).rungs) == 16  # and so is one that ended a little earlier
    (p,) = predict_target(data, TARGET, "paper")
    assert p.loss is not None and p.loss.value == pytest.approx(float(LOSS(TARGET.n, TARGET.d)), rel=2e-3)
    assert p.accuracy.value == pytest.approx(float(ACCURACY(LOSS(TARGET.n, TARGET.d))), abs=3e-3)
    assert p.actual == pytest.approx(float(ACCURACY(LOSS(TARGET.n, TARGET.d))), abs=1e-9)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    alpha=st.floats(0.2, 0.5), beta=st.floats(0.2, 0.5), offset=st.floats(0.3, 1.5), first=st.floats(0.2, 0.6),
    second=st.floats(0.2, 0.6),
)  # fmt: skip
def test_a_simulated_law_is_recovered(alpha: float, beta: float, offset: float, first: float, second: float) -> None:
    law = PowerLaw(A=first * 190e6**alpha, alpha=alpha, B=second * 3.8e9**beta, beta=beta, E=offset)
    fitted = fit_power_law_from_many(N, D, law(N, D)).law
    assert fitted(N, D) == pytest.approx(law(N, D), rel=3e-3)
    assert float(fitted(7e9, 2.8e12)) == pytest.approx(float(law(7e9, 2.8e12)), rel=3e-2)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.permutations(range(16)))
def test_the_order_of_runs_and_rows_does_not_matter(order: list[int]) -> None:
    frame = simulated(noise=0.01, checkpoints=3)
    runs = list(dict.fromkeys(frame.run))
    places = {run: order[i] if i < 16 else 16 for i, run in enumerate(runs)}
    shuffled = frame.iloc[np.argsort(frame.run.map(places).astype(int).to_numpy() * 7 + frame.step.to_numpy() % 3)]
    tables = [check(shuffled, "shuffled"), frame]
    losses = [[run.name for run in data_of(table).rungs] for table in tables]
    values = [[run.curves["quiz", "val", "rc_bpb"].values.tolist() for run in data_of(t).rungs] for t in tables]
    assert losses[0] == losses[1] and values[0] == values[1]


@given(st.floats(1e8, 1e11), st.floats(1e9, 1e13), st.floats(1.01, 10))
def test_laws_fall_with_size_and_data(n: float, d: float, factor: float) -> None:
    assert LOSS(n * factor, d) < LOSS(n, d) and LOSS(n, d * factor) < LOSS(n, d)
    assert ACCURACY(LOSS(n * factor, d)) > ACCURACY(LOSS(n, d))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(1, 8))
def test_trailing_mean_is_the_mean_of_the_last_values(values: list[float], window: int) -> None:
    means = trailing_mean(np.array(values), window)
    for i, mean in enumerate(means):
        assert mean == pytest.approx(np.mean(values[max(0, i + 1 - window) : i + 1]), abs=1e-9)


def test_a_log_sigmoid_is_found_where_the_published_formula_overflows() -> None:
    truth = LogSigmoid(a=-0.01, k=1.1, L0=2.0)
    loss = np.linspace(20, 60, 50)
    fitted = fit_log_sigmoid(loss, np.asarray(truth(loss)))
    assert np.allclose(fitted(loss), truth(loss), atol=1e-3)
