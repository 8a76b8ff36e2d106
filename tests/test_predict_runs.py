"""Predicting from a ladder's own run directories, as the trainer and the evaluator leave them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from simulated_ladder import ACCURACY

from ladder.config.config import compose, config_of
from ladder.errors import UserError
from ladder.files.writing import write_json, write_text
from ladder.records.metrics_file import LmLossResult, MetricsFile, Provenance, TaskResult
from ladder.runs.rundir import RunDirectory
from predict.__main__ import main
from predict.analyses.collect import main as collect
from predict.fitting.forms import PowerLaw

LOSS = PowerLaw(A=40.0, alpha=0.45, B=60.0, beta=0.3, E=0.0)  # no offset: E ends at its bound
CHECKPOINTS = 5


def write_run(path: Path, name: str, size: str, n: float, d: float, config: str, last: int = CHECKPOINTS) -> None:
    run = RunDirectory(path / name)
    write_json(run.run_file, {"run": name})
    write_text(run.config_file, config)
    for step in range(1, last + 1):
        tokens = d * step / CHECKPOINTS
        loss = float(LOSS(n, tokens))
        accuracy = float(ACCURACY(loss))
        accuracies = dict.fromkeys(
            ("acc", "acc_per_char", "acc_per_char_with_space", "acc_per_byte", "acc_raw", "prob_correct"), accuracy
        )
        result = TaskResult(
            task="order",
            split="val",
            format="rc",
            n=1200,
            chance=0.25,
            primary="acc_per_char",
            task_ce_normaliser="nats per character",
            stderr={},
            **accuracies,
            **dict.fromkeys(("bpb", "bpb_with_space", "task_ce"), loss),
        )
        lm = LmLossResult(name="sotu", tokens=1000, nats_per_token=loss + 1, bits_per_byte=1.0, stderr=0.0)
        MetricsFile(
            run=name,
            size=size,
            n=n,
            d=d,
            step=step,
            tokens=tokens,
            results=(result,),
            lm_loss=(lm,),
            suite="nano",
            max_length=256,
            tries=True,
            git_revision="",
            versions={},
            provenance=Provenance(weights="", tokenizer="", dtype="fp32"),
        ).dump(run.metrics_file(step))


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """The nano ladder's 12 rungs and its target n5-8xC, without weights."""
    node = compose(["ladder=nano"])
    ladder, text = config_of(node).ladder.build(), OmegaConf.to_yaml(node)
    for rung in [*ladder.rungs, ladder.rung("n5-8xC")]:
        write_run(tmp_path / "nano", rung.name, rung.size, rung.n, rung.d, text)
    return tmp_path / "nano"


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict:  # type: ignore[type-arg]
    capsys.readouterr()
    main([*words, "--method", "paper", "--json"])
    return json.loads(capsys.readouterr().out)


def test_it_fits_the_rungs_and_shows_the_target(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "--ladder", str(nano), "--target", "n5-8xC")
    (p,) = result["predictions"]
    assert "fitted on 12 runs" in result["notes"][0]["text"]
    assert p["task"] == "order" and abs(p["error_points"]) < 1.5
    assert p["actual"] == pytest.approx(float(ACCURACY(p["actual_loss"])), abs=1e-9)  # the last checkpoint, unsmoothed
    (note,) = p["notes"]
    assert note["code"] == "at-bound" and note["text"] == "warning: step 1: E at the lower bound"


