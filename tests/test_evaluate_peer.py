"""The same numbers as lm-evaluation-harness and AI2's in-loop evaluator, which live in an environment of their own.

MODEL_LADDER_PEER_PYTHON names that environment's Python; without it these are skipped. scripts/peer_*.py say what to
install there.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from evaluate_models import ARCHITECTURES, documents, gold_documents, tiny_model, tiny_tokenizer, write_checkpoint
from held import HANG_SECONDS
from transformers import PreTrainedTokenizerFast

from evaluate.results.metrics import choices_of, document_values, gold_values
from evaluate.scoring.plan import make_plan
from evaluate.scoring.scorer import Scorer
from evaluate.tasks import olmes
from evaluate.tasks.tasks import AnyDocument, GoldTask, RankedTask
from evaluate.tokens.tokenizer import Encoder, dolma2_file
from ladder.config.olmes_manifest import entries_of
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
        for kind, context in (("rc", 256), ("mc", 256), ("winogrande", 256), ("rc", 32), ("gold", 256)):
            model = tiny_model(architecture, context=context)
            path = write_checkpoint(tmp_path / f"{architecture}-{kind}-{context}", model)
            made: Sequence[AnyDocument] = gold_documents(12) if kind == "gold" else documents(kind, 12)
            scorer, plan = Scorer(model), make_plan(made, encoder, context, True)
            assert scorer.tries and not plan.otherwise[0]
            ours.append(scorer.loglikelihoods(plan))
            pairs = [pair for document in made for pair in zip(document.contexts, document.choices, strict=True)]
            jobs.append({"checkpoint": str(path), "requests": pairs, "batch_size": 4})
    theirs = [answer["loglikelihoods"] for answer in ask("peer_lm_eval.py", jobs, tmp_path)]
    assert len(theirs) == len(ours)
    for mine, harness in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, harness, atol=1e-3)


@dataclass(frozen=True, kw_only=True)
class Dolma2:
    """A random model with OLMo 2's tokenizer, here and on disk."""

    scorer: Scorer
    encoder: Encoder
    path: Path
    tokenizer_file: Path

    def job(self, task: str, dataset: str, documents: int, metric: str) -> dict[str, Any]:
        where = {"checkpoint": str(self.path), "tokenizer": str(self.tokenizer_file)}
        return {**where, "task": task, "dataset": dataset, "documents": documents, "metric": metric}


@pytest.fixture(scope="module")
def dolma2(tmp_path_factory: pytest.TempPathFactory) -> Dolma2:
    try:
        tokenizer_file, _ = dolma2_file(), olmes.wheel()
    except UserError as error:
        pytest.skip(str(error))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), eos_token="<|endoftext|>")
    model = tiny_model(vocab_size=100352, context=4096, hidden_size=16, intermediate_size=32, num_hidden_layers=1)
    path = write_checkpoint(tmp_path_factory.mktemp("dolma2") / "model", model, tokenizer)
    return Dolma2(scorer=Scorer(model), encoder=Encoder(tokenizer), path=path, tokenizer_file=tokenizer_file)


def test_same_metrics_as_ai2s_evaluator(dolma2: Dolma2, tmp_path: Path) -> None:
    """Its v1 figures leave out the leading space, its v2 figures count it; it cuts at 2,048 tokens."""
    cases = [
        ("openbookqa", "test_rc_5shot", 6, "len_norm"),
        ("arc_challenge", "test_mc_5shot", 4, "acc"),
        ("winogrande", "val_rc_5shot", 6, "acc"),
        ("anatomy", "mmlu_rc", 3, "len_norm"),
        ("high_school_european_history", "mmlu_rc", 1, "len_norm"),  # its prompt alone exceeds 2,048 tokens
    ]
    jobs = [dolma2.job(*case) for case in cases]
    for case, theirs in zip(cases, ask("peer_olmo_eval.py", jobs, tmp_path), strict=True):
        name, dataset, count, metric = case
        mmlu, form = dataset.startswith("mmlu"), dataset.split("_")[1]
        (task,) = [task for task in olmes.tasks(name, "mmlu" if mmlu else name) if task.format == form]
        assert isinstance(task, RankedTask)
        made = [document for document in task.documents() if not mmlu or document.group == name][:count]
        plan = make_plan(made, dolma2.encoder, 2048, True)
        assert bool(plan.truncated[0]) == (name == "high_school_european_history")
        values = document_values(choices_of(plan, dolma2.scorer.loglikelihoods(plan)))
        ours = {metric: float(per_document.mean()) for metric, per_document in values.items()}
        assert ours["bpb"] == pytest.approx(theirs["bpb_v1"], rel=1e-5)
        assert ours["bpb_with_space"] == pytest.approx(theirs["bpb_v2"], rel=1e-5)
        if metric == "acc":
            assert ours["acc_raw"] == pytest.approx(theirs["acc_v1"])
        else:  # both its versions are the one that counts the space
            assert theirs["len_norm_v1"] == theirs["len_norm_v2"]
            assert ours["acc_per_char_with_space"] == pytest.approx(theirs["len_norm_v2"])
            assert ours["task_ce"] == pytest.approx(-theirs["soft_log_v1"], rel=1e-4)
            assert ours["prob_correct"] == pytest.approx(theirs["soft_v1"], rel=1e-4)


def test_same_gold_losses_as_ai2s_evaluator(dolma2: Dolma2, tmp_path: Path) -> None:
    """Its v1 figures leave out the first character even where it is no space; then only v2 can be compared."""
    words = ["minerva_math_algebra", "codex_humaneval:0shot", "codex_mbpp", "gsm8k", "mt_mbpp_go", "lambada", "squad"]
    tasks = [task for word in words for task in olmes.tasks(word, word) if isinstance(task, GoldTask)]
    folders = [entry.member.split("/")[-3:-1] for word in words for entry in entries_of(word)]
    jobs = [dolma2.job(task, dataset, 5, "bpb") for task, dataset in folders]
    spaced = set()
    for task, theirs in zip(tasks, ask("peer_olmo_eval.py", jobs, tmp_path), strict=True):
        plan = make_plan(task.documents()[:5], dolma2.encoder, 2048, True)
        ours = {k: float(v.mean()) for k, v in gold_values(plan, dolma2.scorer.loglikelihoods(plan)).items()}
        assert ours["bpb_with_space"] == pytest.approx(theirs["bpb_v2"], rel=1e-5)
        if plan.spaces.all():
            spaced.add(task.name)
            assert ours["bpb"] == pytest.approx(theirs["bpb_v1"], rel=1e-5)
    assert {"minerva_math_algebra", "lambada"} <= spaced
