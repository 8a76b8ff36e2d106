"""The default method: its fits, its choices, its intervals and its verdicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from simulated_ladder import ACCURACY, LOSS, rows_of, simulated, write

from ladder.config.config_files import load_target
from ladder.config.settings import Smoothing
from ladder.rungs.rung import Target
from predict.__main__ import main
from predict.fitting.ridge import EXPONENTS, Prior, fit_ridge
from predict.fitting.sigmoid_batch import fit_sigmoids
from predict.fitting.step2 import fit_sigmoid
from predict.measured.ladder import Measured
from predict.measured.load import load_ladder
from predict.measured.rungs import measured_ladder
from predict.measured.runs import Curve, Run
from predict.measured.table import table_of
from predict.measured.tasks import EIGHT
from predict.methods import law_file
from predict.methods.base import Estimate, Prediction, mean_error
from predict.methods.ensemble import Ensemble
from predict.methods.fits import predict_target
from predict.methods.forecast_file import stored_tasks
from predict.methods.gate import verdict
from predict.methods.loss_fits import quantile
from predict.methods.paper import Paper
from predict.methods.splits import splits

TARGET = Target(name="7B-20xC", n=7e9, d=2.8e12)
FINAL = Smoothing(final_checkpoints=1, window=1, skip_fraction=0.1)


def data_of(frame) -> Measured:  # type: ignore[no-untyped-def]
    return measured_ladder(frame, "simulated", name="simulated", smoothing=FINAL, ladder=None)


@pytest.fixture(scope="module")
def olmo(shared: Path) -> Measured:
    return load_ladder(shared / "olmo-ladder" / "runs")


def numbers(estimate: Estimate) -> list[float]:
    """The value, then low and high of the 80% and of the 95% interval."""
    ends = [end for i in (estimate.interval80, estimate.interval95) if i for end in (i.low, i.high)]
    return [estimate.value, *ends]


def errors(data: Measured, target: str) -> tuple[float, list[Prediction]]:
    """Over the paper's eight tasks."""
    predictions = predict_target(data, load_target(target), tasks=EIGHT)
    error = mean_error(predictions)
    assert error is not None
    return error, predictions


def test_it_halves_the_papers_error_and_its_intervals_hold(olmo: Measured) -> None:
    cells: list[Prediction] = []
    for target, limit in (("7B-4T", 1.9), ("13B-5T", 2.4)):
        error, predictions = errors(olmo, target)
        assert error < limit
        cells += predictions
    inside80 = [p.actual in p.accuracy.interval80 for p in cells]  # type: ignore[operator]
    inside95 = [p.actual in p.accuracy.interval95 for p in cells]  # type: ignore[operator]
    assert np.mean(inside80) >= 0.75 and np.mean(inside95) >= 0.9
    assert np.mean([p.accuracy.interval80.width for p in cells]) / 2 < 0.06  # type: ignore[union-attr]
    assert np.mean([p.accuracy.interval95.width for p in cells]) / 2 < 0.11  # type: ignore[union-attr]


def test_a_ladder_up_to_760m_is_nearly_as_good(shared: Path) -> None:
    data = load_ladder(shared / "olmo-ladder" / "runs", sizes=["190M", "370M", "760M"])
    assert errors(data, "7B-4T")[0] < 2.7 and errors(data, "13B-5T")[0] < 2.7


def thinned(run: Run, count: int) -> Run:
    """With `count` checkpoints, evenly apart in tokens, the last among them."""

    def kept(curve: Curve) -> np.ndarray:
        wanted = curve.tokens[-1] * np.arange(1, count + 1) / count
        return np.unique(np.abs(curve.tokens[:, None] - wanted).argmin(0))

    return replace(run, curves={key: curve.where(kept(curve)) for key, curve in run.curves.items()})


def test_few_checkpoints_are_not_averaged_back_to_the_middle_of_a_run(olmo: Measured) -> None:
    """Five of six were: accuracies came out 1.8 points too low."""
    few = replace(olmo, rungs=tuple(thinned(run, 6) for run in olmo.rungs))
    error, predictions = errors(few, "7B-4T")
    bias = np.mean([100 * (p.accuracy.value - p.actual) for p in predictions if p.actual is not None])
    assert error < 2.1 and abs(bias) < 0.5, (error, bias)


