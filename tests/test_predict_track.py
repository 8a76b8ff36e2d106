"""A big run beside its forecast, on ladders whose curves are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated_ladder import ACCURACY, LM_LOSS, LOSS, MULTIPLES, SIZES, rows_of, simulated, write

from ladder.config.config import load_config
from ladder.config.settings import Smoothing
from ladder.errors import UserError
from ladder.rungs.rung import Target
from predict.__main__ import main
from predict.analyses.following import follow, run_of
from predict.analyses.track import EXIT_OUTSIDE
from predict.fitting.drops import DropLaw, fit_drops, interpolated, nodes
from predict.measured.ladder import Measured
from predict.measured.rungs import measured_ladder
from predict.measured.table import check, table_of
from predict.methods.companion import schedule_knee
from predict.methods.course import FIRST
from predict.methods.fits import Fits
from predict.methods.slack import Slack, Weighing, estimate, fit_slack, sd_of

TARGET = Target(name="7B-20xC", n=7e9, d=2.8e12)
SMOOTHING = Smoothing(final_checkpoints=1, window=3, skip_fraction=0.1)
N = np.repeat(list(SIZES.values()), len(MULTIPLES))
D = 20 * N * np.tile(MULTIPLES, len(SIZES))
RUN = ("--run", "7B-20xC")


def ladder_of(frame: pd.DataFrame) -> Measured:
    return measured_ladder(frame, "simulated", name="simulated", smoothing=SMOOTHING, ladder=None)


def changed(frame: pd.DataFrame, run: str, first: int, last: int, factor: float) -> pd.DataFrame:
    """The losses of a run from one step to another, times a factor."""
    rows = (frame.run == run) & frame.step.between(first, last) & frame.metric.isin(["lm_loss", "rc_bpb"])
    return frame.assign(value=frame.value.where(~rows, frame.value * factor))


def tracked(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = main(["track", "--ladder", str(path), *RUN, *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def law_of(grid: np.ndarray, losses: np.ndarray, knee: float, noise: float = 1e-4) -> DropLaw:
    finals, floors = np.asarray(LM_LOSS(N, D)), np.array([LM_LOSS.E])
    (law,) = fit_drops(N, D, grid, losses, finals, np.ones((1, 16)), floors, noise=noise, knee=knee)
    return law


def test_a_drop_carries_over_to_a_run_that_is_far_larger() -> None:
    grid = nodes(0.05, 0.0)
    losses = np.array([LM_LOSS(n, grid * d) for n, d in zip(N, D, strict=True)])
    law = law_of(grid, losses, knee=0.0)
    shares = np.array([0.1, 0.25, 0.5, 0.75, 1.0])
    end, losses = float(LM_LOSS(TARGET.n, TARGET.d)), np.asarray(LM_LOSS(TARGET.n, shares * TARGET.d))
    np.testing.assert_allclose(law.before(end, shares, TARGET.n, TARGET.d) - end, losses - end, rtol=0.1)
    np.testing.assert_allclose(law.end(losses, shares, TARGET.n, TARGET.d), end, rtol=0.005)
    assert np.isnan(law(0.01, TARGET.n, TARGET.d))


def test_noise_in_the_rungs_makes_no_spikes_far_beyond_them() -> None:
    grid, shaken = nodes(0.05, 0.0), np.random.default_rng(4).normal(1, 0.05, (16, len(nodes(0.05, 0.0))))
    law = law_of(grid, shaken * [LM_LOSS(n, grid * d) for n, d in zip(N, D, strict=True)], knee=0.0, noise=0.05)
    end, losses = float(LM_LOSS(13e9, 5e12)), np.asarray(LM_LOSS(13e9, grid * 5e12))
    np.testing.assert_allclose(law.before(end, grid, 13e9, 5e12), losses, rtol=0.1)


def test_slopes_are_not_drawn_together_across_the_start_of_a_decay() -> None:
    """What is left to fall on the plateau grows with N, and after it with 1/N."""
    grid, finals = nodes(0.05, 0.8), np.asarray(LM_LOSS(N, D))
    slopes = np.where(grid <= 0.8, 0.3, -0.3)
    losses = finals[:, None] + 0.1 * (finals - LM_LOSS.E)[:, None] * (N / 5e8)[:, None] ** slopes
    law = law_of(grid, losses, knee=0.8)
    np.testing.assert_allclose(law.coefficients[:, 1], slopes, atol=0.02)


def test_nothing_is_interpolated_across_the_start_of_a_decay() -> None:
    shares, values = np.array([0.2, 0.5, 0.8, 0.9, 1.0]), np.array([3.0, 2.5, 2.3, 1.9, 1.8])
    found = interpolated(np.array([0.75, 0.8, 0.81, 0.9]), shares, values, 0.8)
    assert found[0] == pytest.approx(2.5 + (2.3 - 2.5) * np.log(0.75 / 0.5) / np.log(0.8 / 0.5))
    assert found[1] == 2.3 and np.isnan(found[2]) and found[3] == 1.9
    late = interpolated(np.array([0.78, 0.8]), np.delete(shares, 2), np.delete(values, 2), 0.8)
    assert list(late) == [2.5, 2.5]  # the plateau goes on as it was measured last


def wsd(n: float, tokens: np.ndarray, d: float) -> np.ndarray:
    """A plateau 5% above the law, and from 80% of the tokens a straight way down to it."""
    decay = np.clip((tokens / d - 0.8) / 0.2, 0, 1)
    return np.asarray(LM_LOSS(n, tokens) * (1 + 0.05 * (1 - decay)))


def test_a_plateau_and_a_decay_are_treated_as_what_they_are() -> None:
    frame = simulated()
    lm = frame.metric == "lm_loss"
    frame = frame.assign(value=frame.value.where(~lm, wsd(frame.n, frame.tokens, frame.d)))
    ladder = load_config(
        ["ladder=nano", "ladder.recipe.schedule=wsd", "ladder.recipe.decay_fraction=0.2"]
    ).ladder.build()
    assert schedule_knee(replace(ladder_of(frame), ladder=ladder)) == pytest.approx(0.8)
    assert schedule_knee(ladder_of(frame)) == 0
    grid = nodes(0.05, 0.8)
    assert 0.8 in grid
    law = law_of(grid, np.array([wsd(n, grid * d, d) for n, d in zip(N, D, strict=True)]), knee=0.8)
    shares = np.array([0.3, 0.79, 0.8, 0.85, 0.95])
    end = float(LM_LOSS(TARGET.n, TARGET.d))
    truth = wsd(TARGET.n, shares * TARGET.d, TARGET.d)
    np.testing.assert_allclose(law.before(end, shares, TARGET.n, TARGET.d) - end, truth - end, rtol=0.2)


def test_a_healthy_run_stays_inside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = simulated(noise=0.002)
    half = frame[(frame.run != "7B-20xC") | (frame.step <= 10)]
    code, (now, final) = tracked(capsys, write(tmp_path / "half.csv", half))
    assert code == 0 and "at 50.0% of its training (1.4T of 2.8T tokens)" in now["title"]
    assert {row["quantity"] for row in now["rows"]} == {"LM loss", "quiz loss", "quiz"}
    assert all(row["now"] != "OUTSIDE" and row["outside 95%"].startswith("0 of") for row in now["rows"])
    lm = now["rows"][0]
    assert lm["expected"] == pytest.approx(float(LM_LOSS(7e9, 1.4e12)), rel=0.02)
    (row,) = final["rows"]
    truth = 100 * float(ACCURACY(LOSS(7e9, 2.8e12)))
    assert abs(row["now"] - truth) < max(abs(row["forecast"] - truth), 0.8)
    assert row["now 80% high"] - row["now 80% low"] < row["80% interval high"] - row["80% interval low"]
    assert row["now 80% low"] < truth < row["now 80% high"]


def test_where_no_rung_was_measured_there_is_no_band(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of a WSD ladder, whose rungs have checkpoints of their own in the decay alone."""
    frame = simulated(noise=0.002)
    target = frame.run == "7B-20xC"
    path = write(tmp_path / "decay.csv", frame[(target & (frame.step <= 10)) | (~target & (frame.step > 16))])
    code, (now, final) = tracked(capsys, path)
    assert code == 0 and {(row["now"], row["outside 95%"]) for row in now["rows"]} == {("no band yet", "0 of 0")}
    (row,) = final["rows"]
    assert row["now"] == row["forecast"]


