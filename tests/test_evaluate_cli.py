"""The command: checkpoints, runs and ladders in, measurements out, in every form that is asked for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT
from evaluate_models import documents, tiny_model, tiny_tokenizer, write_checkpoint, write_jsonl
from evaluated_run import evaluate, rung_info, scored, suite
from held import HANG_SECONDS
from omegaconf import OmegaConf

from evaluate.__main__ import main
from evaluate.hook import make_hook
from evaluate.models.checkpoint import Checkpoint, find_checkpoints
from evaluate.results.report import Progressing
from evaluate.scoring.plan import make_plan
from evaluate.tasks.asked_suite import own_suite
from evaluate.tokens.tokenizer import Encoder
from ladder.config.config import load_config
from ladder.errors import UserError
from ladder.files.bind import bind
from ladder.records.metrics_file import MetricsFile, Origin
from ladder.runs.rundir import RunDirectory
from predict.measured.own_runs import read_runs

pytestmark = pytest.mark.usefixtures("private_cache")


def test_a_ladder_becomes_measurements(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = evaluate(capsys, run.path.parent)
    assert first["checkpoint"] == str(run.checkpoint(10)) and second["step"] == 20
    assert [(row["task"], row["format"]) for row in first["results"]] == [
        ("pets", "rc"),
        ("pets", "mc"),
        ("names", "rc"),
    ]
    assert first["results"][0]["bpb"] != second["results"][0]["bpb"]
    table = read_runs(run.path.parent)
    bpb = table[(table.step == 20) & (table.task == "pets") & (table.metric == "rc_bpb")]
    assert bpb.value.item() == second["results"][0]["bpb"] and bpb["items"].item() == 7
    assert table[table.metric == "lm_loss"].value.iloc[0] == first["lm_loss"][0]["nats_per_token"]
    arrays = np.load(run.metrics_file(10).with_suffix(".npz"))
    assert arrays["pets.rc"].shape == (sum(len(d.choices) for d in documents("rc")),)


def test_the_way_that_a_model_is_run_is_said_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = transformers.GPTNeoConfig(
        vocab_size=400, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]],
        window_size=36, max_position_embeddings=256, eos_token_id=0, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    path = write_checkpoint(tmp_path / "model", transformers.GPTNeoForCausalLM(config))
    write_jsonl(tmp_path / "names.jsonl", documents("rc", 40))
    OmegaConf.save(OmegaConf.create({"tasks": {"names": {"rc": str(tmp_path / "names.jsonl")}}}), tmp_path / "s.yaml")
    main([str(path), f"suite={tmp_path / 's.yaml'}", "--output", str(tmp_path), "--json"])
    said = capsys.readouterr()
    stored = MetricsFile.load(tmp_path / f"{tmp_path.name}_model.json")
    assert stored.trial is not None and stored.trial.outcome == "differs" and not stored.tries
    assert stored.trial.difference > 1e-3
    assert f"as plain sequences, which is slower: a trie of {stored.trial.tokens} tokens gives another" in said.err
    assert json.loads(said.out)["trial"]["outcome"] == "differs"


def test_the_hook_measures_the_same_as_the_checkpoint(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(seed=10).train()
    hook = make_hook(own_suite(run.config_file), model, tiny_tokenizer())
    write, weights = hook(bind(Origin, rung_info(10), ""), run), {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        for mine, other in zip(model.parameters(), tiny_model(seed=20).parameters(), strict=True):
            mine.copy_(other)  # the same live object, trained on
    assert not run.metrics_file(10).exists()
    write(weights)  # while training goes on
    live = json.loads(run.metrics_file(10).read_text())
    hook(bind(Origin, rung_info(20), ""), run)(model.state_dict())
    assert model.training
    calls = scored(monkeypatch)
    assert [m["results"] for m in evaluate(capsys, run.path)] == [
        live["results"],
        json.loads(run.metrics_file(20).read_text())["results"],
    ]
    assert not calls  # the command knows the hook's work by the weights' content
    stored = [m["results"] for m in evaluate(capsys, run.path, "--force")]
    assert stored[0] == live["results"] and len(calls) == 6


def test_samples_and_harness_results_on_request(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (metrics,) = evaluate(capsys, run.checkpoint(10), "--log-samples", "--results-json")
    samples = [json.loads(line) for line in (run.metrics / "samples_step-0000010.jsonl").read_text().splitlines()]
    assert len(samples) == 21
    pets = [row for row in samples if row["task"] == "pets" and row["format"] == "rc"]
    right = [int(np.argmax(row["loglikelihoods"])) == row["gold"] for row in pets]
    assert np.mean(right) == metrics["results"][0]["acc_raw"]
    assert pets[0]["choices"] == list(documents("rc")[0].choices) and len(pets[0]["contexts"]) == 1
    results = json.loads((run.metrics / "results_step-0000010.json").read_text())
    assert results["results"]["pets_rc"]["acc_norm,none"] == metrics["results"][0]["acc_per_char"]
    assert results["n-samples"]["names_rc"] == {"original": 7, "effective": 7}
    assert results["versions"].keys() == results["results"].keys()  # which lm-eval's make_table looks up
    assert results["group_subtasks"] == results["n-shot"] == {}  # of our own documents they are not known
    assert set(read_runs(run.path).step) == {10}  # those files are not taken for metrics
    (run.metrics / "step-0000010.npz").unlink()
    assert evaluate(capsys, run.checkpoint(10), "--log-samples")[0]["results"] == metrics["results"]
    with pytest.raises(UserError, match="--output"):
        main([str(run.checkpoint(10)), "--limit", "1", "--log-samples"])


def test_a_table_for_wandb(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(run.path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    evaluate(capsys, run.path, "wandb=offline")
    (table,) = run.path.rglob("results_*.table.json")
    data = json.loads(table.read_text())
    assert len(data["data"]) == 6 and data["columns"][:4] == ["run", "step", "task", "format"]
    with pytest.raises(UserError, match='did you mean "offline"'):
        main([str(run.path), "wandb=ofline"])


def test_any_hugging_face_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_checkpoint(tmp_path / "out" / "checkpoint-5", tiny_model("gpt_neox"))
    write_checkpoint(tmp_path / "out" / "checkpoint-20", tiny_model("llama"))
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    words = [f"suite={tmp_path / 'mine.yaml'}", f"runs_dir={tmp_path / 'runs'}", "--tasks", "names"]
    (metrics,) = evaluate(capsys, path, *words)
    assert metrics["results"][0]["task"] == "names" and metrics["n"] > 0 and metrics["d"] is None
    both = evaluate(capsys, tmp_path / "out", *words)
    assert [Path(m["checkpoint"]).name for m in both] == ["checkpoint-5", "checkpoint-20"]
    assert len(list((tmp_path / "runs" / "evaluated").glob("*.json"))) == 2


def test_checkpoints_of_one_call_have_each_their_own_tokenizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which in older files differ by their merges alone."""
    for name, merges in (("a", None), ("b", 20)):
        path = write_checkpoint(tmp_path / "out" / name, tiny_model("llama"))
        tokenizer = json.loads((path / "tokenizer.json").read_text())["model"]
        (path / "tokenizer.json").unlink()
        (path / "vocab.json").write_text(json.dumps(tokenizer["vocab"]))
        lines = ["#version: 0.2", *(" ".join(pair) for pair in tokenizer["merges"][:merges])]
        (path / "merges.txt").write_text("\n".join(lines) + "\n")
        token = "<|endoftext|>"
        tokens = {"eos_token": token, "bos_token": token, "unk_token": token}
        (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **tokens}))
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    words = [f"suite={tmp_path / 'mine.yaml'}", "--tasks", "names"]
    first, second = evaluate(capsys, tmp_path / "out", *words, "--output", tmp_path / "together")
    (alone,) = evaluate(capsys, tmp_path / "out" / "b", *words, "--output", tmp_path / "alone")
    assert second["results"] == alone["results"] != first["results"]


