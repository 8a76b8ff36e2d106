"""Measurements as other people keep them: gaps, other names and units, several files under one mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from simulated_ladder import ACCURACY, LOSS, simulated, write

from ladder.errors import UserError
from ladder.rungs.benchmarks import MMLU_CATEGORIES
from predict.__main__ import main
from predict.measured.load import load_ladder, read_measurements

SIZES = {"a": 1e8, "b": 3e8, "c": 1e9, "d": 2e9, "e": 3e9}
TARGET = ["--n", "7e9", "--d", "1.4e11"]


def wide(path: Path, gaps: dict[str, tuple[str, ...]], **columns: float) -> Path:
    """Finished runs with tasks `x` and `y`; `gaps`: task -> runs in which its cell is empty."""
    rows = [
        {"run": run, "n": n, "d": 20 * n, "x": float(ACCURACY(LOSS(n, 20 * n))), "y": float(ACCURACY(LOSS(n, 10 * n)))}
        | {task: None for task, runs in gaps.items() if run in runs}
        | columns
        for run, n in SIZES.items()
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def mapping(path: Path, *tasks: str, more: str = "") -> Path:
    lines = "".join(f"  {task}: {{task: {task}, metric: rc_acc, chance: 0.25, items: 1000}}\n" for task in tasks)
    path.write_text(f"measurements:\n{lines}{more}")
    return path


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The tasks that are predicted, and the notes by code."""
    capsys.readouterr()
    main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    return [p["task"] for p in found["predictions"]], {one["code"]: one["values"] for one in found["notes"]}


def test_an_empty_cell_drops_the_task_or_the_rung_and_never_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explained = ["--mapping", str(mapping(tmp_path / "m.yaml", "x", "y")), *TARGET]
    one = ["--ladder", str(wide(tmp_path / "one.csv", {"x": ("b",)})), *explained]
    tasks, notes = answer(capsys, *one)
    assert tasks == ["y"] and notes["task-incomplete"] == {"tasks": ["x"], "runs": ["b"]}
    tasks, notes = answer(capsys, *one, "--tasks", "x")
    assert tasks == ["x"] and notes["rungs-incomplete"] == {"tasks": ["x"], "runs": ["b"]}
    assert notes["fitted-on"]["runs"] == 4
    both = ["--ladder", str(wide(tmp_path / "both.csv", {"x": ("b",), "y": ("a", "e")})), *explained]
    tasks, notes = answer(capsys, *both)
    assert tasks == ["x"] and notes["rungs-incomplete"]["runs"] == ["b"]
    every = ["--ladder", str(wide(tmp_path / "every.csv", {"x": ("b",), "y": ("b",)})), *explained]
    tasks, notes = answer(capsys, *every)
    assert tasks == ["x", "y"] and notes["runs-empty"] == {"runs": ["b"]}
    for verb in (["variance"], ["advise", "--budget", "1e21", *TARGET]):
        main([*verb[:1], "--ladder", str(tmp_path / "both.csv"), *explained[:2], *verb[1:]])


def test_too_many_gaps_are_refused_with_the_rungs_that_are_left(tmp_path: Path) -> None:
    path, known = wide(tmp_path / "t.csv", {"x": ("a", "b", "c")}), mapping(tmp_path / "m.yaml", "x")
    with pytest.raises(UserError, match=r"t\.csv: 2 rungs to fit \(d, e\), at least 3"):
        main(["--ladder", str(path), "--mapping", str(known), "--tasks", "x", *TARGET])