def test_a_spike_sets_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "spike.csv", changed(simulated(noise=0.002), "7B-20xC", 12, 12, 1.05))
    code, (*_, off) = tracked(capsys, path)
    assert code == EXIT_OUTSIDE == 3
    spikes = [row for row in off["rows"] if row["what"].startswith("a spike")]
    assert [(row["quantity"], row["run seen"]) for row in spikes] == [("LM loss", pytest.approx(0.6))]
    code, tables = tracked(capsys, path, "--since", "0.7")
    assert code == 0 and len(tables) == 2


def test_a_run_that_drifts_off_leaves_the_band(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = simulated(noise=0.002)
    for step in range(8, 21):
        frame = changed(frame, "7B-20xC", step, step, 1 + 0.012 * (step - 7))
    code, (now, _, off) = tracked(capsys, write(tmp_path / "drift.csv", frame))
    assert code == EXIT_OUTSIDE and now["rows"][0]["now"] == "OUTSIDE" and off["title"] == "Outside the band"
    assert {row["what"] for row in off["rows"] if row["quantity"] == "LM loss"} >= {"outside the band"}


def test_without_losses_accuracies_are_carried_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = simulated(noise=0.002)
    code, (now, final) = tracked(capsys, write(tmp_path / "accuracies.csv", frame[frame.metric == "rc_acc"]))
    assert code == 0 and [row["quantity"] for row in now["rows"]] == ["quiz"]
    assert final["rows"][0]["now"] == pytest.approx(100 * float(ACCURACY(LOSS(7e9, 2.8e12))), abs=1.5)


def test_a_registered_forecast_and_a_run_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = simulated(noise=0.002)
    ladder = write(tmp_path / "ladder.csv", frame[frame.run != "7B-20xC"])
    run = write(tmp_path / "run.csv", frame[(frame.run == "7B-20xC") & (frame.step <= 10)])
    record, paper = tmp_path / "forecast.json", tmp_path / "paper.json"
    words = ["register", "--ladder", str(ladder), "--n", "7e9", "--d", "2.8e12"]
    main([*words, "--output", str(record)])
    main([*words, "--method", "paper", "--output", str(paper)])
    code, (now, final) = tracked(capsys, ladder, "--measured", str(run), "--forecast", str(record))
    assert code == 0 and str(record) in now["title"]
    registered = json.loads(record.read_text())["tasks"]["quiz"]["accuracy"]["value"]
    assert final["rows"][0]["forecast"] == pytest.approx(100 * registered)
    with pytest.raises(UserError, match=r"paper\.json has no intervals.*--method default"):
        tracked(capsys, ladder, "--measured", str(run), "--forecast", str(paper))
    node = json.loads(record.read_text())
    node["tasks"]["quiz"]["loss"]["interval80"] = None
    (tmp_path / "half.json").write_text(json.dumps(node))
    with pytest.raises(UserError, match=r"half\.json has no intervals"):
        tracked(capsys, ladder, "--measured", str(run), "--forecast", str(tmp_path / "half.json"))
    with pytest.raises(UserError, match=r'unknown run of .*run\.csv "7B"; known: 7B-20xC'):
        main(["track", "--ladder", str(ladder), "--measured", str(run), "--run", "7B"])
    with pytest.raises(UserError, match=r"--since 7: must be a share"):
        tracked(capsys, ladder, "--measured", str(run), "--since", "7")


def test_evidence_moves_a_forecast_that_was_wrong() -> None:
    """A target 4 points better than any law of its ladder says."""
    rows = [row for row in simulated(noise=0.002).to_dict("records") if row["run"] != "7B-20xC"]
    rows += rows_of("7B-20xC", "7B", 7e9, 2.8e12, noise=0.002, shift=0.04)
    data = ladder_of(table_of(rows, "simulated"))
    run = next(run for run in data.runs if run.name == "7B-20xC")
    followed = follow(Fits(data, TARGET), run)
    prior = followed.predictions["quiz"].accuracy
    truth = float(ACCURACY(LOSS(7e9, 2.8e12))) + 0.04
    found = [followed.companion.updated("quiz", prior, share) for share in (0.05, FIRST, 0.25, 0.5, 0.9)]
    assert found[0] == prior
    widths = [one.interval80.width for one in found if one.interval80]
    assert widths == sorted(widths, reverse=True)
    errors = [abs(one.value - truth) for one in found]
    assert errors[-1] < errors[2] < errors[0] and found[-1].interval95 and truth in found[-1].interval95


def test_slack_is_found_again() -> None:
    random = np.random.default_rng(0)
    ways = random.uniform(0, 0.1, 4000)
    errors = random.standard_normal(4000) * np.hypot(0.006, 0.3 * ways)
    found = fit_slack(errors, ways, Slack(noise=0.004, misfit=0.05))
    assert found.noise == pytest.approx(0.006, rel=0.2) and found.misfit == pytest.approx(0.3, rel=0.2)
    assert found.widened(3).noise > found.widened(10).noise > found.noise
    left = random.uniform(0, 1, 4000)
    errors = random.standard_normal(4000) * np.sqrt(0.006**2 + (0.1 * ways) ** 2 + (0.05 * left) ** 2)
    fading = fit_slack(errors, ways, Slack(noise=0.004, misfit=0.05), left=left)
    assert fading.run == pytest.approx(0.05, rel=0.2) and found.run == 0
    assert fading.sd(0.0, 0.1) < 0.3 * fading.sd(0.0, 0.9)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_better_of_two_values_weighs_more_and_the_mean_is_no_worse(rho: float) -> None:
    prior = estimate(0.5, 0.04, 1.6)
    weighing = Weighing(slack=Slack(noise=0.01, misfit=0.5), correlation=rho, cells=100)
    near, far = weighing.combined(prior, 0.6, 0.0), weighing.combined(prior, 0.6, 0.2)
    assert abs(near.value - 0.6) < 0.01 and abs(far.value - 0.5) < 0.03
    assert sd_of(near) <= 0.01 + 1e-9 and sd_of(far) <= 0.04 + 1e-9


def test_accuracies_stay_below_100_percent_inside_their_intervals() -> None:
    weighing = Weighing(slack=Slack(noise=0.01, misfit=0.5), correlation=0.0, cells=100)
    found = weighing.combined(estimate(0.97, 0.04, 1.6, 0.0, 1.0), 1.05, 0.0)
    assert found.value == 1 and found.interval80 and found.interval95
    for interval in (found.interval80, found.interval95):
        assert found.value in interval and 0 < interval.low < interval.high == 1
    assert sd_of(found) == pytest.approx(0.01, rel=0.05)  # as wide as before on the side that is left


def test_an_anneal_with_its_end_alone_is_followed_by_the_run_before_it() -> None:
    rows = simulated().to_dict("records")
    target = Target(name="7B-annealed", n=7e9, d=2.85e12)
    for checkpoints, expected in ((1, "7B-20xC"), (5, "annealed")):
        anneal = rows_of("annealed", "7B", target.n, target.d, checkpoints=checkpoints)
        found = run_of(target, ladder_of(table_of([*rows, *anneal], "simulated")))
        assert found and found.name == expected


def test_the_sharpening_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = simulated(noise=0.002)
    path = write(tmp_path / "ladder.csv", frame)
    alone = write(tmp_path / "alone.csv", frame[frame.run != "7B-20xC"])
    for words, first in (([str(path), *RUN], 1), ([str(alone)], 7)):
        capsys.readouterr()
        assert main(["sharpen", "--ladder", *words, "--json"]) == 0
        (table,) = json.loads(capsys.readouterr().out)
        assert [row["run seen"] for row in table["rows"]] == [0, 0.05, 0.1, 0.25, 0.5, 0.75]
        assert {row["predictions"] for row in table["rows"]} == {first}
        assert table["rows"][-1]["mean error"] < table["rows"][0]["mean error"]
    unfinished = simulated()
    unfinished = unfinished[(unfinished.run != "7B-20xC") | (unfinished.step < 10)]
    with pytest.raises(UserError, match="holds no finished run of 7B-20xC to compare with"):
        main(["sharpen", "--ladder", str(write(tmp_path / "half.csv", check(unfinished, ""))), *RUN])


def test_a_plot_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "ladder.csv", simulated(noise=0.002))
    tracked(capsys, path, "--plot", str(tmp_path / "track.png"))
    assert (tmp_path / "track.png").read_bytes()[:4] == b"\x89PNG"


