"""Language-modelling losses by the command: on token shards and on text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluate_models import tiny_model, tiny_tokenizer
from evaluated_run import evaluate

from evaluate.__main__ import main
from evaluate.tokens.tokenizer import Encoder
from ladder.errors import UserError
from ladder.files.hashing import sha256_of
from ladder.runs.rundir import RunDirectory

pytestmark = pytest.mark.usefixtures("private_cache")


def test_lm_loss_is_the_mean_cross_entropy(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (metrics,) = evaluate(capsys, run.checkpoint(10), "--tasks", "text")
    model = tiny_model(seed=10)
    tokens = torch.arange(1024).remainder(390).view(4, 256)
    with torch.no_grad():
        logits = model(tokens).logits[:, :-1].double()
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 400), tokens[:, 1:].reshape(-1))
    (loss,) = metrics["lm_loss"]
    assert loss["nats_per_token"] == pytest.approx(float(expected), abs=1e-5)
    assert loss["bits_per_byte"] == pytest.approx(float(expected) / np.log(2) / 4)  # the shards say 4 bytes a token
    assert loss["tokens"] == 4 * 255 and metrics["results"] == []


def test_shards_of_another_tokenizer_are_refused(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "data" / "shards"

    def prepared_with(tokenizer: Any) -> None:
        tokenizer.save_pretrained(shards / "tokenizer")
        manifest = json.loads((shards / "manifest.json").read_text())
        manifest["tokenizer_sha256"] = sha256_of(shards / "tokenizer" / "tokenizer.json")
        (shards / "manifest.json").write_text(json.dumps(manifest))

    prepared_with(tiny_tokenizer())
    (metrics,) = evaluate(capsys, run.checkpoint(10), "--tasks", "text")
    assert metrics["lm_loss"]
    prepared_with(tiny_tokenizer(bos=True))
    with pytest.raises(UserError, match="another tokenizer"):
        main([str(run.checkpoint(20)), "--tasks", "text"])


@pytest.mark.parametrize("bos", [False, True])
def test_lm_loss_of_a_text(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], bos: bool) -> None:
    """Begin-of-text, where the tokenizer puts it, opens each sequence; bytes are those of what is predicted alone."""
    text = "The cat sat on the mat — naïve dogs bark. " * 20 + "plain and so rather long words " * 20
    (tmp_path / "t.txt").write_text(text)
    tokenizer = tiny_tokenizer(bos)
    tokenizer.save_pretrained(run.checkpoint(10))
    words = ["+suite.lm_loss.prose={text: %s, tokens: %d}" % (tmp_path / "t.txt", 300)]  # noqa: UP031
    (metrics,) = evaluate(capsys, run.checkpoint(10), "--tasks", "prose", *words)
    ids = Encoder(tokenizer).encode([text])[0].astype(np.int64)
    tokens = torch.from_numpy(np.concatenate([[1], ids[:255]]) if bos else ids[:256])
    with torch.no_grad():
        logits = tiny_model(seed=10)(tokens[None]).logits[0, :-1].double()
    expected = float(torch.nn.functional.cross_entropy(logits, tokens[1:]))
    size = sum(map(len, tokenizer.convert_ids_to_tokens(tokens[1:].tolist())))  # a character of these is a byte
    (loss,) = metrics["lm_loss"]
    assert loss["nats_per_token"] == pytest.approx(expected, abs=1e-5) and loss["tokens"] == 255
    assert loss["bits_per_byte"] == pytest.approx(expected / np.log(2) * 255 / size, rel=1e-5)
    assert abs(255 / size / (len(ids) / len(text.encode())) - 1) > 0.05  # the whole file has other tokens
    for tokens_asked, expected_error in ((10**6, "ask for fewer"), (1, "at least 2")):
        words = ["+suite.lm_loss.prose={text: %s, tokens: %d}" % (tmp_path / "t.txt", tokens_asked)]  # noqa: UP031
        with pytest.raises(UserError, match=expected_error):
            main([str(run.checkpoint(10)), "--tasks", "prose", *words])


def test_a_text_in_shorter_sequences_is_another_measurement(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [run.checkpoint(10), "--tasks", "text"]
    with pytest.raises(UserError, match="max_length=32"):
        main([*map(str, words), "suite.max_length=32"])
    words += ["--output", tmp_path / "out"]
    (whole,) = evaluate(capsys, *words)
    with pytest.raises(UserError, match="holds lm_loss text of another text or context length"):
        main([*map(str, words), "suite.max_length=32"])
    (cut,) = evaluate(capsys, *words, "suite.max_length=32", "--changed")
    assert (whole["lm_loss"][0]["tokens"], cut["lm_loss"][0]["tokens"]) == (4 * 255, 32 * 31)
    assert evaluate(capsys, *words, "suite.max_length=32") == [cut]
    long = ("suite.max_length=300", "--changed")  # more than the model's context cuts nothing
    assert evaluate(capsys, *words, *long)[0]["provenance"]["texts"] == whole["provenance"]["texts"]
