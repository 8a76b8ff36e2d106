"""What only a GPU shows: `pytest -m gpu`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo.utils
from evaluate_models import documents, tiny_model, tiny_tokenizer, write_jsonl
from omegaconf import OmegaConf

from evaluate.__main__ import main
from evaluate.hook import make_hook
from evaluate.models.loading import cast_parameters
from evaluate.scoring.plan import make_plan
from evaluate.scoring.scorer import Scorer
from evaluate.tasks.asked_suite import own_suite
from evaluate.tokens.tokenizer import Encoder
from ladder.files.bind import bind
from ladder.records.metrics_file import MetricsFile, Origin
from ladder.runs.rundir import RunDirectory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ENCODER = Encoder(tiny_tokenizer())
SHAPE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4}  # heads of 64, as the kernels want
TOLERANCE = {"fp32": 1e-3, "bf16": 0.3}  # nats; the weights are large, so that logits are too


def scorer_of(dtype: str) -> Scorer:
    model = tiny_model(context=512, **SHAPE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5 if parameter.ndim > 1 else 1)
    cast_parameters(model, dtype)
    return Scorer(model.cuda())


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["rc", "mc"])
def test_tries_equal_chains(dtype: str, kind: str) -> None:
    """Packed under FlexAttention, masked, and one after the other."""
    scorer, made = scorer_of(dtype), documents(kind, 60)
    assert scorer.tries and scorer.packed is not None, scorer.trial
    chains = scorer.loglikelihoods(make_plan(made, ENCODER, 512, False))
    plan = make_plan(made, ENCODER, 512, True)
    packed, scorer.packed = scorer.loglikelihoods(plan), None
    masked = scorer.loglikelihoods(plan)
    np.testing.assert_allclose(packed, chains, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(masked, chains, atol=TOLERANCE[dtype])


def test_nothing_is_compiled_after_the_first_pack() -> None:
    scorer = scorer_of("bf16")
    scorer.loglikelihoods(make_plan(documents("rc", 60), ENCODER, 512, True))
    torch._dynamo.utils.counters.clear()
    scorer.loglikelihoods(make_plan(documents("mc", 90), ENCODER, 512, True))
    scorer.loglikelihoods(make_plan(documents("winogrande", 9), ENCODER, 512, True))
    assert not torch._dynamo.utils.counters["stats"]


def test_scoring_waits_for_the_device_once() -> None:
    scorer, plan = scorer_of("bf16"), make_plan(documents("rc", 60), ENCODER, 512, True)
    scorer.loglikelihoods(plan)
    torch.cuda.synchronize()
    parts = scorer._parts(plan, 0, 1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.no_grad():
            scores = [part[0] for part in parts]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.cat(scores).isfinite().all()


def test_live_equals_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(tmp_path / "cache"))
    run = RunDirectory(tmp_path / "ladder" / "n1-2xC")
    run.path.mkdir(parents=True)
    tasks = {"pets": {"rc": str(write_jsonl(tmp_path / "pets.jsonl", documents("rc", 40)))}}
    OmegaConf.save(OmegaConf.create({"suite": {"name": "tiny", "tasks": tasks}}), run.config_file)
    info = {"run": "n1-2xC", "ladder": "test", "size": "n1", "n": 28_000, "d": 1000, "step": 10, "tokens": 10}
    run.run_file.write_text(json.dumps(info | {"total_steps": 10}))
    model = tiny_model(context=512, **SHAPE)
    model.save_pretrained(run.checkpoint(10))
    tiny_tokenizer().save_pretrained(run.checkpoint(10))
    (run.checkpoint(10) / "rung.json").write_text(json.dumps(info))
    make_hook(own_suite(run.config_file), model.cuda(), tiny_tokenizer())(bind(Origin, info, ""), run)(
        model.state_dict()
    )
    arrays = run.metrics_file(10).with_suffix(".npz")
    live = np.load(arrays)["pets.rc"]
    assert MetricsFile.load(run.metrics_file(10)).provenance.dtype == "bf16"
    main([str(run.checkpoint(10)), "--force"])
    np.testing.assert_array_equal(np.load(arrays)["pets.rc"], live)
