"""Metrics files: what version 0.1.0 wrote is read and written back as it was; a damaged one is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from ladder.errors import UserError
from ladder.records.metrics_file import MetricsFile, Trial

VALUES = {
    "bpb": 1.2345678901234567,
    "bpb_with_space": 1.1,
    "acc_per_char": 0.25,
    "acc_per_char_with_space": 0.5,
    "acc_per_byte": 0.5,
    "acc_raw": 0.75,
    "task_ce": 1.3,
    "prob_correct": 0.30000000000000004,
}
ROW = {"task": "pets", "split": "test", "format": "rc", "n": 4, "chance": 0.25, "primary": "acc_per_char", "acc": 0.25}
ROW |= VALUES | {"task_ce_normaliser": "nats per character", "stderr": dict.fromkeys(VALUES, 0.1)}
WRITTEN_BY_0_1_0 = {
    "schema": 1,
    "run": "n0-1xC",
    "size": "n0",
    "n": 17256,
    "d": 346112,
    "step": 10,
    "tokens": 40960,
    "weight_files": {"model.safetensors": [1234, 1732000000000000000]},
    "results": [ROW, ROW | {"format": "mc", "macro": VALUES}],
    "lm_loss": [{"name": "sotu", "nats_per_token": 3.5, "bits_per_byte": 1.5, "tokens": 32512, "stderr": 0.01}],
    "suite": "nano",
    "max_length": 256,
    "tries": True,
    "git_revision": "abc",
    "versions": {"python": "3.11.7"},
    "provenance": {"weights": "w", "tokenizer": "t", "dtype": "fp32", "plans": {"pets.rc": "p"}, "definitions": {}}
    | {"texts": {"sotu": "s"}},
}


def test_a_file_of_version_0_1_0_is_read_and_written_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "step-0000010.json"
    path.write_text(json.dumps(WRITTEN_BY_0_1_0, indent=1) + "\n")
    metrics = MetricsFile.load(path)
    assert metrics.results[1].macro == VALUES and metrics.n == 17256
    metrics.dump(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == path.read_text()
    foreign = WRITTEN_BY_0_1_0 | {"d": None, "tokens": None, "of_a_later_version": 1}
    del foreign["weight_files"]  # the in-loop hook knows none
    path.write_text(json.dumps(foreign))
    read = MetricsFile.load(path)
    assert (
        read.trial is None
        and read.d is None
        and "weight_files" not in read.plain()
        and '"d": null' in json.dumps(read.plain())
    )


def test_the_way_that_a_model_was_run_is_kept(tmp_path: Path) -> None:
    trial = Trial(outcome="differs", tokens=300, difference=3.9)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(WRITTEN_BY_0_1_0))
    dataclasses.replace(MetricsFile.load(path), trial=trial).dump(path)
    assert MetricsFile.load(path).trial == trial


def test_numbers_are_read_to_the_last_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0, 3, size=500)
    rows = [ROW | {"bpb": value} for value in values.tolist()]
    (tmp_path / "m.json").write_text(json.dumps(WRITTEN_BY_0_1_0 | {"results": rows}))
    assert [row.bpb for row in MetricsFile.load(tmp_path / "m.json").results] == values.tolist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "is no metrics file of schema 1"),
        ({"n": "many"}, 'n = "many": must be a number'),
        ({"results": [ROW | {"acc": None}]}, "results.0.acc = null: must be a number"),
        ({"results": [{key: value for key, value in ROW.items() if key != "bpb"}]}, "results.0.bpb is missing"),
        ({"results": [ROW | {"format": "rcc"}]}, 'unknown results.0.format "rcc"; did you mean "rc"'),
        ({"trial": {"outcome": "difers", "tokens": 9}}, 'unknown trial.outcome "difers"; did you mean "differs"'),
        ({"provenance": []}, "provenance = a list"),
    ],
)
def test_a_damaged_file_is_named_with_its_key(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(WRITTEN_BY_0_1_0 | change))
    with pytest.raises(UserError) as caught:
        MetricsFile.load(path)
    assert str(caught.value).startswith(str(path)) and words in str(caught.value)
    assert str(caught.value).endswith("evaluate that checkpoint again with --force")
