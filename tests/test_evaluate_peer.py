"""The same log-likelihoods as lm-evaluation-harness, which lives in an environment of its own.

MODEL_LADDER_PEER_PYTHON names that environment's Python (pip install lm-eval torch); without it these are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from evaluate_models import ARCHITECTURES, documents, tiny_model, tiny_tokenizer, write_checkpoint

from evaluate.plan import make_plan
from evaluate.scorer import Scorer
from evaluate.tokenizer import Encoder

PEER = os.environ.get("MODEL_LADDER_PEER_PYTHON", "")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not PEER, reason="MODEL_LADDER_PEER_PYTHON does not name a Python with lm-eval"),
]


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
            jobs.append(json.dumps({"checkpoint": str(path), "requests": pairs, "batch_size": 4}))
    done = subprocess.run(
        [PEER, str(ROOT / "scripts" / "peer_lm_eval.py")],
        input="\n".join(jobs), cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = [json.loads(line)["loglikelihoods"] for line in done.stdout.splitlines()]
    assert len(theirs) == len(ours)
    for mine, harness in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, harness, atol=1e-3)