def test_the_target_never_enters_the_fit(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = answer(capsys, "--ladder", str(nano), "--target", "n5-8xC")["predictions"][0]
    for path in (nano / "n5-8xC" / "metrics").iterdir():
        path.unlink()
    after = answer(capsys, "--ladder", str(nano), "--target", "n5-8xC")["predictions"][0]
    assert after["accuracy"] == before["accuracy"] and after["actual"] is None


def test_settings_come_with_the_runs_and_can_be_overridden(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = answer(capsys, "--ladder", str(nano), "--target", "n5-8xC")["predictions"][0]
    later = answer(capsys, "--ladder", str(nano), "--target", "n5-8xC", "ladder.fit.skip_fraction=0.5")
    assert abs(later["predictions"][0]["accuracy"] - plain["accuracy"]) > 1e-4
    with pytest.raises(UserError, match="at least 1"):
        main(["--ladder", str(nano), "--target", "n5-8xC", "ladder.fit.window=0"])


def test_few_and_unfinished_rungs_are_warned_about(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (4, 5):
        (nano / "n0-1xC" / "metrics" / f"step-{step:07d}.json").unlink()
    notes = answer(
        capsys, "--ladder", str(nano), "--target", "n5-8xC", "--sizes", "n0,n1", "--multiples", "1,2"
    )["notes"]  # fmt: skip
    texts = " ".join(note["text"] for note in notes)
    assert "only 4 rungs" in texts and "no final checkpoint measured: n0-1xC" in texts


def test_damaged_metrics_are_named(nano: Path) -> None:
    path = nano / "n0-1xC" / "metrics" / "step-0000001.json"
    whole = path.read_text()
    for text, message in (
        (whole[:50], "is not valid JSON"),
        ("[]", "is no metrics file of schema 1; evaluate that checkpoint again"),
        (whole.replace('"acc"', '"ac"'), "results.0.acc is missing; evaluate that checkpoint again"),
        (whole.replace('"n": 1200', '"n": "many"'), 'results.0.n = "many": must be a whole number'),
        (whole.replace('"lm_loss": [', '"lm_loss": [3, '), "lm_loss.0 = 3: must be"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=rf"step-0000001\.json:? {message}"):
            main(["--ladder", str(nano), "--target", "n5-8xC"])


def test_metrics_of_another_run_or_step_are_not_taken_for_this_ones(nano: Path) -> None:
    path = nano / "n0-1xC" / "metrics" / "step-0000002.json"
    whole = path.read_text()
    for text in (whole.replace('"run": "n0-1xC"', '"run": "other"'), whole.replace('"step": 2', '"step": 7')):
        assert text != whole
        path.write_text(text)
        with pytest.raises(UserError, match=r"step-0000002\.json is of run .* lies where step 2 of n0-1xC is kept"):
            main(["--ladder", str(nano), "--target", "n5-8xC"])


def test_mixed_recipes_and_absent_rungs_are_warned_about(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = answer(capsys, "--ladder", str(nano), "--target", "n5-8xC")["notes"]
    assert not any("not measured" in note["text"] or "different recipes" in note["text"] for note in notes)
    path = nano / "n1-2xC" / "config.yaml"
    path.write_text(path.read_text().replace("final_lr_fraction: 0.1", "final_lr_fraction: 0.0"))
    for metrics in (nano / "n2-1xC" / "metrics").iterdir():
        metrics.unlink()
    notes = answer(capsys, "--ladder", str(nano), "--target", "n5-8xC")["notes"]
    texts = [note["text"] for note in notes]
    assert "warning: not measured: n2-1xC" in texts
    assert "warning: the rungs were trained by different recipes: they differ in final_lr_fraction" in texts


def test_runs_older_than_the_code_are_read(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = answer(capsys, "--ladder", str(nano), "--target", "n5-8xC")["predictions"]
    for path in nano.glob("*/config.yaml"):
        lines = [line for line in path.read_text().splitlines() if "z_loss" not in line]
        path.write_text("\n".join(lines))
    assert answer(capsys, "--ladder", str(nano), "--target", "n5-8xC")["predictions"] == before


def test_the_ladder_carries_its_target(nano: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def asked(path: Path, *words: str) -> str:
        main(["--ladder", str(path), "--json", *words])
        return str(json.loads(capsys.readouterr().out)["target"])

    assert asked(nano) == "n5-8xC"  # of its config.yaml
    assert asked(nano, "--target", "10x-n2-2xC") == "10x-n2-2xC"
    for path in nano.glob("*/config.yaml"):
        path.write_text(re.sub(r"(?m)^target:\n(  .*\n)+", "target: {}\n", path.read_text()))
    assert asked(nano) == "10x-n2-8xC"
    collect(["--ladder", str(nano), "--output", str(tmp_path / "kept.parquet")])
    capsys.readouterr()
    assert asked(tmp_path / "kept.parquet") == "10x-n2-8xC"
    with pytest.raises(UserError, match='unknown target "10x-n9-2xC"'):
        asked(nano, "--target", "10x-n9-2xC")
