"""What a run's log says of its training: spikes, divergence, skipped updates, gradients that grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ladder.check.logs import RunLog, read_log
from ladder.check.training import FEWEST_ROWS, divergence, gradient_growth, skipped, spikes
from ladder.records.checks import Check, Verdict

NOISE = 0.01  # nats, of a row of a log


def log_of(loss: np.ndarray, **others: np.ndarray) -> RunLog:
    count = len(loss)
    columns = {name: np.zeros(count) for name in ("lr", "grad_norm", "skipped", "left_out")}
    return RunLog(steps=10 * np.arange(1, count + 1), loss=loss, **(columns | others))


FALLING = 3.0 + 2.0 / np.arange(1, 201) ** 0.4 + NOISE * np.random.default_rng(0).standard_normal(200)


def spiked(height: float, length: int = 1) -> np.ndarray:
    decay = height * np.exp(-np.arange(200 - 120) / length)
    return FALLING + np.concatenate([np.zeros(120), decay])


def names_of(check: Check) -> list[str]:
    return [one.run for one in check.named]


def test_a_spike_is_worth_a_look_and_one_that_lasts_is_bad() -> None:
    assert spikes("run", log_of(FALLING)).verdict is Verdict.OK
    short = spikes("run", log_of(spiked(0.5)))
    assert short.verdict is Verdict.LOOK and (short.values["count"], short.values["step"]) == (1, 1210)
    assert spikes("run", log_of(spiked(0.5, length=40))).verdict is Verdict.BAD
    assert spikes("run", log_of(FALLING[: FEWEST_ROWS - 1])).verdict is Verdict.UNKNOWN


def test_an_easy_batch_is_no_spike() -> None:
    loss = FALLING.copy()
    loss[120] -= 0.5
    assert spikes("run", log_of(loss)).verdict is Verdict.OK


def test_divergence() -> None:
    assert divergence("run", log_of(FALLING), "").verdict is Verdict.OK
    rising = FALLING + np.clip(np.arange(200) - 150, 0, None) * 0.002
    assert divergence("run", log_of(rising), "").verdict is Verdict.LOOK
    assert divergence("run", log_of(FALLING + np.clip(np.arange(200) - 150, 0, None) * 0.05), "").verdict is Verdict.BAD
    ended = np.append(FALLING, np.nan)
    assert divergence("run", log_of(ended), "UserError: 10 updates skipped").verdict is Verdict.BAD
    assert divergence("run", log_of(ended), "").verdict is Verdict.OK  # one row without an update


@pytest.mark.parametrize(("count", "verdict"), [(0, Verdict.OK), (3, Verdict.LOOK), (200, Verdict.BAD)])
def test_skipped_updates(count: int, verdict: Verdict) -> None:
    one = skipped("run", log_of(FALLING, skipped=np.full(200, float(count))))
    assert one.verdict is verdict and one.values["count"] == count


def test_a_gradient_that_grows_unlike_the_others() -> None:
    random = np.random.default_rng(0)
    logs = {f"run{i}": log_of(FALLING, grad_norm=0.3 * np.exp(0.1 * random.standard_normal(200))) for i in range(8)}
    assert gradient_growth(logs).verdict is Verdict.OK
    logs["run3"] = log_of(FALLING, grad_norm=0.3 * np.exp(np.arange(200) / 60))
    assert names_of(gradient_growth(logs)) == ["run3"]
    few = {"a": logs["run0"], "b": logs["run3"]}
    assert gradient_growth(few).verdict is Verdict.UNKNOWN


def test_a_log_that_is_cut_short_or_damaged_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert len(read_log(path)) == 0
    path.write_bytes(
        b'{"step": 20, "loss": null}\n[1]\n{"step": "x"}\n\xff\n{"step": 10, "loss": 3.5, "lr": true}\n{"st'
    )
    log = read_log(path)
    assert log.steps.tolist() == [10, 20] and log.loss[0] == 3.5 and np.isnan([log.loss[1], *log.lr]).all()
