"""Tasks of gold answers: the loss of the right answer alone, from its file to the table of measurements."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate_models import (
    ARCHITECTURES,
    documents,
    gold_documents,
    one_by_one,
    tiny_model,
    tiny_tokenizer,
    write_checkpoint,
    write_gold_jsonl,
    write_jsonl,
)
from omegaconf import OmegaConf

from evaluate.__main__ import main
from evaluate.hook import make_hook
from evaluate.results.metrics import gold_result, gold_values
from evaluate.results.report import wandb_tables
from evaluate.results.samples import harness_results
from evaluate.scoring.plan import make_plan
from evaluate.scoring.scorer import Scorer
from evaluate.tasks.asked_suite import own_suite
from evaluate.tasks.suite import make_suite
from evaluate.tasks.tasks import GoldDocument, GoldJsonlSource, GoldTask
from evaluate.tokens.tokenizer import Encoder
from ladder.config.suite_settings import SuiteSettings
from ladder.errors import UserError
from ladder.files.bind import bind
from ladder.records.metrics_file import MetricsFile, Origin
from ladder.runs.rundir import RunDirectory
from predict.measured.own_runs import read_runs

INFO = {"run": "n1-2xC", "ladder": "test", "size": "n1", "n": 28_000, "d": 1_000_000, "step": 10, "tokens": 10}

pytestmark = pytest.mark.usefixtures("private_cache")


def suite(directory: Path) -> dict[str, Any]:
    """Two gold tasks, one of them in groups with a ranked one."""
    return {
        "name": "tiny",
        "tasks": {
            "pets": {"rc": str(write_jsonl(directory / "pets.jsonl", documents("rc")))},
            "code": {"gold": str(write_gold_jsonl(directory / "code.jsonl", gold_documents()))},
            "more": {"gold": str(write_gold_jsonl(directory / "more.jsonl", gold_documents(3)))},
        },
        "groups": {
            "answers": {"metric": "bpb", "of": ["code.gold", "more.gold"]},
            "all_bpb": {"metric": "bpb", "of": ["pets.rc", "answers"]},
            "pets_acc": {"metric": "acc", "of": ["pets.rc"]},
        },
    }


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory(tmp_path / "ladder" / "n1-2xC")
    (write_checkpoint(made.checkpoint(10)) / "rung.json").write_text(json.dumps(INFO))
    made.run_file.write_text(json.dumps(INFO | {"total_steps": 10}))
    OmegaConf.save(OmegaConf.create({"suite": suite(tmp_path / "data")}), made.config_file)
    return made


def evaluate(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main([*map(str, words), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    measured: dict[str, Any] = json.loads(line)
    return measured


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tries", [True, False])
def test_equals_one_forward_per_answer(architecture: str, tries: bool) -> None:
    model, encoder, made = tiny_model(architecture), Encoder(tiny_tokenizer()), gold_documents()
    plan = make_plan(made, encoder, 256, tries)
    assert np.abs(Scorer(model).loglikelihoods(plan) - one_by_one(model, encoder, made, 256)).max() < 1e-3


def test_by_hand() -> None:
    made = [GoldDocument(id="0", context="Q", answer=" é"), GoldDocument(id="1", context="Q", answer="abcd")]
    plan = make_plan(made, Encoder(tiny_tokenizer()), 256, True)
    ll = np.array([-2.0, -6.0])
    values = gold_values(plan, ll)
    assert values["bpb"] == pytest.approx([2 / 2 / math.log(2), 6 / 4 / math.log(2)])  # without the space of " é"
    assert values["bpb_with_space"] == pytest.approx([2 / 3 / math.log(2), 6 / 4 / math.log(2)])
    tokens = [len(ids) for ids in Encoder(tiny_tokenizer()).encode([" é", "abcd"])]
    assert values["nats_per_token"] == pytest.approx([2 / tokens[0], 6 / tokens[1]])
    row = gold_result(GoldTask(name="t", split="test", source=GoldJsonlSource(path=Path())), plan, ll)
    assert row.n == 2 and row.bpb == pytest.approx(values["bpb"].mean())
    assert row.stderr["bpb"] == pytest.approx(values["bpb"].std(ddof=1) / math.sqrt(2))
    with pytest.raises(ValueError, match="not a finite number"):
        gold_values(plan, np.array([-1.0, np.nan]))


def test_a_run_has_losses_of_gold_answers_and_no_accuracies_of_them(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = evaluate(capsys, run.path)
    assert [row["task"] for row in measured["results"]] == ["pets"]
    assert [row["task"] for row in measured["gold"]] == ["code", "more"]
    arrays = np.load(run.metrics_file(10).with_suffix(".npz"))
    assert arrays["code.gold"].shape == (6,)  # kept per document
    reference = one_by_one(tiny_model(), Encoder(tiny_tokenizer()), gold_documents(), 256)
    sizes = [len(document.answer.removeprefix(" ").encode()) for document in gold_documents()]
    assert measured["gold"][0]["bpb"] == pytest.approx(np.mean(-reference / sizes / math.log(2)), abs=1e-4)
    assert measured["gold"][0]["n"] == 6 and "acc" not in measured["gold"][0]
    stored = json.loads(json.dumps(MetricsFile.load(run.metrics_file(10)).plain()))
    assert stored == {key: value for key, value in measured.items() if key != "checkpoint"}
    table = read_runs(run.path.parent)
    code = table[table.task == "code"]
    assert code.metric.to_list() == ["rc_bpb"] and code.value.item() == measured["gold"][0]["bpb"]
    assert code["items"].item() == 6 and code.chance.isna().all()


def test_one_file_may_hold_choices_and_answers(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apart, both = (tmp_path / name for name in ("apart.jsonl", "both.jsonl"))
    rows = [{"context": "Q: which?\nA:", "choices": [" dogs", " a cow"], "gold": i % 2} for i in range(4)]
    answers = [{"answer": " the elephant"}, {"answer": " the moon"}] * 2
    both.write_text("".join(json.dumps(row | answer) + "\n" for row, answer in zip(rows, answers, strict=True)))
    apart.write_text("".join(json.dumps({"context": "Q: which?\nA:"} | answer) + "\n" for answer in answers))
    gold = []
    for node in ({"t": {"rc": str(both), "gold": str(both)}}, {"t": {"gold": str(apart)}}):
        OmegaConf.save(OmegaConf.create({"tasks": node}), tmp_path / "mine.yaml")
        words = [run.path, f"suite={tmp_path / 'mine.yaml'}", "--output", tmp_path / str(len(gold))]
        gold.append(evaluate(capsys, *words)["gold"])
    assert gold[0] == gold[1] and gold[0][0]["n"] == 4


def test_groups_are_means_of_means_with_errors(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    measured = evaluate(capsys, run.path)
    pets, (code, more) = measured["results"][0], measured["gold"]
    groups = {group["name"]: group for group in measured["groups"]}
    assert groups["answers"]["value"] == pytest.approx((code["bpb"] + more["bpb"]) / 2)
    assert groups["all_bpb"]["value"] == pytest.approx(pets["bpb"] / 2 + (code["bpb"] + more["bpb"]) / 4)
    errors = [row["stderr"]["bpb"] for row in (code, more)]
    assert groups["answers"]["stderr"] == pytest.approx(math.hypot(*errors) / 2)
    assert groups["pets_acc"]["value"] == pets["acc"]
    assert groups["pets_acc"]["stderr"] == pets["stderr"]["acc_per_char"]


def test_what_is_measured_in_parts_is_grouped_once_it_is_whole(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    part = evaluate(capsys, run.path, "--tasks", "code")
    assert "groups" not in part and "results" in part and not part["results"]
    assert [row["task"] for row in evaluate(capsys, run.path, "--formats", "gold")["gold"]] == ["code", "more"]
    whole = evaluate(capsys, run.path)
    assert [row["task"] for row in whole["gold"]] == ["code", "more"] and len(whole["groups"]) == 3
    again = evaluate(capsys, run.path, "--tasks", "code", "--force")
    assert [group["name"] for group in again["groups"]] == ["answers", "all_bpb", "pets_acc"]


def test_the_hook_measures_the_same_as_the_checkpoint(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    from_disk = evaluate(capsys, run.path)
    run.metrics_file(10).unlink()
    run.metrics_file(10).with_suffix(".npz").unlink()
    model = tiny_model()
    make_hook(own_suite(run.config_file), model, tiny_tokenizer())(bind(Origin, INFO, ""), run)(model.state_dict())
    live = MetricsFile.load(run.metrics_file(10))
    assert [vars(row) for row in live.gold] == from_disk["gold"]
    assert [group.value for group in live.groups] == [group["value"] for group in from_disk["groups"]]


def test_samples_harness_results_and_tables(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    measured = evaluate(capsys, run.path, "--log-samples", "--results-json")
    samples = [json.loads(line) for line in (run.metrics / "samples_step-0000010.jsonl").read_text().splitlines()]
    code = [row for row in samples if row["task"] == "code"]
    assert [row["answer"] for row in code] == [document.answer for document in gold_documents()]
    sizes = [len(row["answer"].removeprefix(" ").encode()) for row in code]
    bpb = np.mean([-row["loglikelihood"] / size / math.log(2) for row, size in zip(code, sizes, strict=True)])
    assert bpb == pytest.approx(measured["gold"][0]["bpb"])
    results = json.loads((run.metrics / "results_step-0000010.json").read_text())
    assert results["results"]["code_gold"]["bits_per_byte,none"] == measured["gold"][0]["bpb"]
    dotted = replace(MetricsFile.load(run.metrics_file(10)).groups[0], weights={"code.v2.gold": 1.0})
    named = harness_results(
        replace(MetricsFile.load(run.metrics_file(10)), groups=(dotted,)),
        make_suite(own_suite(run.config_file)),
    )
    assert named["group_subtasks"] == {dotted.name: ["code.v2_gold"]}  # as a row of that task is called
    assert "acc,none" not in results["results"]["code_gold"]
    assert results["groups"]["answers"]["bits_per_byte,none"] == measured["groups"][0]["value"]
    assert results["group_subtasks"]["answers"] == ["code_gold", "more_gold"]
    tables = wandb_tables([MetricsFile.load(run.metrics_file(10))])
    assert {name: len(rows) for name, (_, rows) in tables.items()} == {"results": 1, "gold": 2, "groups": 3}
    columns, rows = tables["gold"]
    assert dict(zip(columns, rows[0], strict=True)) | {"run": "n1-2xC", "step": 10, "task": "code"} == {
        name: measured["gold"][0].get(name, measured.get(name)) for name in columns
    }
    assert main([str(run.path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["code", "gold", "6"] for line in printed)
    assert any(line.startswith("answers: bpb ") and line.endswith("the mean of 2 tasks") for line in printed)


def test_a_definition_that_changed_is_refused_or_derived_anew(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = evaluate(capsys, run.path)
    node = suite(tmp_path / "data")
    node["tasks"]["code"]["split"] = "val"
    OmegaConf.save(OmegaConf.create(node), tmp_path / "mine.yaml")
    with pytest.raises(UserError, match=r"code\.gold of suite tiny is not what .*split=val in place of test"):
        main([str(run.path), f"suite={tmp_path / 'mine.yaml'}"])
    node = suite(tmp_path / "data")
    node["groups"]["answers"]["of"] = ["code.gold"]
    OmegaConf.save(OmegaConf.create({"suite": node}), run.config_file)
    after = evaluate(capsys, run.path)
    assert after["gold"] == before["gold"]
    assert after["groups"][0]["value"] == after["gold"][0]["bpb"] != before["groups"][0]["value"]


BAD_SUITES = {
    "groups.answers.of": (["code.rc"], 'unknown task.format.*group answers "code.rc"; did you mean "code.gold"'),
    "groups.pets_acc.of": (["code.gold"], 'group pets_acc "code.gold"'),
    "groups.answers.metric": ("accuracy", r"groups\.answers\.metric"),
    "groups.all_bpb.of": ([], "group all_bpb: of is empty"),
    "tasks.code": ({"split": "test"}, "name a JSONL file as rc:, mc: or gold:"),
}


@pytest.mark.parametrize("key", BAD_SUITES)
def test_bad_suites(tmp_path: Path, key: str) -> None:
    value, message = BAD_SUITES[key]
    node = OmegaConf.create(suite(tmp_path))
    OmegaConf.update(node, key, value, merge=False)
    with pytest.raises(UserError, match=message):
        make_suite(bind(SuiteSettings, OmegaConf.to_container(node), "suite"))


BAD_LINES = {
    '{"context": "Q", "choices": ["a", "b"], "gold": 0}': "answer is missing",
    '{"context": "Q", "answer": "  "}': "an empty answer cannot be scored",
    '{"context": "Q", "answer": ""}': r"line 1: answer",
    '{"context": ["Q"], "answer": "a"}': r"line 1: context",
    "": "holds no documents",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_documents(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=BAD_LINES[line]):
        GoldJsonlSource(path=tmp_path / "bad.jsonl").documents()