def tidy_table(path: Path) -> Path:
    """As a leaderboard keeps them: billions, percent, and two accuracies of one task."""
    rows = [
        {"model": run, "params": n / 1e9, "tokens_B": 20 * n / 1e9, "task": task, "metric": metric, "value": value}
        for run, n in SIZES.items()
        for task, metric, value in (
            ("arc_easy", "acc", 30.0),
            ("arc_easy", "acc_norm", 100 * float(ACCURACY(LOSS(n, 20 * n)))),
            ("winogrande", "acc", 55.0),
            ("winogrande", "f1", 0.1),
        )
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


TIDY = """
columns: {run: model, n: params, tokens: tokens_B}
metrics: {acc_norm: rc_acc, acc: rc_acc}
"""


def test_other_names_of_metrics_and_other_units_are_mapped(tmp_path: Path) -> None:
    path, known = tidy_table(tmp_path / "board.csv"), tmp_path / "board.yaml"
    known.write_text(TIDY + "units: {n: 1e9, tokens: 1e9, rc_acc: 0.01}\n")
    reading = read_measurements(path, known)
    finals = reading.table.set_index(["run", "task"]).value
    assert finals["c", "arc_easy"] == pytest.approx(float(ACCURACY(LOSS(1e9, 2e10))))
    assert finals["c", "winogrande"] == 0.55
    assert set(reading.table.n) == set(SIZES.values()) and set(reading.table.metric) == {"rc_acc"}
    (left_out,) = reading.about.notes
    assert left_out.code == "metrics-unread" and left_out.values["metrics"] == ["f1"]
    known.write_text(TIDY)
    with pytest.raises(
        UserError, match=r"board\.csv: n is at most 3; if that is in millions or billions, say so .*units: \{n: 1e6\}"
    ):
        read_measurements(path, known)
    path.write_text(path.read_text().replace("params", "billions", 1))
    frame = pd.read_csv(path)
    frame.assign(params=1000 * frame.billions).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"n is at most 3000; if that is in millions"):
        read_measurements(path, known)


def test_numbers_may_be_written_as_7b(tmp_path: Path) -> None:
    row = {"run": "a", "n": "1.4B", "d": "300b", "task": "piqa", "metric": "rc_acc", "value": 0.7}
    pd.DataFrame([row]).to_csv(tmp_path / "a.csv", index=False)
    (one,) = read_measurements(tmp_path / "a.csv").table.itertuples()
    assert (one.n, one.d, one.size) == (1.4e9, 3e11, "1.4B")
    harness = tmp_path / "harness"
    results(harness / "a", {"piqa": {"acc,none": 0.7}}, "pretrained=me/a")
    results(harness / "b", {"piqa": {"acc,none": 0.8}}, "pretrained=me/b")
    runs_csv(harness, "me/a,a,1.4B,0.3T,1,300B", "me/b,b,7e9,1e12,1,1e12")
    rows = read_measurements(harness).table.itertuples()
    assert [(row.n, row.d, row.tokens) for row in rows if row.metric == "rc_acc"] == [
        (1.4e9, 3e11, 3e11),
        (7e9, 1e12, 1e12),
    ]


def test_one_mapping_serves_files_of_which_one_lacks_a_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, less = wide(tmp_path / "full.csv", {}), wide(tmp_path / "less.csv", {})
    pd.read_csv(less).drop(columns="y").to_csv(less, index=False)
    known = mapping(tmp_path / "m.yaml", "x", "y")
    main(["compare", str(full), str(less), "--mapping", str(known), *TARGET, "--json"])
    table = json.loads(capsys.readouterr().out)[0]
    assert [row["task"] for row in table["rows"] if row["task"] != "mean"] == ["x"]
    _, notes = answer(capsys, "--ladder", str(less), "--mapping", str(known), *TARGET)
    assert notes["columns-absent"]["columns"] == ["y"]
    pd.read_csv(full).rename(columns={"y": "why_"}).to_csv(less, index=False)
    slip = mapping(tmp_path / "slip.yaml", "x", "why")
    with pytest.raises(UserError, match='"why"; did you mean "why_"'):
        read_measurements(less, slip)


