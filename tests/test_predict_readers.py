"""Other people's measurements: mapped tables, lm-evaluation-harness results, W&B runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from simulated_ladder import ACCURACY, LM_LOSS, LOSS, MULTIPLES, SIZES, simulated

from ladder.errors import UserError
from predict.__main__ import main
from predict.measured.load import load_ladder, read_measurements
from predict.measured.mapping import Mapping, read_mapping
from predict.measured.wandb_runs import read_file, read_offline, read_project

MAPPING = """
columns: {run: model_name, n: params, d: token_budget}
measurements:
  quiz_acc: {task: quiz, metric: rc_acc, chance: 0.25, items: 1000}
  held_out_loss: {task: text, metric: lm_loss}
"""


def wide(path: Path) -> Path:
    """One row per finished run: accuracies and a language-modelling loss, no task loss, foreign names."""
    rows = [
        {
            "model_name": f"{size}-{multiple}xC",
            "params": int(n),
            "token_budget": int(20 * n * multiple),
            "quiz_acc": float(ACCURACY(LOSS(n, 20 * n * multiple))),
            "held_out_loss": float(LM_LOSS(n, 20 * n * multiple)),
            "comment": "",
        }
        for size, n in SIZES.items()
        for multiple in MULTIPLES
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def mapping(tmp_path: Path, text: str = MAPPING) -> Path:
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    return path


def test_a_wide_file_of_final_checkpoints_is_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--ladder", str(wide(tmp_path / "mine.csv")), "--mapping", str(mapping(tmp_path))]
    main([*words, "--n", "2.5e12", "--d", "5e14", "--json"])  # N · D = 1.25e27 does not fit an int64
    answer = json.loads(capsys.readouterr().out)
    (p,) = answer["predictions"]
    assert set(p["members"]) <= {"curves", "LM loss", "direct"} and 0.5 < p["accuracy"] <= 1
    assert any(note["code"] == "members" for note in answer["notes"])


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    frame = read_measurements(wide(tmp_path / "mine.csv"), mapping=mapping(tmp_path)).table
    assert len(frame) == 32 and (frame.tokens == frame.d).all() and set(frame.split) == {"val"}
    assert set(frame["size"]) == {"190M", "370M", "760M", "1.28B"}
    known = tmp_path / "known.csv"
    pd.DataFrame([{"run": "a", "n": 1e9, "d": 1e10, "task": "piqa", "metric": "rc_acc", "value": 0.7}]).to_csv(known)
    row = read_measurements(known).table.iloc[0]
    assert (row.chance, row["items"], row["size"], row.step) == (0.5, 1838, "1B", 1e10)


def test_without_steps_tokens_count_and_d_is_their_end(tmp_path: Path) -> None:
    rows = [{"run": "a", "n": 1e9, "tokens": t, "task": "q", "metric": "rc_bpb", "value": 1.0} for t in (3e9, 1e9, 2e9)]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    frame = read_measurements(tmp_path / "a.csv").table
    assert list(frame.step) == list(frame.tokens) == [1e9, 2e9, 3e9] and set(frame.d) == {3e9}


def test_a_final_checkpoint_may_be_called_step_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = simulated(checkpoints=1)
    answers = []
    for step, left_out in ((1, []), (0, []), (0, ["tokens"])):
        path = tmp_path / "final.csv"
        frame.assign(step=step).drop(columns=left_out).to_csv(path, index=False)
        main(["--ladder", str(path), "--n", "7e9", "--d", "2.8e12", "--json"])
        answers.append(json.loads(capsys.readouterr().out)["predictions"])
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: {runn: a}", 'did you mean "run"'),
        ("columns: {n: parms, run: model_name}", 'did you mean "params"'),
        ("measurements: {quiz_ac: {task: quiz, metric: rc_acc}}", 'did you mean "quiz_acc"'),
        ("measurements: {quiz_acc: {task: quiz, metric: accuracy}}", "quiz_acc.metric"),
        ("measurements: {quiz_acc: {task: quiz}}", "metric"),
        ("rows: {}", 'unknown key "rows"'),
        ("a: [", "is not valid YAML"),
        ("columns: {n: parms, run: model_name}", "(for n in "),
        ("columns: {run: model_name, n: params, d: params}", 'gives the column "params" two meanings'),
        ("columns: {run: model_name, n: params}", "those that hold measurements under measurements:"),
        (MAPPING + "tasks: {quizz: {chance: 0.25}}", 'did you mean "quiz"'),
        ("", "explains nothing; expected columns:, measurements:"),
        ("# nothing", "explains nothing"),
        ("columns:", "explains nothing"),
        (MAPPING.replace("quiz_acc:", "model_name:"), 'gives the column "model_name" two meanings'),
        (MAPPING + "  comment: {task: quiz, metric: rc_acc}", "two of measurements: are quiz val rc_acc"),
        ("units: {parameters: 1e9}", "parameters"),
        ("[]", "holds a list"),
        ("false", "holds false"),
    ],
)
def test_a_wrong_mapping_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_measurements(wide(tmp_path / "mine.csv"), mapping=mapping(tmp_path, text))
    assert message in str(caught.value) and "mapping" in str(caught.value)


def test_a_number_that_is_none_is_named_with_its_row(tmp_path: Path) -> None:
    path = wide(tmp_path / "mine.csv")
    path.write_text(path.read_text().replace(",760000000,", ",760 M,", 1))
    with pytest.raises(UserError, match=r"mine\.csv: row 10, n = '760 M' is not a number"):
        read_measurements(path, mapping=mapping(tmp_path))


def results(folder: Path, model: str, n: float, d: float) -> None:
    accuracy = float(ACCURACY(LOSS(n, d)))
    content: dict[str, Any] = {
        "results": {
            "arc_easy": {
                "acc,none": accuracy - 0.02, "acc_norm,none": accuracy, "acc_bytes,none": accuracy - 0.01,
                "acc_stderr,none": 0.01, "alias": "x",
            },
            "social_iqa": {"alias": "social_iqa", "acc,none": accuracy},
            "wikitext": {"bits_per_byte,none": float(LM_LOSS(n, d)), "alias": "wikitext"},
            "mmlu_anatomy": {"acc,none": 0.3},
        },
        "n-samples": {"arc_easy": {"original": 2376, "effective": 2376}},
        "config": {"model_args": f"pretrained={model},dtype=bfloat16"},
    }  # fmt: skip
    path = folder / model.replace("/", "__") / "results_2026-01-01T00-00-00.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def test_lm_evaluation_harness_results(tmp_path: Path) -> None:
    lines = ["model,run,n,d"]
    for size, n in SIZES.items():
        for multiple in MULTIPLES:
            results(tmp_path, f"me/{size}-{multiple}", n, 20 * n * multiple)
            lines.append(f"me/{size}-{multiple},{size}-{multiple}xC,{n},{20 * n * multiple}")
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    table = read_measurements(tmp_path).table
    easy = table[(table.task == "arc_easy") & (table.n == SIZES["190M"]) & (table.d == 20 * SIZES["190M"])]
    values = dict(zip(easy.metric, easy.value, strict=True))
    assert values["rc_acc_per_byte"] == pytest.approx(values["rc_acc"] - 0.01)
    assert values["rc_acc_raw"] == pytest.approx(values["rc_acc"] - 0.02)
    data = load_ladder(tmp_path)
    assert len(data.rungs) == 16 and [task.name for task in data.tasks()] == ["arc_easy", "socialiqa"]
    easy = data.tasks(["arc_easy"])[0]
    assert (easy.chance, easy.items) == (0.25, 2376)
    first = data.rungs[0]
    assert first.curve(easy, "rc_acc").final(1) == pytest.approx(float(ACCURACY(LOSS(first.n, first.d))))
    assert first.lm_losses() == ["wikitext"]
    (tmp_path / "runs.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(UserError, match=r'the model "me/1.3B-10" has no line in .*runs\.csv'):
        load_ladder(tmp_path)
    (tmp_path / "runs.csv").unlink()
    with pytest.raises(UserError, match=r"runs\.csv does not exist; it says what each model is"):
        load_ladder(tmp_path)


def history(n: float, d: float) -> list[dict[str, float]]:
    key = "eval/downstream{}/hellaswag_val_rc_5shot_{}"
    rows: list[dict[str, float]] = [{"_step": 5, "train/loss": 3.0}]
    for step in (10, 20, 30):
        loss = float(LOSS(n, d * step / 30))
        measured = {key.format("_bpb", "bpb"): loss, key.format("", "len_norm"): float(ACCURACY(loss))}
        rows.append({"_step": step} | measured)
    return rows


def test_a_wandb_project_is_read_through_its_api() -> None:
    runs = []
    for size, n in SIZES.items():
        rows = history(n, 20 * n)
        config = {"model": {"n": n}, "d": 20 * n, "size": size}
        runs.append(SimpleNamespace(name=f"{size}-1xC", config=config, scan_history=lambda rows=rows: iter(rows)))
    asked: list[str] = []
    api = SimpleNamespace(runs=lambda project: asked.append(project) or runs)
    frame = read_project("wandb:team/ladder", Mapping(columns={"n": "config.model.n"}), api).table
    assert asked == ["team/ladder"] and len(frame) == 4 * 3 * 2
    assert set(frame.task) == {"hellaswag"} and set(frame.metric) == {"rc_bpb", "rc_acc"}
    assert frame[frame.run == "760M-1xC"].n.max() == 760e6 and frame.tokens.max() == pytest.approx(20 * 1.28e9)
    with pytest.raises(UserError, match="ENTITY/PROJECT"):
        read_project("wandb:ladder", Mapping(), api)
    bare = SimpleNamespace(runs=lambda project: [SimpleNamespace(name="a", config={}, scan_history=lambda: iter([]))])
    with pytest.raises(UserError, match="no run logged a measurement"):
        read_project("wandb:team/ladder", Mapping(), bare)


def test_a_real_offline_wandb_run_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    n, d = 190e6, 3.8e9
    config = {"n": n, "d": d, "size": "190M", "long": "x" * 70_000}  # a record longer than a block of the file
    run = wandb.init(
        project="ladder", name="190M-1xC", mode="offline", dir=tmp_path, config=config,
        settings=wandb.Settings(console="off"),
    )  # fmt: skip
    for row in history(n, d):
        run.log({key: value for key, value in row.items() if key != "_step"}, step=int(row["_step"]))
    run.finish()
    wandb.teardown()  # W&B's service may still be writing when finish returns
    frame = read_offline(tmp_path, Mapping()).table
    assert set(frame.run) == {"190M-1xC"} and set(frame.d) == {d} and list(frame.step.unique()) == [10, 20, 30]
    losses = frame[frame.metric == "rc_bpb"].value.to_list()
    assert losses == pytest.approx([float(LOSS(n, d * step / 30)) for step in (10, 20, 30)])
    (path,) = tmp_path.rglob("run-*.wandb")
    path.write_bytes(path.read_bytes()[:-200])  # a run that was killed
    assert len(read_file(path).history) >= 3
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="is not a file of W&B"):
        read_offline(tmp_path, Mapping())


def test_an_absent_mapping_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml does not exist"):
        read_mapping(tmp_path / "nowhere.yaml")


def test_measurements_are_kept_as_parquet_and_predict_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, kept = str(wide(tmp_path / "mine.csv")), str(tmp_path / "kept.parquet")
    words = ["--mapping", str(mapping(tmp_path))]
    target = ["--n", "7e9", "--d", "3e12", "--json"]
    main(["--ladder", source, *words, *target])
    before = json.loads(capsys.readouterr().out)["predictions"]
    main(["collect", "--ladder", source, *words, "--output", kept])
    assert "32 measurements of 16 runs" in capsys.readouterr().out
    main(["--ladder", kept, *target])
    assert json.loads(capsys.readouterr().out)["predictions"] == before
    with pytest.raises(UserError, match=r"must be the name of a \.parquet"):
        main(["collect", "--ladder", source, "--output", str(tmp_path / "kept.csv")])
