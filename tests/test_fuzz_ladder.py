"""Whatever a file of a ladder holds, `python -m ladder` and its readers do the work or answer in a short line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import answer_of, as_json, assert_sound, contents, fuzz, values
from hypothesis import strategies as st

from ladder.__main__ import main
from ladder.config.config import load_config
from ladder.config.data import check_data
from ladder.config.settings import Config
from ladder.errors import UserError
from ladder.jobs.preflight import check_identities
from ladder.records.run_record import RunRecord
from ladder.runs.identity import run_identity
from ladder.runs.rundir import LadderDirectory, RunDirectory

COUNTS = [50, pytest.param(500, marks=pytest.mark.nightly)]  # of each of the four: 200 and 2,000 in all
SIZES = {"s1": {"d_model": 8, "n_layers": 1, "n_heads": 1, "ffn_hidden": 24}}
RIGHT: dict[str, dict[str, Any]] = {
    "ladder": {
        "name": "mine",
        "data": "mine",
        "suite": "mine",
        "target": "mine",
        "cluster": "mine",
        "vocab_size": 512,
        "sizes": SIZES,
        "larger_sizes": {"s2": SIZES["s1"]},
        "multiples": [1, 2],
        "recipe": {"sequence_length": 32, "batch_multiple_of": 1, "schedule": "wsd"},
        "fit": {"window": 1},
    },
    "data": {"name": "mine", "directory": "data/mine", "max_epochs": 4, "mix": {"a": {"directory": "a", "weight": 1}}},
    "suite": {"name": "mine", "forward_tokens": 1e5, "tasks": {"quiz": {"rc": "quiz.jsonl"}}},
    "target": {"name": "mine", "n": 1e9, "d": 2e10, "method": "paper"},
    "cluster": {
        "name": "mine",
        "gpus": {"s1": 1, "default": 8},
        "parallel": "auto",
        "evaluators": 1,
        "gpu": {"name": "X", "memory_gb": 80, "peak_flops": 1e15, "mfu": 0.4, "dollars_per_hour": 2},
        "slurm": {
            "gpus_per_node": 8,
            "cpus_per_task": 8,
            "max_hours": 24,
            "signal_seconds": 300,
            "options": {"partition": "gpu"},
            "setup": ["module load cuda"],
        },
    },
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a ladder, data, suite, target and cluster of its own."""
    for group, node in RIGHT.items():
        (tmp_path / "configs" / group).mkdir(parents=True)
        (tmp_path / "configs" / group / "mine.yaml").write_text(yaml.safe_dump(node))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ladder.jobs.snapshot.queue_of", lambda directory: {})
    monkeypatch.setattr("ladder.jobs.launch.visible_gpus", list)
    return tmp_path


def test_the_files_are_right_before_they_are_changed(own: Path) -> None:
    assert answer_of(main, ["plan", "ladder=mine", "--json"]).code == 0


@pytest.mark.parametrize("count", COUNTS)
def test_any_configuration_file_is_planned_or_refused(own: Path, count: int) -> None:
    files = st.sampled_from(sorted(RIGHT)).flatmap(
        lambda group: st.tuples(
            st.just(group),
            values(RIGHT[group]).map(as_json) | contents(yaml.safe_dump(RIGHT[group]).encode()),
        )
    )

    @fuzz(count, files)
    def check(drawn: tuple[str, bytes]) -> None:
        group, content = drawn
        path = own / "configs" / group / "mine.yaml"
        right = path.read_bytes()
        path.write_bytes(content)
        try:
            assert_sound(answer_of(main, ["plan", "ladder=mine", "--json"]), "mine.yaml", group)
        finally:
            path.write_bytes(right)
        assert not (own / "runs").exists()


WORDS = ("seed", "runs_dir", "rung", "wandb", "train.micro_batch", "train.compile", "ladder.name", "ladder.multiples",
         "ladder.sizes", "ladder.recipe.z_loss", "ladder.vocab_size", "target.name", "data.max_epochs", "cluster.gpus",
         "cluster.gpu.mfu", "suite.forward_tokens", "ladder", "suite", "data", "target", "cluster")  # fmt: skip
VALUES = ("", "x", "-1", "0", "nan", "inf", "1e400", "null", "[]", "{}", "[" * 200, "{a: 1}", "../../x", "'", '"', "\\",
          "true", "9" * 400, "y" * 10_000, "${seed}", "${nope}", "???", "a,b", "ünï", "1.5")  # fmt: skip


