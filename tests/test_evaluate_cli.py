"""The command: checkpoints, runs and ladders; what is measured already is skipped by content; bad input is one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT, run_module, write_shards
from evaluate_models import documents, tiny_model, tiny_tokenizer, write_checkpoint, write_jsonl
from held import HANG_SECONDS
from omegaconf import OmegaConf

from evaluate.__main__ import main
from evaluate.hook import make_hook
from evaluate.models.checkpoint import find_checkpoints
from evaluate.results.report import Progressing
from evaluate.scoring.plan import make_plan
from evaluate.scoring.scorer import Scorer
from evaluate.tasks.asked_suite import own_suite
from evaluate.tokens.tokenizer import Encoder
from ladder.config.config import load_config
from ladder.errors import UserError
from ladder.files.bind import bind
from ladder.files.hashing import sha256_of
from ladder.records.metrics_file import MetricsFile, Origin
from ladder.runs.rundir import RunDirectory
from predict.measured.own_runs import read_runs


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(tmp_path_factory.mktemp("cache")))


def rung_info(step: int) -> dict[str, Any]:
    return {"run": "n1-2xC", "ladder": "test", "size": "n1", "n": 28_000, "d": 1_000_000, "step": step, "tokens": step}


def suite(directory: Path) -> dict[str, Any]:
    write_shards(directory / "shards", {"val": np.arange(2000) % 390}, 390)
    return {
        "name": "tiny",
        "tasks": {
            "pets": {
                "rc": str(write_jsonl(directory / "pets-rc.jsonl", documents("rc"))),
                "mc": str(write_jsonl(directory / "pets-mc.jsonl", documents("mc"))),
            },
            "names": {"rc": str(write_jsonl(directory / "names.jsonl", documents("winogrande")))},
        },
        "lm_loss": {"text": {"shards": str(directory / "shards"), "tokens": 1024}},
    }


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with two checkpoints, in a ladder directory."""
    made = RunDirectory(tmp_path / "ladder" / "n1-2xC")
    for step in (10, 20):
        path = write_checkpoint(made.checkpoint(step), tiny_model(seed=step))
        (path / "rung.json").write_text(json.dumps(rung_info(step)))
    made.run_file.write_text(json.dumps(rung_info(20)))
    OmegaConf.save(OmegaConf.create({"suite": suite(tmp_path / "data")}), made.config_file)
    return made


