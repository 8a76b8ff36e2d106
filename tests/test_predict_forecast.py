"""Forecasts on record: written once, readable by themselves, scored when their target is finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from simulated_ladder import ACCURACY, LM_LOSS, LOSS, simulated, write
from test_predict_runs import write_run

from ladder.config.config import compose, load_config
from ladder.errors import UserError
from ladder.jobs.forecast import LadderForecast
from ladder.rungs.rung import Target
from ladder.runs.rundir import LadderDirectory
from predict.__main__ import main
from predict.methods.forecast_file import load

TARGET = ("--n", "7e9", "--d", "2.8e12", "--name", "7B-20xC")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 rungs and the finished target."""
    return write(tmp_path_factory.mktemp("ladder") / "ladder.csv", simulated(noise=0.002))


@pytest.fixture(scope="module")
def forecast(ladder: Path) -> Path:
    path = ladder.parent / "forecast.json"
    assert main(["register", "--ladder", str(ladder), *TARGET, "--output", str(path)]) == 0
    return path


def test_a_forecast_holds_what_was_predicted_and_never_what_was_measured(forecast: Path, ladder: Path) -> None:
    read = load(forecast)
    assert (read.target.name, read.method, len(read.ladder.runs)) == ("7B-20xC", "default", 16)
    assert read.ladder.share == pytest.approx(sum(6 * 20 * n**2 * 18 for n in (190e6, 370e6, 760e6, 1.28e9)) / 1.176e23)
    task = read.tasks["quiz"]
    assert task.loss is not None and task.loss.metric == "rc_bpb" and read.lm_loss is not None
    assert task.accuracy.interval80 is not None and task.accuracy.interval95 is not None
    assert float(ACCURACY(LOSS(7e9, 2.8e12))) in task.accuracy.interval80
    assert read.lm_loss.loss.value == pytest.approx(float(LM_LOSS(7e9, 2.8e12)), rel=0.02)
    assert read.laws["actuals"] == {}
    assert set(read.laws["tasks"]["quiz"]) >= {"paper", "default"}


def test_the_hash_is_of_the_measurements(forecast: Path, ladder: Path, tmp_path: Path) -> None:
    frame = simulated(noise=0.002)
    rows = frame.sample(frac=1, random_state=0)
    changed = frame.copy()
    changed.loc[changed.index[(changed.run == "190M-1xC") & (changed.step == 3)][0], "value"] *= 1.0001
    hashes = [load(forecast).ladder.measurements_sha256]
    for name, table in (("shuffled", rows), ("changed", changed)):
        source, path = write(tmp_path / f"{name}.csv", table), tmp_path / f"{name}.json"
        main(["register", "--ladder", str(source), *TARGET, "--output", str(path)])
        hashes.append(load(path).ladder.measurements_sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_nothing_is_overwritten(forecast: Path, ladder: Path) -> None:
    before = forecast.read_bytes()
    with pytest.raises(UserError, match=r"forecast\.json is there already"):
        main(["register", "--ladder", str(ladder), *TARGET, "--output", str(forecast)])
    assert forecast.read_bytes() == before
    assert not list(forecast.parent.glob(".tmp-*"))


def scores(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["score", *words, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_a_score_says_hit_or_miss(forecast: Path, ladder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table,) = scores(capsys, str(forecast), "--measured", str(ladder))
    (row,) = table["rows"]
    truth = 100 * float(ACCURACY(LOSS(7e9, 2.8e12)))
    assert row["measured"] == pytest.approx(truth, abs=0.5) and row["80%"] == row["95%"] == "hit"
    assert row["error"] == pytest.approx(row["predicted"] - row["measured"])
    assert "80% intervals hold 1 of 1" in table["notes"][0] and "LM loss on text" in table["notes"][1]


def test_several_scores_make_a_calibration(
    forecast: Path, ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    node = json.loads(forecast.read_text())
    for level, end in (("interval80", 0.2), ("interval95", 0.25)):
        node["tasks"]["quiz"]["accuracy"][level] = {"low": 0.1, "high": end}
    other.write_text(json.dumps(node))
    *tables, calibration = scores(capsys, str(forecast), str(other), "--measured", str(ladder))
    assert [table["rows"][0]["80%"] for table in tables] == ["hit", "miss"]
    assert [row["80% held"] for row in calibration["rows"]] == [100, 0, 50]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 7}, "is no forecast of schema 1"),
        ({"registered": "yesterday"}, 'registered = "yesterday": must be a date'),
        ({"targt": 1}, 'unknown key "targt"; did you mean "target"?'),
        ({"tasks": {}}, "tasks"),
    ],
)
def test_a_damaged_forecast_is_said(
    forecast: Path, ladder: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(json.loads(forecast.read_text()) | change))
    with pytest.raises(UserError) as error:
        main(["score", str(path), "--measured", str(ladder)])
    assert str(path) in str(error.value) and said in str(error.value)


def test_an_unfinished_target_has_no_score(forecast: Path, ladder: Path, tmp_path: Path) -> None:
    frame = simulated(noise=0.002)
    half = frame[(frame.run != "7B-20xC") | (frame.step <= 10)]
    with pytest.raises(UserError, match=r"holds no finished run of 7B-20xC"):
        main(["score", str(forecast), "--measured", str(write(tmp_path / "half.csv", half))])


def test_a_method_without_intervals_is_scored_too(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "paper.json"
    main(["register", "--ladder", str(ladder), *TARGET, "--method", "paper", "--output", str(path)])
    table, _ = scores(capsys, str(path), "--measured", str(ladder))
    assert "80%" not in table["rows"][0] and np.isfinite(table["rows"][0]["error"])


def test_a_ladder_registers_its_forecast_and_keeps_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = compose(words := ["ladder=nano", "ladder.multiples=[1,2]", f"runs_dir={tmp_path}"])
    config = load_config(words)
    ladder, directory = config.ladder.build(), LadderDirectory(config.directory)
    for rung in ladder.rungs:
        write_run(directory.path, rung.name, rung.size, rung.n, rung.d, OmegaConf.to_yaml(node))
    stages: list[str] = []

    def in_this_process(package: str, verb: str, *words: str) -> None:
        stages.append(verb)
        if verb == "register":
            main([verb, *words])

    monkeypatch.setattr("ladder.jobs.forecast.stage_output", in_this_process)
    monkeypatch.setattr(LadderForecast, "missing", lambda self, rung: "")
    target = Target(name="mine", n=1e6, d=1e8)
    forecast = LadderForecast(directory, ladder, ladder.rungs, target, "default")
    forecast.path.write_text('{"predictions": []}')  # as version 0.1.0 left it
    forecast.make()
    assert stages == ["report", "register"] and forecast.made() and "prediction for mine" in forecast.describe()
    assert load(forecast.path).target.name == "mine" and len(load(forecast.path).ladder.runs) == 6
    assert forecast.path.with_suffix(".1.json").read_text() == '{"predictions": []}'
    forecast.make()
    assert len(stages) == 2
