"""The same numbers as lm-evaluation-harness and AI2's in-loop evaluator, which live in an environment of their own.

MODEL_LADDER_PEER_PYTHON names that environment's Python; without it these are skipped. scripts/peer_*.py say what to
install there.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from evaluate_models import ARCHITECTURES, documents, tiny_model, tiny_tokenizer, write_checkpoint
from held import HANG_SECONDS
from transformers import PreTrainedTokenizerFast

from evaluate.results.metrics import choices_of, document_values
from evaluate.scoring.plan import make_plan
from evaluate.scoring.scorer import Scorer
from evaluate.tasks import olmes
from evaluate.tasks.tasks import RankedTask
from evaluate.tokens.tokenizer import Encoder, dolma2_file
from ladder.errors import UserError

PEER = os.environ.get("MODEL_LADDER_PEER_PYTHON", "")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PEER, reason="MODEL_LADDER_PEER_PYTHON does not name a Python with lm-eval"),
]


def ask(script: str, jobs: list[dict[str, Any]], directory: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [PEER, str(ROOT / "scripts" / script)],
        input="\n".join(map(json.dumps, jobs)), cwd=directory, capture_output=True, text=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    if "No module named" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_same_as_the_harness(tmp_path: Path) -> None:
    encoder = Encoder(tiny_tokenizer())
    jobs, ours = [], []
    for architecture in ARCHITECTURES:
        for kind, context in (("rc", 256), ("mc", 256), ("winogrande", 256), ("rc", 32)):
            model = tiny_model(architecture, context=context)
            path = write_checkpoint(tmp_path / f"{architecture}-{kind}-{context}", model)
            made = documents(kind, 12)
            scorer = Scorer(model)
            ours.append(scorer.loglikelihoods(make_plan(made, encoder, context, scorer.tries)))
            pairs = [pair for document in made for pair in zip(document.contexts, document.choices, strict=True)]
            jobs.append({"checkpoint": str(path), "requests": pairs, "batch_size": 4})
    theirs = [answer["loglikelihoods"] for answer in ask("peer_lm_eval.py", jobs, tmp_path)]
    assert len(theirs) == len(ours)
    for mine, harness in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, harness, atol=1e-3)


def test_same_metrics_as_ai2s_evaluator(tmp_path: Path) -> None:
    """Its v1 figures leave out the leading space, its v2 figures count it; it cuts at 2,048 tokens."""
    try:
        tokenizer_file, _ = dolma2_file(), olmes.wheel()
    except UserError as error:
        pytest.skip(str(error))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), eos_token="<|endoftext|>")
    model = tiny_model(vocab_size=100352, context=4096, hidden_size=16, intermediate_size=32, num_hidden_layers=1)
    path = write_checkpoint(tmp_path / "model", model, tokenizer)
    scorer, encoder = Scorer(model), Encoder(tokenizer)
    cases = [
        ("openbookqa", "test", "rc", 6, "len_norm"),
        ("arc_challenge", "test", "mc", 4, "acc"),
        ("winogrande", "val", "rc", 6, "acc"),
        ("anatomy", "mmlu", "rc", 3, "len_norm"),
        ("high_school_european_history", "mmlu", "rc", 1, "len_norm"),  # its prompt alone exceeds 2,048 tokens
    ]
    keys = ("task", "split", "format", "documents", "metric")
    jobs = [
        {"checkpoint": str(path), "tokenizer": str(tokenizer_file), **dict(zip(keys, c, strict=True))} for c in cases
    ]
    for case, theirs in zip(cases, ask("peer_olmo_eval.py", jobs, tmp_path), strict=True):
        name, split, form, count, metric = case
        (task,) = [task for task in olmes.tasks(name, "mmlu" if split == "mmlu" else name) if task.format == form]
        assert isinstance(task, RankedTask)
        made = task.documents()
        made = [document for document in made if split != "mmlu" or document.group == name][:count]
        plan = make_plan(made, encoder, 2048, scorer.tries)
        assert bool(plan.truncated[0]) == (name == "high_school_european_history")
        ours = {k: float(v.mean()) for k, v in document_values(choices_of(plan, scorer.loglikelihoods(plan))).items()}
        assert ours["bpb"] == pytest.approx(theirs["bpb_v1"], rel=1e-5)
        assert ours["bpb_with_space"] == pytest.approx(theirs["bpb_v2"], rel=1e-5)
        if metric == "acc":
            assert ours["acc_raw"] == pytest.approx(theirs["acc_v1"])
        else:  # both its versions are the one that counts the space
            assert theirs["len_norm_v1"] == theirs["len_norm_v2"]
            assert ours["acc_per_char_with_space"] == pytest.approx(theirs["len_norm_v2"])
            assert ours["task_ce"] == pytest.approx(-theirs["soft_log_v1"], rel=1e-4)
            assert ours["prob_correct"] == pytest.approx(theirs["soft_v1"], rel=1e-4)