def evaluate(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    assert main([*map(str, words), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the plans that are scored from now on."""
    calls: list[int] = []
    original = Scorer.loglikelihoods

    def counting(self: Scorer, plan: Any, *args: Any, **kwargs: Any) -> Any:
        if len(plan.choices) > 1:  # not the trial plan
            calls.append(plan.requests)
        return original(self, plan, *args, **kwargs)

    monkeypatch.setattr(Scorer, "loglikelihoods", counting)
    return calls


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


def test_work_done_is_skipped_and_the_rest_resumed(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = scored(monkeypatch)
    evaluate(capsys, run.checkpoint(10), "--tasks", "names")
    assert len(calls) == 1
    whole = evaluate(capsys, run.checkpoint(10))
    assert len(calls) == 3  # names was there
    run.metrics_file(10).unlink()  # as if it had been interrupted before the last task was averaged
    assert evaluate(capsys, run.checkpoint(10)) == whole and len(calls) == 3
    only = evaluate(capsys, run.checkpoint(10), "--tasks", "pets", "--formats", "mc")
    assert len(calls) == 3 and {row["task"] for row in only[0]["results"]} == {"pets", "names"}
    assert sorted(np.load(run.metrics_file(10).with_suffix(".npz"))) == [
        "names.rc",
        "pets.mc",
        "pets.rc",
        "provenance",
    ]
    evaluate(capsys, run.checkpoint(10), "--force")
    assert len(calls) == 6


def test_what_changed_is_measured_again(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = scored(monkeypatch)
    (before,) = evaluate(capsys, run.checkpoint(10))
    weights = run.checkpoint(10) / "model.safetensors"
    stat = weights.stat()
    tiny_model(seed=99).save_pretrained(run.checkpoint(10))
    assert weights.stat().st_size == stat.st_size
    (after,) = evaluate(capsys, run.checkpoint(10))
    assert len(calls) == 6 and after["results"][0]["bpb"] != before["results"][0]["bpb"]
    os.utime(weights, ns=(1, 1))  # touched, but of the same content
    evaluate(capsys, run.checkpoint(10))
    assert len(calls) == 6
    with monkeypatch.context() as patch:  # and that is found out once
        patch.setattr("evaluate.models.checkpoint.Checkpoint.weights_sha256", lambda self: pytest.fail("read again"))
        evaluate(capsys, run.checkpoint(10))
    jsonl = Path(OmegaConf.load(run.config_file).suite.tasks.names.rc)
    write_jsonl(jsonl, documents("winogrande", 9))
    with pytest.raises(
        UserError, match=r"step-0000010\.json holds names\.rc of other documents .*names\.jsonl; .*--changed"
    ):
        main([str(run.checkpoint(10))])
    assert len(calls) == 6
    (grown,) = evaluate(capsys, run.checkpoint(10), "--changed")  # and nothing else
    assert len(calls) == 7 and {row["task"]: row["n"] for row in grown["results"]} == {"pets": 7, "names": 9}
    evaluate(capsys, run.checkpoint(10))  # pets' likelihoods were kept
    assert len(calls) == 7
    evaluate(capsys, run.checkpoint(10), "--dtype", "bf16")
    assert len(calls) == 10


def test_a_damaged_metrics_file_is_measured_again_when_forced(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    (before,) = evaluate(capsys, run.checkpoint(10))
    run.metrics_file(10).write_text('{"schema": 1}')
    with pytest.raises(UserError, match=r"step-0000010\.json: .* is missing; evaluate .* --force"):
        main([str(run.checkpoint(10))])
    assert evaluate(capsys, run.checkpoint(10), "--force") == [before]


def test_a_changed_definition_is_derived_anew_without_scoring(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = evaluate(capsys, run.checkpoint(10))
    calls = scored(monkeypatch)
    monkeypatch.setattr("evaluate.results.metrics.METRICS_VERSION", 99)
    (after,) = evaluate(capsys, run.checkpoint(10))
    assert not calls and after["results"] == before["results"]
    assert after["provenance"]["definitions"] != before["provenance"]["definitions"]


def test_a_name_keeps_its_definition(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another suite's task of the same name would stand among the ladder's own measurements."""
    monkeypatch.setattr("ladder.errors.LONGEST", 1000)  # however long the paths of this test are
    node = suite(tmp_path / "data")
    other = write_jsonl(tmp_path / "other.jsonl", documents("winogrande", 9))
    mine = tmp_path / "mine.yaml"

    def refused(path: Path, changed: dict[str, Any], *words: str) -> str:
        OmegaConf.save(OmegaConf.create(changed), mine)
        with pytest.raises(UserError) as caught:
            main([str(path), f"suite={mine}", *words])
        return str(caught.value)

    changed = node | {"tasks": {"names": {"rc": str(other)}}}
    for force in ([], ["--force"]):  # also before anything is measured
        message = refused(run.checkpoint(10), changed, *force)
        assert f"{other} in place of {tmp_path / 'data' / 'names.jsonl'}" in message
        assert str(run.config_file) in message and not run.metrics.exists()
    text = node | {"tasks": {}, "lm_loss": {"text": node["lm_loss"]["text"] | {"tokens": 512}}}
    assert "512 tokens of" in refused(run.checkpoint(10), text)
    assert "max_length=40" in refused(run.checkpoint(10), node | {"max_length": 40})
    assert "primary=acc_raw" in refused(run.checkpoint(10), node, "suite.tasks.pets.primary=acc_raw")
    evaluate(capsys, run.checkpoint(10), f"suite={mine}", "--output", tmp_path / "out", "suite.tasks.pets.split=val")
    shutil.copy(tmp_path / "data" / "names.jsonl", tmp_path / "copy.jsonl")  # the same documents are the same task
    OmegaConf.save(OmegaConf.create(node | {"tasks": {"names": {"rc": str(tmp_path / "copy.jsonl")}}}), mine)
    evaluate(capsys, run.checkpoint(10), f"suite={mine}")

    foreign = write_checkpoint(tmp_path / "foreign")
    words = [f"runs_dir={tmp_path / 'runs'}"]
    (before,) = evaluate(capsys, foreign, f"suite={mine}", *words)
    (file,) = (tmp_path / "runs" / "evaluated").glob("*.json")
    message = refused(foreign, changed, *words)
    assert str(file) in message and str(other) in message
    assert "split=test" in refused(foreign, node, "suite.tasks.names.split=val", *words)
    assert "text" in refused(foreign, text, *words)
    assert json.loads(file.read_text())["results"] == before["results"]
    refused(foreign, changed, *words)
    OmegaConf.save(OmegaConf.create(changed), mine)
    (after,) = evaluate(capsys, foreign, f"suite={mine}", "--force", *words)
    assert after["results"][0]["n"] == 9


def test_part_of_a_task_is_no_measurement_of_the_run(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (metrics,) = evaluate(capsys, run.checkpoint(10), "--limit", "2")
    assert {row["n"] for row in metrics["results"]} == {2}
    assert not run.metrics_file(10).exists()
    output = run.path / "elsewhere"
    evaluate(capsys, run.checkpoint(10), "--limit", "2", "--output", output)
    assert [path.name for path in sorted(output.iterdir())] == [
        "n1-2xC_step-0000010.json",
        "n1-2xC_step-0000010.npz",
    ]


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


def test_results_of_models_of_one_name_stand_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        write_checkpoint(tmp_path / name / "m" / "model", tiny_model(seed=seed))
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    words = [f"suite={tmp_path / 'mine.yaml'}", "--output", tmp_path / "out", "--tasks", "names"]
    monkeypatch.chdir(tmp_path / "c" / "m")
    paths = [tmp_path / "a/m/model", tmp_path / "b/m/model", Path("../m/model")]
    first = [evaluate(capsys, path, *words)[0] for path in paths]
    files = sorted(path.name for path in (tmp_path / "out").glob("*.json"))
    assert files == ["b_m_model.json", "c_m_model.json", "m_model.json"]
    calls = scored(monkeypatch)
    again = [evaluate(capsys, path, *words)[0] for path in paths]
    assert [m["results"] for m in again] == [m["results"] for m in first] and not calls
    assert len({m["results"][0]["bpb"] for m in first}) == 3


def test_a_path_with_dots_makes_no_hidden_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "above" / "x")
    (tmp_path / "above" / "here").mkdir()
    monkeypatch.chdir(tmp_path / "above" / "here")
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    evaluate(capsys, "../x", f"suite={tmp_path / 'mine.yaml'}", "--tasks", "names", "--output", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["above_x.json"]


def test_bad_documents_are_named_before_a_model_is_read(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluate.resident.load_model", lambda *args, **kwargs: pytest.fail("it was read"))
    (tmp_path / "data" / "names.jsonl").write_text('{"context": "Q", "choices": [" a"], "gold": 0}\n')
    with pytest.raises(UserError, match=r"^document \S*names\.jsonl, line 1: needs at least two"):
        main([str(run.checkpoint(10))])


def test_watching_checkpoints_of_others_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing says which is the last of them."""
    for step in (5, 20):
        write_checkpoint(tmp_path / "out" / f"checkpoint-{step}")
    OmegaConf.save(OmegaConf.create(suite(tmp_path / "data")), tmp_path / "mine.yaml")
    words = [str(tmp_path / "out"), f"suite={tmp_path / 'mine.yaml'}", "--watch", "--tasks", "names", "--json"]
    for more, said in (([], True), (["--patience", "0"], False)):
        main([*words, "--output", str(tmp_path / "metrics"), *more])
        shown = capsys.readouterr()
        assert len(shown.out.splitlines()) == 2
        assert ("no run here says which checkpoint is its last" in shown.err) == said


def test_other_tokens_than_the_harness_takes_are_warned_of(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "names.jsonl").write_text('{"context": "Q: ", "choices": ["a", "b"], "gold": 0}\n')
    main([str(run.checkpoint(10))])
    warnings = [line for line in capsys.readouterr().err.splitlines() if "lm-evaluation-harness" in line]
    assert len(warnings) == 1 and "takes other tokens for choices of names.rc (2): a context ends in" in warnings[0]


@pytest.mark.parametrize(("glued", "said"), [(2, 1), (1, 0)])
def test_choices_without_the_space_before_them_are_warned_of(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], glued: int, said: int
) -> None:
    lines = [
        '{"context": "The cat sees us and it", "choices": ["meows.", "barks."], "gold": 0}\n',
        '{"context": "The cat sees us and it", "choices": [" meows.", " barks."], "gold": 0}\n',
    ]
    (tmp_path / "data" / "names.jsonl").write_text(lines[0] * glued + lines[1])
    main([str(run.checkpoint(10))])
    warnings = [line for line in capsys.readouterr().err.splitlines() if "without a space" in line]
    assert len(warnings) == said and all(line.startswith("names.rc: most choices") for line in warnings)


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


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    done = run_module("-m", "evaluate", str(tmp_path / "none"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "does not exist" in done.stderr
    done = run_module("-m", "evaluate", str(tmp_path), "--tasks")
    assert done.returncode == 2 and "expected one argument" in done.stderr


def test_bad_checkpoints_are_named(run: RunDirectory) -> None:
    def error(*words: object) -> str:
        with pytest.raises(UserError) as caught:
            main([*map(str, words)])
        assert not run.metrics_file(10).exists() and not list(run.path.rglob(".tmp-*"))
        return str(caught.value)

    path = run.checkpoint(10)
    assert 'unknown task of suite tiny "pest"; did you mean "pets"' in error(path, "--tasks", "pest")
    assert 'unknown suite "nanoo"; did you mean "nano"' in error(path, "suite=nanoo")
    assert "mine.yaml does not exist" in error(path, f"suite={run.path / 'mine.yaml'}")
    assert 'suite tiny: unknown key "max_len"; did you mean "max_length"' in error(path, "suite.max_len=9")
    assert "is not a checkpoint" in error(run.path.parent.parent / "data")
    assert "unknown run of" in error(run.path.parent, "--runs", "n9-1xC")
    assert "--runs chooses runs of a ladder" in error(path, "--runs", run.name)
    assert "--watch follows runs of a ladder" in error(path, "--watch")
    assert "--patience ends --watch" in error(path, "--patience", 1)
    assert "is a file; give the directory" in error(run.run_file)
    assert '"" must name a directory' in error(path, "--output", "")
    assert 'run.json" must name a directory' in error(path, "--output", run.run_file)
    assert 'unknown suite ""' in error(path, "suite=")
    assert "gone.jsonl does not exist" in error(
        path, "--output", run.path / "new" / "out", "suite.tasks.names.rc=gone.jsonl"
    )
    assert not (run.path / "new").exists()
    assert find_checkpoints(run.path.parent, [run.name, "n9-1xC"])  # a launcher names runs that may not have begun
    good = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(good[:-100])
    assert "truncated" in error(path)
    (path / "model.safetensors").write_bytes(b"\x05")
    assert "not a safetensors file" in error(path)
    tiny_model(hidden_size=48).save_pretrained(run.path / "other")
    shutil.copy(run.path / "other" / "model.safetensors", path)
    assert "model.safetensors: lm_head.weight has the shape [400, 48], config.json asks for [400, 32]" in error(path)
    (path / "model.safetensors").unlink()
    assert "no weights" in error(path)
    torch.save(tiny_model(seed=10).state_dict(), path / "pytorch_model.bin")
    assert "--allow-pickle" in error(path)
    (path / "pytorch_model.bin").unlink()
    broken = tiny_model()
    broken.lm_head.weight.data.fill_(float("nan"))
    broken.save_pretrained(path)
    assert "not finite" in error(path) and str(path) in error(path)
    tiny_model(vocab_size=300).save_pretrained(path)
    assert "tokenizer" in error(path, "--tasks", "names")
    (path / "tokenizer.json").unlink()
    (path / "tokenizer_config.json").unlink()
    assert "has no tokenizer" in error(path)


def test_formats_of_other_programs_are_one_line(run: RunDirectory, tmp_path: Path) -> None:
    def error(path: Path, *words: str) -> str:
        with pytest.raises(UserError) as caught:
            main([str(path), *words])
        return str(caught.value)

    gguf = tmp_path / "ggufs" / "model.Q4_K_M.gguf"
    gguf.parent.mkdir()
    gguf.write_bytes(b"GGUF")
    assert "model.Q4_K_M.gguf is llama.cpp's format (GGUF); give the Hugging Face directory" in error(gguf)
    assert "ggufs holds GGUF files" in error(gguf.parent) and "ggufs holds GGUF files" in error(gguf.parent, "--watch")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    assert "adapter is an adapter of owner/base, not a model; merge it" in error(adapter)
    config = json.loads((run.checkpoint(10) / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (run.checkpoint(10) / "config.json").write_text(json.dumps(config))
    refused = error(run.checkpoint(10))
    assert "its weights are quantised (gptq) and cannot be loaded" in refused and "measure the original ones" in refused


def test_a_chat_template_is_said_not_to_be_used(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (run.checkpoint(10) / "chat_template.jinja").write_text("{{ messages }}")
    assert main([str(run.path), "--tasks", "names"]) == 0
    said = capsys.readouterr().err
    assert said.count("its tokenizer has a chat template, which is not used") == 1  # of one of the two checkpoints


def test_pickles_when_asked(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    (expected,) = evaluate(capsys, run.checkpoint(10))
    path = run.checkpoint(10)
    torch.save(tiny_model(seed=10).state_dict(), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    (metrics,) = evaluate(capsys, path, "--allow-pickle")
    assert metrics["results"] == expected["results"]


def test_a_full_disk_leaves_earlier_results_as_they_were(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(capsys, run.checkpoint(10), "--tasks", "names")
    before = {path.name: path.read_bytes() for path in run.metrics.iterdir()}

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="No space left on device"):
        main([str(run.checkpoint(10))])
    assert {path.name: path.read_bytes() for path in run.metrics.iterdir()} == before


def test_the_shipped_suites_are_readable() -> None:
    from evaluate.tasks.suite import make_suite

    nano = make_suite(load_config(["ladder=nano"]).suite)
    assert [task.key for task in nano.tasks] == ["next_phrase.rc", "word.rc", "order.rc", "agree.rc"]
    olmes = make_suite(load_config(["suite=olmes10"]).suite)
    assert len(olmes.tasks) == 20 and {task.format for task in olmes.tasks} == {"rc", "mc"}
