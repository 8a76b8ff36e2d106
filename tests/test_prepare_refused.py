"""What a preparation refuses, in one line that names the file or key."""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, assert_user_error
from made_text import SENTENCES, local_data
from omegaconf import OmegaConf

sys.path.insert(0, str(ROOT / "scripts"))
import prepare_data
from prepare_data import prepare
from preparing.documents import read_documents
from preparing.tokenizer import train_bpe

from ladder.errors import UserError
from ladder.records import shard_writer


@pytest.fixture(autouse=True)
def dataset_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_not_enough_text() -> None:
    with pytest.raises(
        UserError, match=r"not enough text for a tokenizer of 5000 entries, only (\d+) .* set train_bpe: \1 in the data"
    ):
        train_bpe(["too little"], 5000)
    with pytest.raises(UserError, match="train_bpe=10 must be at least 257"):
        train_bpe(["too little"], 10)


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no "text" column, only body'):
        prepare(local_data(tmp_path, [{"body": "x"}]), tmp_path)
    data = local_data(tmp_path, [{"text": "x"}])
    data.source.dataset.data_files = str(tmp_path / "absent.jsonl")
    with pytest.raises(UserError, match=r"data_files: .*absent\.jsonl does not exist"):
        prepare(data, tmp_path)
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(random.Random(0).randbytes(100_000).hex().encode())[:-1000])
    data.source.dataset.data_files = str(cut)
    with pytest.raises(UserError, match=r"cut\.jsonl\.gz cannot be read"):
        prepare(data, tmp_path)


def test_empty_and_unset_sources(tmp_path: Path, command: Callable) -> None:
    with pytest.raises(UserError, match="holds no rows"):
        prepare(local_data(tmp_path, []), tmp_path)
    done = command("scripts/prepare_data.py", "data=local", f"data.directory={tmp_path / 'none'}")
    assert_user_error(done, "set data.source.dataset.data_files=", "configs/data/local.yaml")


def test_a_token_that_the_tokenizer_lacks_is_refused(tmp_path: Path) -> None:
    prepare(local_data(tmp_path, [{"text": text} for text in SENTENCES]), tmp_path)
    file = str(tmp_path / "tokenizer" / "tokenizer.json")
    for eos, pad, named in (("<|endoftext|>", "<|pad|>", "pad=<|pad|>"), ("</s>", "<|endoftext|>", "eos=</s>")):
        tokenizer = {"file": file, "eos": eos, "pad": pad}
        with pytest.raises(UserError, match=re.escape(f"data.tokenizer.{named} is no token of")):
            prepare(local_data(tmp_path, [{"text": "x"}], tokenizer=tokenizer), tmp_path)


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty, expected JSON"), ("{", "is not valid JSON"), ("{}", "schema is missing")]
)
def test_prepared_data_with_a_damaged_manifest_is_no_prepared_data(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError) as caught:
        prepare_data.main(["data=sotu", f"data.directory={tmp_path}"])
    assert str(caught.value).startswith(str(tmp_path / "manifest.json")) and words in str(caught.value)
    assert str(caught.value).endswith(f"; remove {tmp_path} to prepare it again")
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data.tokenizer.train_bpe=-3"], "data: tokenizer.train_bpe = -3: must be at least 1"),
        (["data.tokenizer.train_bpe=1000000000000000"], "must be at most"),
        (["data.source=null"], "data: source = null: must be a mapping"),
        (["data.source.wheels=null"], "data.source must be one of"),
        (["data.source.wheels=5"], "source.wheels = 5: must be"),
        (["data.heldout_every=1"], "heldout_every = 1: must be at least 2"),
        (["data.suite.items_per_task=-1"], "suite.items_per_task = -1: must be at least 1"),
        (["+data.heldout_evry=5"], 'unknown key "heldout_evry"; did you mean "heldout_every"'),
        (["data.source.wheels.prose.year='(('"], "year = ((: missing )"),
        (["data.source.wheels.prose.year='20'"], "must have a group"),
    ],
)
def test_settings_of_the_wrong_kind_are_named(tmp_path: Path, words: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare_data.main(["data=sotu", f"data.directory={tmp_path / 'out'}", *words])
    assert expected in str(caught.value) and not list(tmp_path.iterdir())


def test_a_file_that_is_not_what_its_name_says(tmp_path: Path) -> None:
    for name in ("a.jsonl.zst", "b.jsonl.gz"):
        (tmp_path / name).write_bytes(b"this is plain text\n" * 50)
        dataset = {"path": "json", "data_files": str(tmp_path / name)}
        data = OmegaConf.create({"name": "x", "source": {"dataset": dataset}, "heldout_every": 5})
        with pytest.raises(UserError, match=name) as caught:
            list(read_documents(data))
        assert len(str(caught.value)) < 300


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    writer = shard_writer.ShardWriter(tmp_path, "train", np.dtype("<u2"))
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"train-00000\.bin: No space left on device"):
        writer.add([[1, 2]], ["a"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a"}\n{"text": \n', ""),
        ('{"other": "a"}\n', ""),
        ('{"text": "a"}\n{"text": null}\n', ": row 1 has no text but None"),
    ],
)
def test_of_several_files_the_one_at_fault_is_named_and_nothing_is_left(
    tmp_path: Path, content: str, said: str
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    (tmp_path / "b.jsonl").write_text(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    words = [
        "data=local",
        f"data.directory={tmp_path / 'new' / 'out'}",
        f"data.source.dataset.data_files={tmp_path}/*.jsonl",
    ]
    with pytest.raises(UserError, match=rf"b\.jsonl.*{said}"):
        prepare_data.main([*words, "~data.tokenizer", "+data.tokenizer={train_bpe: 300}"])
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == before