def test_what_is_in_doubt_about_the_papers_column_is_said(
    tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ladder", str(shared / "olmo-ladder" / "runs"), "--target", "7B-4T"]
    main([*words, "--sizes", "190M,370M", "--tasks", "csqa,boolq,winogrande", "--json"])
    csqa, boolq, winogrande = json.loads(capsys.readouterr().out)["predictions"]
    assert boolq["paper_accuracy"] and winogrande["paper_accuracy"]
    assert {"paper-at-bound"} <= {note["code"] for note in csqa["notes"]}
    few = write(tmp_path / "few.csv", simulated())
    main(["--ladder", str(few), "--sizes", "190M", "--n", "7e9", "--d", "2.8e12", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["predictions"][0]["paper_accuracy"] is None
    assert "--method paper" in next(one["text"] for one in found["notes"] if one["code"] == "few-rungs")


def test_the_papers_method_leaves_no_task_out_by_its_name(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--target", "7B-4T", "--method", "paper", "--json"])
    found = {p["task"]: p["verdict"]["standing"] for p in json.loads(capsys.readouterr().out)["predictions"]}
    assert len(found) == 10 and (found["boolq"], found["winogrande"]) == ("none", "loose")


def results(folder: Path, values: dict[str, dict[str, float]], arguments: str, samples: int = 100) -> None:
    content = {
        "results": values,
        "n-samples": {name: {"original": samples, "effective": samples} for name in values},
        "config": {"model_args": arguments},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results_2026-01-01T00-00-00.json").write_text(json.dumps(content))


def runs_csv(folder: Path, *lines: str) -> None:
    (folder / "runs.csv").write_text("\n".join(["model,run,n,d,step,tokens", *lines]))


def test_checkpoints_of_one_repository_are_told_apart_by_revision(tmp_path: Path) -> None:
    for i, step in enumerate((1000, 2000, 3000), 1):
        quiz = {"piqa": {"acc,none": 0.5 + i / 10}}
        results(tmp_path / str(step), quiz, f"pretrained=me/x,revision=step{step},dtype=bfloat16")
    runs_csv(tmp_path, *(f"me/x@step{step},x,1e9,3e9,{step},{step}e6" for step in (1000, 2000, 3000)))
    table = read_measurements(tmp_path).table
    values = table[table.metric == "rc_acc"].sort_values("step")
    assert list(values.step) == [1000, 2000, 3000] and list(values.value) == pytest.approx([0.6, 0.7, 0.8])
    runs_csv(tmp_path, "me/x,x,1e9,3e9,1000,1e9")
    with pytest.raises(UserError, match=r"revisions step1000 and step2000 of me/x have one line in .*me/x@step2000"):
        read_measurements(tmp_path)
    runs_csv(tmp_path, "me/x@step1000,x,1e9,3e9,1000,1e9")
    with pytest.raises(UserError, match=r'the model "me/x@step2000" has no line'):
        read_measurements(tmp_path)


def test_the_57_subjects_become_mmlu(tmp_path: Path) -> None:
    subjects = [subject for names in MMLU_CATEGORIES.values() for subject in names.split()]
    for i, prefix in enumerate(("mmlu_", "hendrycksTest-", "mmlu_")):
        values = {f"{prefix}{subject}": {"acc,none": 0.3 + 0.01 * i} for subject in subjects}
        values[f"{prefix}anatomy"] = {"acc,none": 1.0}
        results(tmp_path / str(i), values, f"pretrained=m{i}", samples=200)
    runs_csv(tmp_path, *(f"m{i},r{i},{n},{20 * n},1,{20 * n}" for i, n in enumerate((1e8, 3e8, 1e9))))
    data = load_ladder(tmp_path)
    (task,) = data.tasks()
    assert task.name == "mmlu" and task.chance == 0.25
    other = len(MMLU_CATEGORIES["mmlu_other"].split())
    category = data.rungs[1].curves["mmlu_other", "test", "rc_acc"].values[-1]
    assert category == pytest.approx((1.0 + 0.31 * (other - 1)) / other)
    content = json.loads((tmp_path / "0" / "results_2026-01-01T00-00-00.json").read_text())
    results(tmp_path / "0", {"mmlu_anatomy": {"acc,none": 0.3}, "piqa": {"acc,none": 0.6}}, "pretrained=m0")
    assert content["results"]
    reading = read_measurements(tmp_path)
    assert [note.values["tasks"] for note in reading.about.notes] == [["mmlu_anatomy"]]


def test_a_target_below_the_runs_is_said_to_be_one(tmp_path: Path) -> None:
    path, known = wide(tmp_path / "t.csv", {}), mapping(tmp_path / "m.yaml", "x", "y")
    with pytest.raises(UserError, match="takes no more compute than 5 of 5 runs, which leaves 0 to fit"):
        main(["--ladder", str(path), "--mapping", str(known), "--n", "1e6", "--d", "1e9"])


def test_spaces_after_commas_and_one_missing_column(tmp_path: Path) -> None:
    path, known = wide(tmp_path / "t.csv", {}), mapping(tmp_path / "m.yaml", "x", "y")
    text = path.read_text()
    path.write_text(text.replace(",", ", "))
    main(["--ladder", str(path), "--mapping", str(known), *TARGET])
    tidy_table(table := tmp_path / "tidy.csv")
    table.write_text("\n".join(line.replace("metric", "what", 1) for line in table.read_text().splitlines()))
    with pytest.raises(UserError, match=r"missing columns run, n, metric; .* name the right one under columns: of a"):
        main(["--ladder", str(table), *TARGET])