def test_a_path_with_dots_makes_no_hidden_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "above" / "x")
    (tmp_path / "above" / "here").mkdir()
    monkeypatch.chdir(tmp_path / "above" / "here")
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    evaluate(capsys, "../x", f"suite={tmp_path / 'mine.yaml'}", "--tasks", "names", "--output", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["above_x.json"]


def test_runs_that_are_not_there_are_named(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(run.path.parent), "--runs", "n1-2xC,n1-2xD", "--tasks", "names", "--json"])
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert said.err.splitlines()[0].endswith('"n1-2xD"; did you mean "n1-2xC"? known: n1-2xC')


def test_hidden_directories_are_no_checkpoints(run: RunDirectory) -> None:
    """`train` writes them under such a name."""
    shutil.copytree(run.checkpoint(10), run.checkpoints / ".tmp-1-step-0000030")
    assert [one.path for one in find_checkpoints(run.checkpoints)] == [run.checkpoint(10), run.checkpoint(20)]


def test_a_half_written_checkpoint_of_others_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_checkpoint(out / "checkpoint-5")
    whole = write_checkpoint(tmp_path / "whole")
    (half := out / "checkpoint-20").mkdir()
    shutil.copy(whole / "config.json", half)
    (gone := out / "checkpoint-15").mkdir()
    shutil.copy(whole / "config.json", gone)
    now = time.time()
    files = [path for path in sorted(whole.iterdir()) if path.name != "config.json"]
    visited = []

    def settled(self: Checkpoint) -> bool:
        visited.append(self.path)
        if self.path == gone:  # deleted after it was listed
            shutil.rmtree(gone)
        return own(self)

    def later(seconds: float) -> None:
        nonlocal now
        if files:
            now = time.time()
            shutil.copy2(files.pop(), half)
        else:
            now = time.time() + 1000

    own = Checkpoint.settled
    monkeypatch.setattr(Checkpoint, "settled", settled)
    monkeypatch.setattr("evaluate.models.checkpoint.time", types.SimpleNamespace(time=lambda: now))
    monkeypatch.setattr("evaluate.session.time.sleep", later)
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    words = [str(out), f"suite={tmp_path / 'mine.yaml'}", "--watch", "--tasks", "names", "--json"]
    main([*words, "--output", str(tmp_path / "metrics")])
    said = capsys.readouterr()
    assert [Path(json.loads(line)["checkpoint"]).name for line in said.out.splitlines()] == [
        "checkpoint-5",
        "checkpoint-20",
    ]
    assert f"{half} was just written to" in said.err and gone in visited


