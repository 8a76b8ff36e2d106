"""Text into token shards: what is written, and that a stopped preparation goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, assert_user_error
from made_text import SENTENCES, documents_of, local_data

sys.path.insert(0, str(ROOT / "scripts"))
import prepare_data
from prepare_data import prepare
from preparing import tokens
from preparing.documents import is_heldout
from preparing.tokenizer import END_OF_TEXT, train_bpe

from ladder.config.data import Mix
from ladder.errors import UserError
from ladder.records import shard_writer
from ladder.records.shards import TokenShards
from train.order import BatchOrder


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
    assert TokenShards(out, "train").manifest.dtype == "<u2"
    assert BatchOrder(Mix((TokenShards(out, "train"),), (1.0,)), 16, 2, seed=0).batch(1).dtype == np.int64


def test_the_tokenizer_sees_only_the_training_part(tmp_path: Path) -> None:
    documents = [{"text": ("zyzzyva " * 50) if number % 5 == 0 else SENTENCES[number % 40]} for number in range(80)]
    data = local_data(tmp_path, documents)
    prepare(data, tmp_path)
    vocabulary = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    assert not [token for token in vocabulary if "zyz" in token]
    assert [token for token in vocabulary if "treas" in token]


def test_stopped_and_started_again_it_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [{"text": f"{sentence} {number}"} for number, sentence in enumerate(SENTENCES * 20)]
    data = local_data(tmp_path, documents)
    monkeypatch.setattr(tokens, "BATCH_DOCUMENTS", 50)
    monkeypatch.setattr(tokens, "SAVE_TOKENS", 500)
    monkeypatch.setattr(shard_writer, "SHARD_TOKENS", 2000)
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    prepare(data, tmp_path / "whole")
    encode, calls = tokens.encode, []

    def failing(tokenizer: object, texts: list[str]) -> list[list[int]]:
        calls.append(len(texts))
        if len(calls) in (4, 9):
            raise KeyboardInterrupt
        return encode(tokenizer, texts)

    monkeypatch.setattr(tokens, "encode", failing)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            prepare(data, tmp_path / "stopped")
    with (tmp_path / "stopped" / "train-00000.bin").open("ab") as file:
        file.write(b"cut off in the middle of a batch")
    prepare(data, tmp_path / "stopped")
    assert sum(calls) < len(documents) * 1.5  # what was done was not done again
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {path.name for path in (tmp_path / "stopped").iterdir()}
    assert len([name for name in names if name.endswith(".bin")]) > 3
    for name in names - {"tokenizer", ".verified.json"}:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_other_text_in_the_place_of_what_was_read_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a tokenizer out of a file nothing else would tell. And what was saved of it is gone, should it come back."""
    made = tmp_path / "tokenizer.json"
    train_bpe(SENTENCES, 300).save(str(made))
    words = {"file": str(made), "eos": END_OF_TEXT, "pad": END_OF_TEXT}
    documents = [{"text": f"{sentence} {number}"} for number, sentence in enumerate(SENTENCES * 20)]
    others = [{"text": "Another beginning."}, *documents[1:]]
    monkeypatch.setattr(tokens, "BATCH_DOCUMENTS", 50)
    monkeypatch.setattr(tokens, "SAVE_TOKENS", 500)
    encode, calls = tokens.encode, []

    def failing(tokenizer: object, texts: list[str]) -> list[list[int]]:
        calls.append(texts[0])
        if len(calls) in (4, 5):  # with some of it saved, with none
            raise KeyboardInterrupt
        return encode(tokenizer, texts)

    def write(rows: list[dict[str, str]], name: str) -> None:
        data = local_data(tmp_path, rows)
        data.tokenizer = words
        prepare(data, tmp_path / name)

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    write(documents, "whole")
    monkeypatch.setattr(tokens, "encode", failing)
    with pytest.raises(KeyboardInterrupt):
        write(documents, "stopped")
    assert (tmp_path / "stopped" / "progress.json").exists() and not capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        write(others, "stopped")
    assert "the text has changed since this was stopped: it begins again" in capsys.readouterr().err
    assert calls[4] == "Another beginning."
    write(documents, "stopped")
    for name in ("manifest.json", "train-00000.bin", "val-00000.bin"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_document_ends(tmp_path: Path) -> None:
    prepare(local_data(tmp_path, [{"text": text} for text in SENTENCES]), tmp_path)
    shards = TokenShards(tmp_path, "train")
    ends = np.fromfile(tmp_path / "train-00000.ends", "<i8")
    tokens = shards.read(0, shards.total)
    assert len(ends) == documents_of(shards)
    assert (np.flatnonzero(tokens == 0) + 1 == ends).all()


def test_prepared_data_is_left_alone(tmp_path: Path, command: Callable) -> None:
    manifest = {"schema": 1, "dtype": "<u2", "vocab_size": 9, "tokenizer_sha256": "0", "splits": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    done = command("scripts/prepare_data.py", "data=sotu", f"data.directory={tmp_path}")
    assert done.returncode == 0
    assert "is prepared" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert_user_error(command("scripts/prepare_data.py", "data=sotuu"), 'unknown data "sotuu"', 'did you mean "sotu"?')


def test_a_damaged_record_of_progress_is_a_start(tmp_path: Path) -> None:
    documents = [{"text": sentence} for sentence in SENTENCES]
    (tmp_path / "out").mkdir()
    for content in ("[]", '{"key": 5}', "{", ""):
        (tmp_path / "out" / "progress.json").write_text(content)
        assert prepare(local_data(tmp_path, documents), tmp_path / "out")["train"]["documents"] > 0


def test_what_was_saved_of_a_stopped_preparation_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), prepare_data.whole_or_stopped(tmp_path / "new" / "out") as partial:
        (partial / "progress.json").write_text("{}")
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.partial"]
    (tmp_path / "new" / "out.partial" / "progress.json").unlink()
    with pytest.raises(UserError), prepare_data.whole_or_stopped(tmp_path / "new" / "out"):
        raise UserError("refused")
    assert not list((tmp_path / "new").iterdir())
