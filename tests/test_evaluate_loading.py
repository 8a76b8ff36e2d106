"""Checkpoints that are damaged or do not fit: the file, the key or the tensor is named before memory is spent."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from evaluate_models import documents, tiny_model, write_checkpoint, write_jsonl

from evaluate.__main__ import main
from evaluate.models.checkpoint import Checkpoint, read_header
from evaluate.models.loading import load_config, load_model
from evaluate.tokens.tokenizer import load_tokenizer
from ladder.errors import UserError


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(write_checkpoint(tmp_path / "ck"))


def refusal(checkpoint: Checkpoint) -> str:
    with pytest.raises(UserError) as caught:
        load_config(checkpoint)
        load_model(checkpoint, "fp32", "cpu")
    assert len(str(caught.value)) < 300
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": "many"}, ["config.json", "hidden_size"]),
        ({"vocab_size": -1}, ["config.json", "vocab_size"]),
        ({"num_hidden_layers": 10**9}, ["config.json", "num_hidden_layers = 1000000000: must be"]),
        ({"vocab_size": 10**9}, ["config.json describes", "its weight files have"]),
        ({"intermediate_size": 65}, ["model.safetensors: model.layers.0.mlp.down_proj.weight has the shape [32, 64]"]),
        ({"num_hidden_layers": 3}, ["tensors are absent, the first is model.layers.2"]),
        ({"model_type": "nope"}, ["config.json"]),
        ({"rms_norm_eps": "x"}, ["config.json", "rms_norm_eps"]),
        ({"num_attention_heads": 7}, ["config.json"]),
    ],
)
def test_a_configuration_that_does_not_fit(checkpoint: Checkpoint, change: dict[str, Any], words: list[str]) -> None:
    path = checkpoint.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    message = refusal(checkpoint)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    "content", [b"", b"\x05", b"\xff" * 8, b"\0" * 100, b"\x02\0\0\0\0\0\0\0[]", b"\x04" + b"\0" * 7 + b"null"]
)
def test_weights_that_are_none(checkpoint: Checkpoint, content: bytes) -> None:
    (checkpoint.path / "model.safetensors").write_bytes(content)
    with pytest.raises(
        UserError, match=r"not a safetensors file.*again$|model\.safetensors is not a safetensors"
    ) as caught:
        checkpoint.weights_sha256()
    assert "model.safetensors" in str(caught.value)


def test_a_header_with_values_of_the_wrong_kind(checkpoint: Checkpoint) -> None:
    file = checkpoint.path / "model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    name = next(key for key in header if key != "__metadata__")
    header[name]["shape"] = ["x"]
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(UserError, match="shape"):
        read_header(file)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["", "[]", "null", "{", "[" * 100_000, '{"model": 5}', '{"model_max_length": []}'])
def test_a_damaged_tokenizer(checkpoint: Checkpoint, name: str, content: str) -> None:
    (checkpoint.path / name).write_text(content)
    try:
        load_tokenizer(checkpoint.path, 400)
    except UserError as error:
        assert str(checkpoint.path) in str(error) and len(str(error)) < 300
    else:
        assert (name, content) == ("tokenizer_config.json", '{"model": 5}')  # a key that nobody reads


def test_a_whole_checkpoint_is_loaded(checkpoint: Checkpoint) -> None:
    model = load_model(checkpoint, "fp32", "cpu")
    for mine, other in zip(model.parameters(), tiny_model().parameters(), strict=True):
        assert mine.equal(other)


MODEL_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig):
    model_type = "own_llama"
class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""
TOKENIZER_CODE = """
from transformers import PreTrainedTokenizer
class OwnTokenizer(PreTrainedTokenizer):
    vocab_size = 300
    def get_vocab(self):
        return {chr(number): number for number in range(300)}
    def _tokenize(self, text):
        return list(text)
    def _convert_token_to_id(self, token):
        return min(ord(token), 299)
"""


@pytest.mark.usefixtures("private_cache")
def test_code_of_its_own_is_run_when_trusted(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("sys.path", sys.path[:])
    write_jsonl(tmp_path / "pets.jsonl", documents("rc"))
    (tmp_path / "mine.yaml").write_text(f"tasks: {{pets: {{rc: {tmp_path / 'pets.jsonl'}}}}}")
    path = write_checkpoint(tmp_path / "own", tiny_model("llama"))
    words = [str(path), f"suite={tmp_path / 'mine.yaml'}", "--output", str(tmp_path / "out"), "--json"]

    def bring(file: str, code: str, names: str, changes: dict[str, Any]) -> None:
        (path / f"{names}.py").write_text(code)
        content = json.loads((path / file).read_text())
        (path / file).write_text(json.dumps(content | changes))

    (path / "tokenizer.json").unlink()
    bring(
        "tokenizer_config.json",
        TOKENIZER_CODE,
        "own_tokens",
        {"auto_map": {"AutoTokenizer": ["own_tokens.OwnTokenizer", None]}, "tokenizer_class": "OwnTokenizer"},
    )
    with pytest.raises(UserError, match=r"own: its tokenizer cannot be read: .* add --trust-remote-code"):
        main(words)
    assert capsys.readouterr().out == ""  # nobody is asked
    auto = {"AutoConfig": "own_model.OwnConfig", "AutoModelForCausalLM": "own_model.OwnForCausalLM"}
    bring("config.json", MODEL_CODE, "own_model", {"auto_map": auto, "model_type": "own_llama"})
    with pytest.raises(UserError, match=r"own is a model that transformers does not have: .* add --trust-remote-code"):
        main(words)
    assert main([*words, "--trust-remote-code"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["n"] == 7
