"""Whatever stands in a file that `evaluate` or `prepare_data` reads: it is used, or refused in a few short lines."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_shards
from evaluate_models import documents, gold_documents, tiny_model, write_checkpoint, write_gold_jsonl, write_jsonl
from fuzzing import COUNTS, answer_of, as_json, assert_sound, contents, fuzz, values
from hypothesis import strategies as st

from evaluate.__main__ import main
from ladder.config.config import load_config
from ladder.config.settings import Config
from ladder.records.metrics_file import MetricsFile
from ladder.runs.rundir import RunDirectory

SUITE = {
    "name": "tiny",
    "max_length": 200,
    "tasks": {
        "pets": {"rc": "pets.jsonl", "split": "val", "primary": "acc_raw"},
        "code": {"gold": "code.jsonl"},
        "piqa": {"olmes": "piqa", "formats": ["mc"], "limit": 2},
    },
    "lm_loss": {"text": {"shards": "shards", "split": "val", "tokens": 256}, "prose": {"text": "t.txt", "tokens": 99}},
    "groups": {"both": {"metric": "bpb", "of": ["pets.rc", "code.gold"]}},
    "forward_tokens": 1000,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one measured checkpoint, a suite, and everything that they name."""
    top = tmp_path_factory.mktemp("fuzz")
    run = RunDirectory(top / "ladder" / "n1-1xC")
    checkpoint = write_checkpoint(run.checkpoint(10), tiny_model())
    info = {"run": run.name, "ladder": "test", "size": "n1", "n": 28_000, "d": 1_000_000, "step": 10, "tokens": 10}
    (checkpoint / "rung.json").write_text(json.dumps(info))
    run.run_file.write_text(json.dumps(info | {"total_steps": 10}))
    write_jsonl(top / "pets.jsonl", documents("rc", 3))
    write_gold_jsonl(top / "code.jsonl", gold_documents(3))
    write_shards(top / "shards", {"val": np.arange(600) % 390}, 390)
    (top / "t.txt").write_text("The cat sat on the mat. " * 30)
    node: dict[str, Any] = json.loads(json.dumps(SUITE))
    del node["tasks"]["piqa"]  # whose documents take long to read; it is in the mutated suite alone
    for section, name, key in (
        ("tasks", "pets", "rc"),
        ("tasks", "code", "gold"),
        ("lm_loss", "text", "shards"),
        ("lm_loss", "prose", "text"),
    ):
        node[section][name][key] = str(top / node[section][name][key])
    run.config_file.write_text(json.dumps({"suite": node}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_LADDER_CACHE", str(top / "cache"))
        assert answer_of(main, [str(checkpoint)]).code == 0
    return top


@pytest.fixture(autouse=True)
def composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line is not what is mutated, and composing it takes longer than all else."""
    monkeypatch.setattr("evaluate.__main__.load_config", functools.partial(_config, load_config(())))


def _config(config: Config, words: Sequence[str]) -> Config:
    assert not words
    return config


# said of a file by whatever name it was given
NO_FILE = ("does not exist", "cannot be read", "is no name of a file", "no prepared data in", "split of shards")
FILES = {  # the files of a run -> words of which a refusal holds one
    "ladder/n1-1xC/config.yaml": ("config.yaml", "suite", "lm_loss", *NO_FILE),
    "ladder/n1-1xC/metrics/step-0000010.json": ("step-0000010.json",),
    "ladder/n1-1xC/metrics/step-0000010.npz": ("step-0000010.npz",),
    "ladder/n1-1xC/metrics/step-0000010.claim": ("step-0000010.claim",),
    "ladder/n1-1xC/checkpoints/step-0000010/config.json": ("config.json", "max_length", "model's configuration"),
    "ladder/n1-1xC/checkpoints/step-0000010/model.safetensors": ("model.safetensors", "step-0000010"),
    "ladder/n1-1xC/checkpoints/step-0000010/rung.json": ("rung.json",),
    "ladder/n1-1xC/checkpoints/step-0000010/tokenizer.json": ("tokenizer",),
    "ladder/n1-1xC/checkpoints/step-0000010/tokenizer_config.json": ("tokenizer",),
    "pets.jsonl": ("pets.jsonl",),
    "code.jsonl": ("code.jsonl",),
    "shards/manifest.json": ("manifest.json", "shards", "lm_loss text"),
    "shards/.verified.json": ("shards",),
    "shards/val-00000.bin": ("val-00000.bin",),
    "t.txt": ("t.txt", "prose"),
}
CLAIM = {"token": "abc", "host": "elsewhere", "pid": 1}


@st.composite
def mutations(draw: st.DrawFn, whole: dict[str, bytes]) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(FILES)))
    right = json.dumps(CLAIM).encode() if name.endswith(".claim") else whole[name]
    if name.endswith((".json", ".yaml", ".claim")) and draw(st.booleans()):
        return name, as_json(draw(values(json.loads(right))))
    if name.endswith(".jsonl") and draw(st.booleans()):
        rows = [json.loads(line) for line in right.splitlines()]
        rows[1] = draw(values(rows[1]))
        return name, b"\n".join(map(as_json, rows))
    if name.endswith(".safetensors") and draw(st.booleans()):
        length = int.from_bytes(right[:8], "little")
        header = as_json(draw(values(json.loads(right[8 : 8 + length]))))
        return name, len(header).to_bytes(8, "little") + header + right[8 + length :]
    return name, draw(contents(right))


def files_below(top: Path) -> dict[str, bytes]:
    paths = [path for path in top.rglob("*") if path.is_file() and path.relative_to(top).parts[0] != "cache"]
    return {str(path.relative_to(top)): path.read_bytes() for path in paths}


def restore(top: Path, whole: dict[str, bytes]) -> None:
    for name, content in files_below(top).items():
        if name not in whole:
            (top / name).unlink()
        elif content != whole[name]:
            (top / name).write_bytes(whole[name])


@pytest.mark.parametrize("count", COUNTS)
def test_any_file_of_a_run_is_measured_or_refused(place: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(place / "cache"))
    monkeypatch.setattr("evaluate.claims.EXPIRY_SECONDS", -1)  # no other worker is alive
    whole = files_below(place)
    checkpoint = place / "ladder" / "n1-1xC" / "checkpoints" / "step-0000010"
    metrics = place / "ladder" / "n1-1xC" / "metrics" / "step-0000010.json"

    @fuzz(count // 2, mutations(whole))
    def check(mutation: tuple[str, bytes]) -> None:
        name, content = mutation
        restore(place, whole)
        (place / name).write_bytes(content)
        given = whole | {name: content}
        answer = answer_of(main, [str(checkpoint)])
        assert_sound(answer, *FILES[name])
        left = files_below(place)
        assert not [path for path in left if ".tmp-" in path], left.keys()
        if answer.refused:
            assert {path: value for path, value in left.items() if not path.endswith((".npz", ".verified.json"))} == {
                path: value for path, value in given.items() if not path.endswith((".npz", ".verified.json"))
            }
        elif not name.endswith(".claim"):
            MetricsFile.load(metrics)

    restore(place, whole)


@pytest.mark.parametrize("count", COUNTS)
def test_any_suite_file_is_measured_or_refused(
    place: Path, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    path, output = tmp_path / "mine.yaml", tmp_path / "out"
    checkpoint = place / "ladder" / "n1-1xC" / "checkpoints" / "step-0000010"
    monkeypatch.setattr("evaluate.tasks.olmes.OlmesSource.documents", lambda self: documents("mc", 4))

    @fuzz(count // 2, values(SUITE).map(as_json) | contents(json.dumps(SUITE).encode()))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        answer = answer_of(main, [str(checkpoint), f"suite={path}", "--output", str(output)])
        assert_sound(answer, "mine.yaml", "suite", "lm_loss", "task", *NO_FILE)
        assert not list(tmp_path.rglob(".tmp-*"))
        if answer.refused:
            assert not output.exists() or not list(output.glob("*.json"))
        shutil.rmtree(output, ignore_errors=True)