def test_watching_checkpoints_of_others_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing says which is the last of them."""
    monkeypatch.setattr("evaluate.models.checkpoint.SETTLED_SECONDS", 0)
    for step in (5, 20):
        write_checkpoint(tmp_path / "out" / f"checkpoint-{step}")
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    words = [str(tmp_path / "out"), f"suite={tmp_path / 'mine.yaml'}", "--watch", "--tasks", "names", "--json"]
    for more, said in (([], True), (["--patience", "0"], False)):
        main([*words, "--output", str(tmp_path / "metrics"), *more])
        shown = capsys.readouterr()
        assert len(shown.out.splitlines()) == 2
        assert ("no run here says which checkpoint is its last" in shown.err) == said


def test_a_long_task_is_heard_of_off_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("evaluate.results.report.time.monotonic", lambda: now)
    progress = Progressing(quiet=False)
    progress.begin("model")
    for done, now in ((0, 1000.0), (10, 1029.0), (50, 1031.0), (60, 1040.0), (99, 1062.0)):  # noqa: B007
        progress.advance("pets.rc", done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "model",
        "  pets.rc: 100 tokens",
        "  pets.rc: 50%",
        "  pets.rc: 99%",
    ]


def test_a_checkpoint_that_was_moved_out_of_its_run(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(run.checkpoint(10), tmp_path / "a" / "b" / "moved")
    words = [f"suite={tmp_path / 'mine.yaml'}", f"runs_dir={tmp_path / 'runs'}", "--tasks", "names"]
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    (metrics,) = evaluate(capsys, moved, *words)
    assert metrics["run"] == "n1-2xC" and metrics["step"] == 10
    assert [path.name for path in (tmp_path / "runs" / "evaluated").glob("*.json")] == ["b_moved.json"]


def test_the_table(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run.checkpoint(10))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(run.checkpoint(10)) and lines[1].split()[:4] == ["task", "format", "n", "acc"]
    assert lines[2].split()[:3] == ["pets", "rc", "7"] and lines[-2].startswith("text: ")


def test_nothing_is_printed_but_our_own_lines(run: RunDirectory) -> None:
    """On a configuration that transformers warns of, in a process of its own: what is quiet is decided at its start."""
    path = run.checkpoint(10)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"eos_token_id": 50256}))
    words = [sys.executable, "-m", "evaluate", str(path), "--tasks", "names"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0
    names = make_plan(documents("winogrande"), Encoder(tiny_tokenizer()), 256, True)
    first, way, *others = done.stderr.splitlines()
    assert [first, *others] == [str(path), f"  names.rc: {len(names.tokens):,} tokens"]
    assert way.startswith(f"  as tries: the same as plain sequences on {names.longest_path} tokens, to ")
    assert done.stdout.splitlines()[0] == str(path) and len(done.stdout.splitlines()) == 4


def test_the_shipped_suites_are_readable() -> None:
    from evaluate.tasks.suite import make_suite

    nano = make_suite(load_config(["ladder=nano"]).suite)
    assert [task.key for task in nano.tasks] == ["next_phrase.rc", "word.rc", "order.rc", "agree.rc"]
    olmes = make_suite(load_config(["suite=olmes10"]).suite)
    assert len(olmes.tasks) == 20 and {task.format for task in olmes.tasks} == {"rc", "mc"}