def test_boolq_shows_no_trend_winogrande_a_loose_one_and_the_eight_follow(olmo: Measured) -> None:
    predictions = predict_target(olmo, load_target("7B-4T"))
    found = {p.task: p for p in predictions}
    standings = {name: p.verdict.standing for name, p in found.items()}
    assert (standings.pop("boolq"), standings.pop("winogrande")) == ("none", "loose")
    assert len(standings) == 8 and set(standings.values()) == {"follows"}
    widths = {name: p.accuracy.interval80.width for name, p in found.items() if p.accuracy.interval80}
    assert widths.pop("boolq") > 1.1 * max(widths.values())
    assert mean_error(predictions) == mean_error([p for p in predictions if p.task != "boolq"])
    assert mean_error(predictions) != mean_error([p for p in predictions if p.task != "winogrande"])


def test_shipped_laws_are_what_this_code_fits(olmo: Measured) -> None:
    shipped, target = law_file.load(law_file.SHIPPED), load_target("13B-5T")
    for p, q in zip(shipped.predict(target, "default", []), predict_target(olmo, target), strict=True):
        assert (p.task, p.actual) == (q.task, pytest.approx(q.actual))
        assert numbers(p.accuracy) == pytest.approx(numbers(q.accuracy), abs=1e-5)
        assert p.loss and q.loss and numbers(p.loss) == pytest.approx(numbers(q.loss), rel=1e-5)


def test_intervals_do_not_depend_on_the_tasks_asked_for(olmo: Measured) -> None:
    target = load_target("7B-4T")
    alone = predict_target(olmo, target, tasks=["mmlu"])[0]
    among = predict_target(olmo, target)[0]
    assert numbers(alone.accuracy) == pytest.approx(numbers(among.accuracy))
    assert alone.loss and among.loss and numbers(alone.loss) == pytest.approx(numbers(among.loss))


def test_a_known_ladder_is_predicted_within_its_interval() -> None:
    (p,) = predict_target(data_of(simulated(noise=0.004)), TARGET)
    truth = float(ACCURACY(LOSS(TARGET.n, TARGET.d)))
    assert p.accuracy.interval95 and p.loss and p.loss.interval95
    assert truth in p.accuracy.interval95 and abs(p.accuracy.value - truth) < 0.03
    for estimate in (p.accuracy, p.loss):
        value, low80, high80, low95, high95 = numbers(estimate)
        assert low95 < low80 < value < high80 < high95
    assert p.loss.interval95.low < float(LOSS(TARGET.n, TARGET.d))


def test_one_command_fits_each_method_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []
    for method in (Ensemble, Paper):

        def counted(self, *words, original=method.fit):  # type: ignore[no-untyped-def]
            if self.quick() != self:  # the quick form is what back-tests refit
                fitted.append(self.name)
            return original(self, *words)

        monkeypatch.setattr(method, "fit", counted)
    path = write(tmp_path / "mine.csv", simulated(noise=0.003))
    words = ["--ladder", str(path), "--n", "7e9", "--d", "2.8e12"]
    main(words)
    assert sorted(fitted) == ["default", "paper"]
    for method, expected in (("default", ["default", "paper"]), ("paper-flops", ["default", "paper", "paper-flops"])):
        fitted.clear()
        main(["report", *words, "--method", method, "--output", str(tmp_path / method)])
        assert sorted(fitted) == expected
        assert json.loads((tmp_path / method / "predictions.json").read_text())["method"] == method


def test_a_loss_stands_beside_one_of_the_same_metric() -> None:
    """Where a rung lacks the task's loss, what is predicted is of text, and recorded as that; the target's is not."""
    frame = simulated(noise=0.003)
    rungs = frame.run != TARGET.name
    without_loss = frame[~rungs | (frame.metric != "rc_bpb")]
    without_any = frame[~rungs | (frame.metric == "rc_acc")]
    for table, metric in ((frame, "rc_bpb"), (without_loss, "lm_loss"), (without_any, None)):
        (p,) = predict_target(data_of(table), TARGET)
        assert p.loss_metric == metric and (p.loss is None) == (metric is None)
        assert (p.actual_loss is not None) == (metric == "rc_bpb")
        recorded = stored_tasks([p])["quiz"].loss
        assert (recorded.metric if recorded else None) == metric


