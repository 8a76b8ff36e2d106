"""A run of two small checkpoints and its suite, for tests of `python -m evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_shards
from evaluate_models import documents, tiny_model, write_checkpoint, write_jsonl
from omegaconf import OmegaConf

from evaluate.__main__ import main
from evaluate.scoring.scorer import Scorer
from ladder.runs.rundir import RunDirectory


def rung_info(step: int) -> dict[str, Any]:
    return {"run": "n1-2xC", "ladder": "test", "size": "n1", "n": 28_000, "d": 1_000_000, "step": step, "tokens": step}


def suite(directory: Path) -> dict[str, Any]:
    write_shards(directory / "shards", {"val": np.arange(2000) % 390}, 390)
    return {
        "name": "tiny",
        "tasks": {
            "pets": {
                "rc": str(write_jsonl(directory / "pets-rc.jsonl", documents("rc"))),
                "mc": str(write_jsonl(directory / "pets-mc.jsonl", documents("mc"))),
            },
            "names": {"rc": str(write_jsonl(directory / "names.jsonl", documents("winogrande")))},
        },
        "lm_loss": {"text": {"shards": str(directory / "shards"), "tokens": 1024}},
    }


def write_run(tmp_path: Path) -> RunDirectory:
    """A run with two checkpoints, in a ladder directory."""
    made = RunDirectory(tmp_path / "ladder" / "n1-2xC")
    for step in (10, 20):
        path = write_checkpoint(made.checkpoint(step), tiny_model(seed=step))
        (path / "rung.json").write_text(json.dumps(rung_info(step)))
    made.run_file.write_text(json.dumps(rung_info(20)))
    OmegaConf.save(OmegaConf.create({"suite": suite(tmp_path / "data")}), made.config_file)
    return made


def evaluate(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    assert main([*map(str, words), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the plans that are scored from now on."""
    calls: list[int] = []
    original = Scorer.loglikelihoods

    def counting(self: Scorer, plan: Any, *args: Any, **kwargs: Any) -> Any:
        if len(plan.choices) > 1:  # not the trial plan
            calls.append(plan.requests)
        return original(self, plan, *args, **kwargs)

    monkeypatch.setattr(Scorer, "loglikelihoods", counting)
    return calls
