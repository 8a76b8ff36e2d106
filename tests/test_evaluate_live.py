"""A live model gives what its checkpoint on disk gives, in bf16 too and far into a long context."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluate_models import tiny_model, tiny_tokenizer, write_jsonl
from omegaconf import OmegaConf

from evaluate.__main__ import main
from evaluate.hook import make_hook
from evaluate.models.live import update, whole_copy
from evaluate.models.loading import cast_parameters
from evaluate.scoring.scorer import Scorer
from evaluate.tasks.asked_suite import own_suite
from evaluate.tasks.tasks import Document
from ladder.files.bind import bind
from ladder.records.metrics_file import MetricsFile, Origin
from ladder.runs.rundir import RunDirectory

CONTEXT = 3000
INFO = {"run": "n1-2xC", "ladder": "test", "size": "n1", "n": 28_000, "d": 1000, "step": 10, "tokens": 10}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run with one checkpoint, its suite two documents that end beyond position 2,000."""
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(tmp_path / "cache"))
    made = RunDirectory(tmp_path / "ladder" / "n1-2xC")
    made.path.mkdir(parents=True)
    contexts = ["".join(np.random.default_rng(seed).choice(list("abcxyz "), 2700)) for seed in range(2)]
    documents = [Document(id=c[:9], contexts=(c,) * 2, choices=(" the moon", " a cow"), gold=0) for c in contexts]
    tasks = {"long": {"rc": str(write_jsonl(tmp_path / "long.jsonl", documents))}}
    OmegaConf.save(OmegaConf.create({"suite": {"name": "long", "tasks": tasks}}), made.config_file)
    made.run_file.write_text(json.dumps(INFO | {"total_steps": 10}))
    tiny_model(context=CONTEXT).save_pretrained(made.checkpoint(10))
    tiny_tokenizer().save_pretrained(made.checkpoint(10))
    (made.checkpoint(10) / "rung.json").write_text(json.dumps(INFO))
    return made


def scores(run: RunDirectory) -> np.ndarray:
    return np.load(run.metrics_file(10).with_suffix(".npz"))["long.rc"]


def test_live_in_bf16_is_what_the_disk_gives(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(context=CONTEXT)
    monkeypatch.setattr("evaluate.hook.resolve_dtype", lambda name, device: "bf16")  # as on a GPU
    make_hook(own_suite(run.config_file), model, tiny_tokenizer())(bind(Origin, INFO, ""), run)(model.state_dict())
    live = scores(run)
    assert next(model.parameters()).dtype == torch.float32
    words = [str(run.checkpoint(10)), "--dtype", "bf16"]
    before = run.metrics_file(10).stat().st_mtime_ns
    assert main(words) == 0 and scores(run) is not None
    assert MetricsFile.load(run.metrics_file(10)).provenance.dtype == "bf16"
    assert run.metrics_file(10).with_suffix(".npz").stat().st_mtime_ns <= before  # known by content, not scored again
    assert main([*words, "--force"]) == 0
    np.testing.assert_array_equal(scores(run), live)
    assert main([*words, "--dtype", "fp32", "--force"]) == 0
    assert 0 < np.abs(scores(run) - live).max() < 5  # it did run in bf16, and near


@pytest.mark.parametrize(("dtype", "again"), [pytest.param("bf16", True, marks=pytest.mark.slow), ("fp32", False)])
def test_what_the_loop_measured_with_cast_buffers_is_measured_again(run: RunDirectory, dtype: str, again: bool) -> None:
    words = [str(run.checkpoint(10)), "--dtype", dtype]
    main(words)
    arrays = run.metrics_file(10).with_suffix(".npz")
    stored = dict(np.load(arrays))
    old = json.loads(str(stored["provenance"]))
    del old["dtype_version"]  # as version 0.1.0 wrote it
    np.savez(arrays, **stored | {"provenance": np.array(json.dumps(old)), "long.rc": stored["long.rc"] - 1})
    metrics = json.loads(run.metrics_file(10).read_text())
    metrics["provenance"].pop("dtype_version", None)
    run.metrics_file(10).write_text(json.dumps(metrics))
    main(words)
    assert (scores(run) == stored["long.rc"]).all() == again


def test_a_cast_leaves_buffers_in_fp32() -> None:
    model = tiny_model()
    cast_parameters(model, "bf16")
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in model.buffers()} == {torch.float32}


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}])
def test_a_copy_follows_its_model(changes: dict[str, bool]) -> None:
    model, tokens = tiny_model(**changes), torch.arange(40)[None]
    copy = whole_copy(model, "fp32")
    assert torch.equal(copy(tokens).logits, model(tokens).logits)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert not torch.equal(copy(tokens).logits, model(tokens).logits)
    update(copy, model)
    assert torch.equal(copy(tokens).logits, model(tokens).logits)
    assert Scorer(copy).tries