def test_the_report_shows_the_run_so_far(tmp_path: Path) -> None:
    frame = simulated(noise=0.002)
    words = ["--n", "7e9", "--d", "2.8e12", "--output", str(tmp_path / "report")]
    ladder = write(tmp_path / "ladder.csv", frame[(frame.run != "7B-20xC") | (frame.step <= 10)])
    main(["report", "--ladder", str(ladder), *words])
    assert "The run beside its forecast" in (tmp_path / "report" / "report.html").read_text()
    assert (tmp_path / "report" / "track.png").exists()


@pytest.mark.parametrize("step", [0, 1])
def test_a_run_that_has_hardly_begun_is_in_a_report(tmp_path: Path, step: int) -> None:
    frame = simulated(checkpoints=2)
    begun = frame[(frame.run == "7B-20xC") & (frame.step == 1)].assign(step=step, tokens=step * 1e9)
    rungs = frame[(frame.run != "7B-20xC") & (frame.d <= 1e11)]
    ladder = str(write(tmp_path / "ladder.csv", pd.concat([rungs, begun])))
    main(["report", "--ladder", ladder, "--n", "7e9", "--d", "2.8e12", "--output", str(tmp_path / "report")])
    assert (tmp_path / "report" / "track.png").exists() == (step > 0)
    if not step:
        with pytest.raises(UserError, match="7B-20xC was measured at no checkpoint after its start"):
            main(["track", "--ladder", ladder, *RUN])


