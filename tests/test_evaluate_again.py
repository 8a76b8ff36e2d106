"""Measured again: what is there is skipped by its content, what changed is not, and a name keeps its definition."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_models import documents, tiny_model, write_checkpoint, write_jsonl
from evaluated_run import evaluate, scored, suite
from omegaconf import OmegaConf

from evaluate.__main__ import main
from evaluate.claims import claim
from evaluate.results.results import ResultFiles
from ladder.errors import UserError
from ladder.runs.rundir import RunDirectory

pytestmark = pytest.mark.usefixtures("private_cache")


def test_work_done_is_skipped_and_the_rest_resumed(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = scored(monkeypatch)
    evaluate(capsys, run.checkpoint(10), "--tasks", "names")
    assert len(calls) == 1
    whole = evaluate(capsys, run.checkpoint(10))
    assert len(calls) == 3  # names was there
    run.metrics_file(10).unlink()  # as if it had been interrupted before the last task was averaged
    assert evaluate(capsys, run.checkpoint(10)) == whole and len(calls) == 3
    only = evaluate(capsys, run.checkpoint(10), "--tasks", "pets", "--formats", "mc")
    assert len(calls) == 3 and {row["task"] for row in only[0]["results"]} == {"pets", "names"}
    assert sorted(np.load(run.metrics_file(10).with_suffix(".npz"))) == [
        "names.rc",
        "pets.mc",
        "pets.rc",
        "provenance",
    ]
    evaluate(capsys, run.checkpoint(10), "--force")
    assert len(calls) == 6


def test_what_changed_is_measured_again(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = scored(monkeypatch)
    (before,) = evaluate(capsys, run.checkpoint(10))
    weights = run.checkpoint(10) / "model.safetensors"
    stat = weights.stat()
    tiny_model(seed=99).save_pretrained(run.checkpoint(10))
    assert weights.stat().st_size == stat.st_size
    (after,) = evaluate(capsys, run.checkpoint(10))
    assert len(calls) == 6 and after["results"][0]["bpb"] != before["results"][0]["bpb"]
    os.utime(weights, ns=(1, 1))  # touched, but of the same content

    def read_only(*args: object) -> None:
        raise UserError("cannot write")

    with monkeypatch.context() as patch:
        patch.setattr(ResultFiles, "remember_weights", read_only)
        assert evaluate(capsys, run.checkpoint(10)) == [after]
    evaluate(capsys, run.checkpoint(10))
    assert len(calls) == 6
    with monkeypatch.context() as patch:  # and that is found out once
        patch.setattr("evaluate.models.checkpoint.Checkpoint.weights_sha256", lambda self: pytest.fail("read again"))
        evaluate(capsys, run.checkpoint(10))
    jsonl = Path(OmegaConf.load(run.config_file).suite.tasks.names.rc)
    write_jsonl(jsonl, documents("winogrande", 9))
    with pytest.raises(
        UserError, match=r"step-0000010\.json holds names\.rc of other documents .*names\.jsonl; .*--changed"
    ):
        main([str(run.checkpoint(10))])
    assert len(calls) == 6
    (grown,) = evaluate(capsys, run.checkpoint(10), "--changed")  # and nothing else
    assert len(calls) == 7 and {row["task"]: row["n"] for row in grown["results"]} == {"pets": 7, "names": 9}
    evaluate(capsys, run.checkpoint(10))  # pets' likelihoods were kept
    assert len(calls) == 7
    evaluate(capsys, run.checkpoint(10), "--dtype", "bf16")
    assert len(calls) == 10


def test_a_changed_configuration_is_another_model(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong rotary base, mended beside the same weights."""
    path, words = run.checkpoint(10) / "config.json", ["--tasks", "names"]
    config = json.loads(path.read_text())
    (before,) = evaluate(capsys, run.checkpoint(10), *words)
    calls = scored(monkeypatch)
    path.write_text(json.dumps(config | {"transformers_version": "5.0.0"}))
    assert evaluate(capsys, run.checkpoint(10), *words) == [before] and not calls
    path.write_text(json.dumps(config | {"rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}}))
    (after,) = evaluate(capsys, run.checkpoint(10), *words)
    assert after["results"][0]["bpb"] != before["results"][0]["bpb"] and len(calls) == 1
    assert evaluate(capsys, run.checkpoint(10), *words) == [after] and len(calls) == 1
    stored = json.loads(run.metrics_file(10).read_text())
    del stored["provenance"]["config"]  # as the training loop leaves it
    run.metrics_file(10).write_text(json.dumps(stored))
    assert evaluate(capsys, run.checkpoint(10), *words)[0]["results"] == after["results"] and len(calls) == 1


def test_a_damaged_metrics_file_is_measured_again_when_forced(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    (before,) = evaluate(capsys, run.checkpoint(10))
    run.metrics_file(10).write_text('{"schema": 1}')
    with pytest.raises(UserError, match=r"step-0000010\.json: .* is missing; evaluate .* --force"):
        main([str(run.checkpoint(10))])
    assert evaluate(capsys, run.checkpoint(10), "--force") == [before]


def test_a_changed_definition_is_derived_anew_without_scoring(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = evaluate(capsys, run.checkpoint(10))
    calls = scored(monkeypatch)
    monkeypatch.setattr("evaluate.results.metrics.METRICS_VERSION", 99)
    (after,) = evaluate(capsys, run.checkpoint(10))
    assert not calls and after["results"] == before["results"]
    assert after["provenance"]["definitions"] != before["provenance"]["definitions"]


def test_a_name_keeps_its_definition(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another suite's task of the same name would stand among the ladder's own measurements."""
    monkeypatch.setattr("ladder.errors.LONGEST", 1000)  # however long the paths of this test are
    node = suite(tmp_path / "data")
    other = write_jsonl(tmp_path / "other.jsonl", documents("winogrande", 9))
    mine = tmp_path / "mine.yaml"

    def refused(path: Path, changed: dict[str, Any], *words: str) -> str:
        OmegaConf.save(OmegaConf.create(changed), mine)
        with pytest.raises(UserError) as caught:
            main([str(path), f"suite={mine}", *words])
        return str(caught.value)

    changed = node | {"tasks": {"names": {"rc": str(other)}}}
    for force in ([], ["--force"]):  # also before anything is measured
        message = refused(run.checkpoint(10), changed, *force)
        assert f"{other} in place of {tmp_path / 'data' / 'names.jsonl'}" in message
        assert str(run.config_file) in message and not run.metrics.exists()
    text = node | {"tasks": {}, "lm_loss": {"text": node["lm_loss"]["text"] | {"tokens": 512}}}
    assert "512 tokens of" in refused(run.checkpoint(10), text)
    assert "max_length=40" in refused(run.checkpoint(10), node | {"max_length": 40})
    assert "primary=acc_raw" in refused(run.checkpoint(10), node, "suite.tasks.pets.primary=acc_raw")
    evaluate(capsys, run.checkpoint(10), f"suite={mine}", "--output", tmp_path / "out", "suite.tasks.pets.split=val")
    shutil.copy(tmp_path / "data" / "names.jsonl", tmp_path / "copy.jsonl")  # the same documents are the same task
    OmegaConf.save(OmegaConf.create(node | {"tasks": {"names": {"rc": str(tmp_path / "copy.jsonl")}}}), mine)
    evaluate(capsys, run.checkpoint(10), f"suite={mine}")

    foreign = write_checkpoint(tmp_path / "foreign")
    words = [f"runs_dir={tmp_path / 'runs'}"]
    (before,) = evaluate(capsys, foreign, f"suite={mine}", *words)
    (file,) = (tmp_path / "runs" / "evaluated").glob("*.json")
    message = refused(foreign, changed, *words)
    assert str(file) in message and str(other) in message
    assert "split=test" in refused(foreign, node, "suite.tasks.names.split=val", *words)
    assert "text" in refused(foreign, text, *words)
    assert json.loads(file.read_text())["results"] == before["results"]
    refused(foreign, changed, *words)
    OmegaConf.save(OmegaConf.create(changed), mine)
    (after,) = evaluate(capsys, foreign, f"suite={mine}", "--force", *words)
    assert after["results"][0]["n"] == 9


def test_part_of_a_task_is_no_measurement_of_the_run(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (metrics,) = evaluate(capsys, run.checkpoint(10), "--limit", "2")
    assert {row["n"] for row in metrics["results"]} == {2}
    assert not run.metrics_file(10).exists()
    output = run.path / "elsewhere"
    evaluate(capsys, run.checkpoint(10), "--limit", "2", "--output", output)
    assert [path.name for path in sorted(output.iterdir())] == [
        "n1-2xC_step-0000010.json",
        "n1-2xC_step-0000010.npz",
    ]


def test_results_of_models_of_one_name_stand_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        write_checkpoint(tmp_path / name / "m" / "model", tiny_model(seed=seed))
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    words = [f"suite={tmp_path / 'mine.yaml'}", "--output", tmp_path / "out", "--tasks", "names"]
    monkeypatch.chdir(tmp_path / "c" / "m")
    paths = [tmp_path / "a/m/model", tmp_path / "b/m/model", Path("../m/model")]
    first = [evaluate(capsys, path, *words)[0] for path in paths]
    files = sorted(path.name for path in (tmp_path / "out").glob("*.json"))
    assert files == ["b_m_model.json", "c_m_model.json", "m_model.json"]
    calls = scored(monkeypatch)
    again = [evaluate(capsys, path, *words)[0] for path in paths]
    assert [m["results"] for m in again] == [m["results"] for m in first] and not calls
    assert len({m["results"][0]["bpb"] for m in first}) == 3


def test_a_model_measured_meanwhile_keeps_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers on two models of one name: the files are chosen before they are claimed."""
    first, second = (
        write_checkpoint(tmp_path / name / "m" / "model", tiny_model(seed=seed)) for seed, name in enumerate("ab")
    )
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    words = [f"suite={tmp_path / 'mine.yaml'}", "--output", tmp_path / "out", "--tasks", "names"]
    monkeypatch.setattr("evaluate.session.time.sleep", lambda seconds: None)

    def late(path: Path) -> contextlib.AbstractContextManager[bool]:
        monkeypatch.setattr("evaluate.session.claim", claim)
        evaluate(capsys, first, *words)
        return claim(path)

    monkeypatch.setattr("evaluate.session.claim", late)
    evaluate(capsys, second, *words)
    stored = [json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("m_model", "b_m_model")]
    assert [one["model_path"] for one in stored] == [str(first), str(second)]


def test_a_full_disk_leaves_earlier_results_as_they_were(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(capsys, run.checkpoint(10), "--tasks", "names")
    before = {path.name: path.read_bytes() for path in run.metrics.iterdir()}

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="No space left on device"):
        main([str(run.checkpoint(10))])
    assert {path.name: path.read_bytes() for path in run.metrics.iterdir()} == before