def test_members_drop_out_with_their_features() -> None:
    frame = simulated(noise=0.003)
    for missing, members in (
        ("lm_loss", {"task loss", "direct"}),
        ("rc_bpb", {"LM loss", "direct"}),
        (("rc_bpb", "lm_loss"), {"direct"}),
    ):
        kept = frame[~frame.metric.isin([missing] if isinstance(missing, str) else missing)]
        (p,) = predict_target(data_of(kept), TARGET)
        assert {name for name, _ in p.members} == {"curves", *members}
        assert p.accuracy.interval95 and p.actual is not None and p.actual in p.accuracy.interval95


def test_final_checkpoints_alone_are_enough() -> None:
    frame = simulated(noise=0.003, checkpoints=1)
    (p,) = predict_target(data_of(frame), TARGET)
    assert abs(p.error_points or 99.0) < 6


def test_a_task_at_chance_level_zero_works() -> None:
    frame = simulated(noise=0.003)
    frame["chance"] = frame.chance.where(frame.chance.isna(), 0.0)
    (p,) = predict_target(data_of(frame), TARGET)
    assert 0.3 < p.accuracy.value < 1


def test_a_rank_correlation_counts_for_more_over_more_runs() -> None:
    cases = [(0.99, 16), (0.88, 16), (0.5, 16), (0.5, 60), (0.65, 6), (0.5, 6), (-1.0, 3)]
    standings = ["follows", "loose", "none", "loose", "loose", "none", "none"]
    assert [verdict(*case).standing for case in cases] == standings


def test_splits_hold_out_what_lies_beyond() -> None:
    runs = data_of(simulated(checkpoints=1)).below(TARGET).rungs
    found = splits(runs)
    assert len(found) == 7
    for split in found:
        top = max(runs[i].compute for i in split.train)
        assert len(split.train) >= 5 and not set(split.train) & set(split.test)
        assert all(runs[i].compute > top for i in split.test)


def test_ladders_without_a_grid_are_split_by_compute() -> None:
    rows = [row for i in range(9) for row in rows_of(f"run{i}", f"s{i}", 1e8 * 1.7**i, 2e9 * 1.9**i, checkpoints=4)]
    data = data_of(table_of(rows, "diagonal"))
    assert [len(split.train) for split in splits(data.rungs)] == [5, 6, 7, 8]
    (law,) = Ensemble().fit(data, data.tasks()).laws
    assert law.members.keys() <= {"task loss", "LM loss", "direct"} and not law.verdict.trendless


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.booleans())
def test_the_ridge_solves_the_non_negative_least_squares(seed: int, offset: bool) -> None:
    random = np.random.default_rng(seed)
    n, d = np.exp(random.uniform(18, 22, 12)), np.exp(random.uniform(22, 27, 12))
    z, w = random.uniform(0.5, 2.0, 12), random.uniform(0.5, 2.0, (1, 12))
    terms = fit_ridge(n, d, z, w, Prior(centre=0.3, width=1.0), offset=offset, log=False)
    i, j = np.abs(EXPONENTS - terms.alpha).argmin(), np.abs(EXPONENTS - terms.beta).argmin()
    columns = [(n / terms.n0) ** -EXPONENTS[i], (d / terms.d0) ** -EXPONENTS[j], *([np.ones(12)] if offset else [])]
    root = np.sqrt(w[0])
    expected, _ = nnls(np.stack(columns, axis=1) * root[:, None], z * root)
    assert [terms.A[0], terms.B[0], *([terms.E[0]] if offset else [])] == pytest.approx(list(expected), abs=1e-6)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.floats(3, 10), st.floats(0.7, 1.0), st.floats(0.002, 0.01), st.integers(0, 1000))
def test_sigmoids_in_a_batch_equal_those_one_by_one(k: float, middle: float, noise: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.uniform(0.9, 1.6, 200)
    y = -0.75 / (1 + np.exp(-k * (x - middle))) + 1 + noise * random.standard_normal(200)
    weights = np.ones((2, 200))
    weights[1, 120:] = 0
    batch = fit_sigmoids(x, y, weights, 0.25)
    for row, count in enumerate((200, 120)):
        one = fit_sigmoid(x[:count], y[:count], 0.25)
        at = np.array([[0.8, 1.0, 1.4]])
        assert batch(np.repeat(at, 2, axis=0))[row] == pytest.approx(one(at[0]), abs=2e-3)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.floats(0.5, 0.95))
def test_the_conformal_quantile_covers_at_least_its_level(ratios: list[float], level: float) -> None:
    bound = quantile(np.array(ratios), level)
    assert np.mean(np.array(ratios) <= bound) >= level or bound == max(ratios)