def test_a_run_of_another_size_is_no_run_of_the_target(tmp_path: Path) -> None:
    ladder = str(write(tmp_path / "ladder.csv", simulated(checkpoints=2)))
    for verb in ("track", "sharpen"):
        with pytest.raises(UserError, match=r"190M-1xC has N = 1\.9e\+08, and target .* 7e\+09: it is no run of it"):
            main([verb, "--ladder", ladder, "--run", "190M-1xC", "--n", "7e9", "--d", "2.8e12"])


def test_how_far_a_run_had_come_follows_from_its_tokens_not_its_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch may grow with training, and a table may have no steps at all."""
    frame = simulated(noise=0.001)
    frame = frame[frame.step.isin([3, 4, 6, 9, 14, 19, 20])]
    words = ("--tasks", "quiz")
    right = tracked(capsys, write(tmp_path / "right.csv", frame), *words)
    grown = write(tmp_path / "grown.csv", frame.assign(step=frame.step.map(lambda step: 9 + int(step**0.5 * 9))))
    assert tracked(capsys, grown, *words)[1][1:] == right[1][1:]
    bare = write(tmp_path / "bare.csv", frame.drop(columns="step"))
    assert tracked(capsys, bare, *words)[1][1:] == right[1][1:]


def test_on_the_published_runs_checkpoints_halve_the_error(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--target", "7B-4T", "--run", "peteish7"), ("--target", "13B-5T")):
        capsys.readouterr()
        main(["sharpen", "--ladder", str(shared / "olmo-ladder" / "runs"), *words, "--json"])
        (table,) = json.loads(capsys.readouterr().out)
        before, half = (next(row for row in table["rows"] if row["run seen"] == at) for at in (0, 0.5))
        assert half["mean error"] < 0.6 * before["mean error"]
        assert half["mean error"] < 0.7 * half["last checkpoint: mean error"]
        assert half["80% half-width"] < 0.6 * before["80% half-width"] and half["80% held"] >= 65
