"""The prediction at the end of a ladder: what it was made of, and whether it still holds."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ladder.config.config import ladder_from_config, load_config
from ladder.errors import UserError
from ladder.files.writing import write_json
from ladder.jobs.forecast import FORECAST_SCHEMA, LadderForecast
from ladder.jobs.launch import Launch
from ladder.records.metrics_file import text_entry
from ladder.rungs.rung import Target
from ladder.runs.rundir import LadderDirectory


def launch(tmp_path: Path, *words: str) -> Launch:
    overrides = ("ladder=nano", f"runs_dir={tmp_path}", *words)
    config = load_config(overrides)
    ladder = ladder_from_config(config)
    return Launch(config=config, overrides=overrides, ladder=ladder, rungs=tuple(ladder.rungs))


def measured(accuracy: float, *more: str) -> str:
    """A metrics file of task "word", and of more."""
    results = [{"task": name, "format": "rc", "acc": accuracy} for name in ("word", *more)]
    return json.dumps({"results": results, "lm_loss": [{"name": "sotu", "nats_per_token": 3.0}]})


def test_a_prediction_of_other_inputs_is_not_current(tmp_path: Path) -> None:
    one = launch(tmp_path)
    directory = LadderDirectory(one.config.directory)
    for rung in one.rungs:
        run = directory.run(rung.name)
        run.metrics.mkdir(parents=True)
        for step in rung.hparams.checkpoint_steps:
            run.metrics_file(step).write_text(measured(0.5))

    def forecast(rungs: Sequence[Any] = one.rungs, method: str = "paper", n: float = one.target.n) -> LadderForecast:
        target = Target(name=one.target.name, n=n, d=one.target.d)
        return LadderForecast(directory, one.ladder, rungs, target, method)

    made = forecast()
    assert not made.made()
    write_json(made.path, {"inputs": made._inputs(), "predictions": []})  # as version 0.1.0 wrote it
    assert not made.made() and "is no forecast that this version reads" in made.describe()
    write_json(made.path, {"schema": FORECAST_SCHEMA, "inputs": made._inputs()})
    assert made.made() and forecast().made()
    assert not forecast(method="default").made()
    assert not forecast(n=1e9).made()
    assert not forecast(rungs=one.rungs[:-1]).made()
    first = directory.run("n0-1xC").metrics_files()[0]
    os.utime(first, (1, 1))  # as a copy has
    first.write_text(
        json.dumps(json.loads(measured(0.5)) | {"weight_files": {"a": [1, 2]}})
    )  # what evaluate noted since
    assert forecast().made()
    first.write_text(measured(0.5, "another"))  # on this checkpoint alone
    assert forecast().made()
    first.write_text(measured(0.6))
    assert not forecast().made()
    first.write_text(measured(0.5))
    for asked, made_of_it in ((("word", text_entry("sotu")), True), (("word", "another"), False)):
        now = LadderForecast(directory, one.ladder, one.rungs, one.target, "paper", asked)
        assert now.made() is made_of_it
    directory.run("n0-1xC").metrics_files()[0].unlink()
    with pytest.raises(UserError, match=r"missing: n0-1xC \(1 of 5 steps"):
        forecast().make()