@pytest.mark.parametrize("count", COUNTS)
def test_any_word_is_taken_or_refused(own: Path, count: int) -> None:
    sign = st.sampled_from(["", "", "", "+", "++", "~"])
    end = st.sampled_from(["", "", "", "x", ".y"])

    @fuzz(count, st.tuples(sign, st.sampled_from(WORDS), end, st.sampled_from(VALUES)))
    def check(drawn: tuple[str, str, str, str]) -> None:
        sign, key, end, value = drawn
        word = f"{sign}{key}{end}={value}"
        assert_sound(
            answer_of(main, ["plan", "ladder=mine", "--json", word]), *key.split("."), "argument", "command line"
        )


@pytest.fixture
def trained(own: Path, corpus: Path) -> tuple[Path, list[str]]:
    """A ladder whose one run was begun; the words that choose it."""
    words = ["ladder=mine", "cluster=local", f"data.directory={corpus}", "~data.mix"]
    config = load_config(words)
    rung = config.ladder.build().rung("s1-1xC")
    run = RunDirectory(own / "runs" / "mine" / rung.name)
    from ladder.config.data import open_data

    identity = run_identity(config, rung, open_data(config.data))
    RunRecord(
        **vars(identity), run=rung.name, config_hash=identity.sha256(), git_revision="x",
        total_steps=rung.hparams.total_steps, checkpoint_steps=tuple(rung.hparams.checkpoint_steps),
    ).dump(run.run_file)  # fmt: skip
    rows = [{"event": "start", "host": "elsewhere", "pid": 1, "started": 5}, {"event": "end", "error": None}]
    run.events_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.log_file.write_text('{"step": 10, "loss": 5.0, "mfu": 0.1, "tokens_per_second": 1e4, "eta_seconds": 3}\n')
    return run.path, words


@pytest.mark.parametrize("count", COUNTS)
def test_any_record_of_a_run_is_shown_or_refused(trained: tuple[Path, list[str]], count: int) -> None:
    run, words = trained
    config = load_config(words)
    right = {name: (run / name).read_bytes() for name in ("run.json", "events.jsonl", "log.jsonl")}

    def changed(name: str) -> st.SearchStrategy[tuple[str, bytes]]:
        lines = [json.loads(line) for line in right[name].decode().splitlines()] if name != "run.json" else []
        whole = values(json.loads(right[name])).map(as_json) if not lines else values(lines).map(as_lines)
        return st.tuples(st.just(name), whole | contents(right[name]))

    @fuzz(count, st.sampled_from(sorted(right)).flatmap(changed))
    def check(drawn: tuple[str, bytes]) -> None:
        name, content = drawn
        (run / name).write_bytes(content)
        before = {path.name for path in run.iterdir()}
        try:
            status = answer_of(main, ["status", *words])
            assert status.code in (0, 1, 3), status
            assert_sound(answer_of(lambda _: check_runs(config), words), "run.json", "s1-1xC")
        finally:
            (run / name).write_bytes(right[name])
        assert {path.name for path in run.iterdir()} == before


def check_runs(config: Config) -> None:
    """What `run` checks of the runs that are there, before it starts anything."""
    check_identities(config, LadderDirectory(config.directory), config.ladder.build().rungs, None)


def as_lines(node: Any) -> bytes:
    rows = node if isinstance(node, list) else [node]
    return b"".join(as_json(row) + b"\n" for row in rows)


def test_a_shard_whose_name_no_file_can_have_names_the_manifest(corpus: Path, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(corpus, directory)
    path = directory / "manifest.json"
    path.write_text(path.read_text().replace("train-00000.bin", "[" * 3000))
    config = load_config(["ladder=nano", "ladder.vocab_size=512", f"data.directory={directory}"])
    with pytest.raises(UserError, match=r"manifest\.json: .*no more than 255 bytes"):
        check_data(config.data, config.ladder.build().rungs)


@pytest.mark.parametrize("count", COUNTS)
def test_any_manifest_is_read_or_refused(corpus: Path, tmp_path: Path, count: int) -> None:
    directory = tmp_path / "data"
    shutil.copytree(corpus, directory)
    path = directory / "manifest.json"
    right = path.read_bytes()
    words = ["ladder=nano", "ladder.vocab_size=512", "data.max_epochs=1000", f"data.directory={directory}"]
    config = load_config(words)
    rungs = config.ladder.build().rungs

    @fuzz(count, values(json.loads(right)).map(as_json) | contents(right))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reader: Callable[[list[str]], None] = lambda argv: check_data(config.data, rungs)  # noqa: E731
        assert_sound(answer_of(reader, words), "manifest.json", "data")
