"""No answer without its ground: what is left out, not known or not measured is said, by every way in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from simulated_ladder import ACCURACY, LOSS, MULTIPLES, SIZES, rows_of, simulated, write

from ladder.config.config import load_config
from ladder.config.config_files import CONFIGS
from ladder.config.settings import Smoothing
from ladder.errors import UserError
from predict.__main__ import main
from predict.measured.load import load_ladder, read_measurements
from predict.measured.rungs import measured_ladder
from predict.measured.table import table_of
from predict.measured.tasks import tasks_of

TARGET = ("--n", "7e9", "--d", "2.8e12", "--json")


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    main([*words])
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def codes(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The notes of an answer: code -> values."""
    return {note["code"]: note["values"] for note in value["notes"]}


def test_ai2s_folder_and_its_collected_table_answer_the_same(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, kept = str(shared / "olmo-ladder" / "runs"), str(tmp_path / "kept.parquet")
    main(["collect", "--ladder", source, "--output", kept])
    words = ("--target", "3B-10xC", "--method", "paper", "--json")
    direct, again = answer(capsys, "--ladder", source, *words), answer(capsys, "--ladder", kept, *words)
    assert direct["predictions"] == again["predictions"]
    assert all(p["actual"] is not None for p in direct["predictions"])
    first, second = codes(direct), codes(again)
    assert first.pop("fitted-on") | {"source": kept} == second.pop("fitted-on") and first == second
    left = first["no-rungs"]
    assert left["count"] == len(left["runs"]) == 13 and "3B-1xC" in left["runs"] and "3B-10xC" not in left["runs"]
    assert len(direct["predictions"]) == 10
    assert load_ladder(Path(kept), sizes=["1B", "190M"]).flops(190354176, 1.0) > 6 * 190354176  # its shapes are known


def quiz(chance: float = float("nan"), name: str = "quiz") -> pd.DataFrame:
    frame = simulated(checkpoints=2)
    accuracy = frame.metric == "rc_acc"
    frame["task"] = frame.task.astype(object).where(frame.task != "quiz", name)
    frame["chance"] = frame.chance.where(~accuracy, chance)
    return frame


def test_a_rerun_has_the_name_n_and_d_of_its_rung() -> None:
    n, d = 190e6, 20 * 190e6
    runs = {
        "190M-1xC": (n, d),
        "190M-1xC-rerun": (n, d),
        "190M-1xC-seed2": (n, d * 1.001),
        "190M-1xC-lr2": (n, d),  # of a sweep
        "190M-1xC-longer": (n, 2 * d),
        "pythia": (n, d),
        "pythia-deduped": (n, d),  # a name is no evidence
    }
    rows = [row for name, (n, d) in runs.items() for row in rows_of(name, "190M", n, d, checkpoints=2)]
    smoothing = Smoothing(final_checkpoints=1, window=1, skip_fraction=0.0)
    measured = measured_ladder(table_of(rows, "reruns"), "reruns", name="r", smoothing=smoothing, ladder=None)
    assert [other.name for _, other in measured.repeated()] == ["190M-1xC-rerun", "190M-1xC-seed2"]


def test_a_task_may_have_any_name_and_is_there_by_its_split_too() -> None:
    tasks = tasks_of(
        {("own:quiz", "val"): (0.25, 10), ("own:quiz", "test"): (0.25, 20), ("arc_easy", "val"): (0.25, 9)}
    )
    assert list(tasks.plain) == ["arc_easy", "own:quiz"] and tasks.plain["own:quiz"].items == 20
    assert tasks.all["own:quiz:val"].items == 10 and tasks.all["arc_easy:val"] == tasks.plain["arc_easy"]


def test_two_splits_of_a_task_are_two_tasks_and_each_is_scored_on_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row | {"split": split, "task": "arc_easy"}
        for size, n in {**SIZES, "7B": 7e9}.items()
        for split, shift in (("test", 0.0), ("val", -0.1))
        for row in rows_of(f"{size}-20xC", size, n, 400 * n, checkpoints=2, shift=shift)
        if row["metric"] != "lm_loss"
    ]
    ladder = str(write(tmp_path / "mine.csv", table_of(rows, "mine")))
    words = ("--ladder", ladder, "--n", "7e9", "--d", "2.8e12", "--tasks")
    both = answer(capsys, *words, "arc_easy:val,arc_easy,arc_easy:test", "--json")["predictions"]
    assert [p["task"] for p in both] == ["arc_easy:val", "arc_easy"]
    assert both[0]["accuracy"] < both[1]["accuracy"] - 0.05 and both[0]["actual"] < both[1]["actual"] - 0.05
    record = str(tmp_path / "val.json")
    main(["register", *words, "arc_easy:val", "--output", record])
    (row,) = answer(capsys, "score", record, "--measured", ladder, "--json")[0]["rows"]  # type: ignore[index]
    assert row["task"] == "ARC-Easy (val)" and row["measured"] == pytest.approx(100 * both[0]["actual"])


def test_a_foreign_table_is_smoothed_as_the_configuration_says(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", quiz(0.25))
    assert load_ladder(path).smoothing == load_config().ladder.fit
    changed = load_ladder(path, overrides=["ladder.fit.window=3"]).smoothing
    assert changed == replace(load_config().ladder.fit, window=3)


def test_a_foreign_table_is_smoothed_as_ones_own_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "mine.csv", quiz(0.25))
    own = tmp_path / "configs" / "ladder" / "olmo2.yaml"
    own.parent.mkdir(parents=True)
    own.write_text((CONFIGS / "ladder" / "olmo2.yaml").read_text() + "fit: {window: 2}\n")
    monkeypatch.chdir(tmp_path)
    assert load_ladder(path).smoothing.window == 2


def test_an_unknown_chance_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.csv", quiz())
    with pytest.raises(UserError, match=r"mine\.csv: the accuracy of guessing \(chance\) is not known for quiz; give"):
        main(["--ladder", str(path), *TARGET])
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("tasks: {quiz: {chance: 0.25, items: 77}}")
    (task,) = load_ladder(path, mapping=mapping).tasks()
    assert (task.chance, task.items) == (0.25, 2000)  # the table's own number of questions stays
    asked = answer(capsys, "--ladder", str(path), "--mapping", str(mapping), *TARGET)
    given = answer(capsys, "--ladder", str(write(tmp_path / "mine2.csv", quiz(0.25))), *TARGET)
    assert asked["predictions"] == given["predictions"]
    (known,) = load_ladder(write(tmp_path / "known.csv", quiz(name="mmlu"))).tasks()
    assert known.chance == 0.25


def results(folder: Path, results: dict[str, Any], more: dict[str, Any] | None = None, runs: str = "") -> Path:
    path = folder / "m" / "results_2026-01-01.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"results": results, "model_name": "m"} | (more or {})))
    (folder / "runs.csv").write_text(runs or "model,run,n,d\nm,m,1e8,2e9\n")
    return path.parent


def chance_of(folder: Path, task: str) -> float:
    table = read_measurements(folder).table
    return float(table[(table.task == task) & (table.metric == "rc_acc")].chance.iloc[0])


def test_lm_evals_samples_groups_and_runs_csv_give_the_chance(tmp_path: Path) -> None:
    scores = {name: {"acc,none": 0.5} for name in ("piqa", "three", "both", "mine")}
    more = {
        "group_subtasks": {"both": ["three", "piqa"], "three": [], "piqa": []},
        "n-samples": {"three": {"original": 90, "effective": 30}, "piqa": {"original": 10, "effective": 10}},
    }
    folder = results(tmp_path, scores | {"truthfulqa_gen": {"bleu_max,none": 0.1}, "mmlu_anatomy": {"acc": 0}}, more)
    lines = [{"doc_id": i, "arguments": {f"gen_args_{k}": {} for k in range(3)}} for i in range(4)]
    (folder / "samples_three_2026-01-01.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "samples_three_b_2026-01-01.jsonl").write_text("not for three")
    reading = read_measurements(tmp_path)
    assert [(note.code, note.values["tasks"]) for note in reading.about.notes] == [
        ("tasks-unread", ["truthfulqa_gen"]),
        ("subjects-unread", ["mmlu_anatomy"]),
    ]
    assert chance_of(tmp_path, "piqa") == 0.5 and chance_of(tmp_path, "three") == pytest.approx(1 / 3)
    assert chance_of(tmp_path, "both") == pytest.approx((30 / 3 + 10 / 2) / 40)
    both = reading.table[reading.table.task == "both"]
    assert set(both["items"]) == {40} and chance_of(tmp_path, "mine") != chance_of(tmp_path, "mine")
    results(tmp_path, scores, more, "model,run,n,d,chance\nm,m,1e8,2e9,0.125\n")
    assert chance_of(tmp_path, "mine") == 0.125 and chance_of(tmp_path, "piqa") == 0.5
    results(tmp_path, scores, more, "model,run,n,d\nm,m,1e8,2e9\nm,m2,1e8,2e9\n")
    with pytest.raises(UserError, match=r'runs\.csv, row 3: the model "m" stands there twice'):
        read_measurements(tmp_path)


def without(frame: pd.DataFrame, run: str, metric: str) -> pd.DataFrame:
    return frame[~((frame.run == run) & (frame.metric == metric))]


def test_what_drops_out_for_one_absent_value_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = without(without(simulated(checkpoints=2), "190M-1xC", "rc_bpb"), "370M-2xC", "lm_loss")
    notes = codes(answer(capsys, "--ladder", str(write(tmp_path / "mine.csv", frame)), *TARGET))
    assert notes["task-loss-incomplete"] == {"tasks": ["quiz"], "runs": ["190M-1xC"]}
    assert notes["lm-loss-incomplete"] == {"runs": ["370M-2xC"]}
    assert notes["members-untested" if "members-untested" in notes else "members"]["names"] == ["direct"]


def test_what_was_not_measured_at_the_end_of_a_run_is_said_and_no_actual(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = simulated(checkpoints=4)
    early = (frame.metric == "rc_acc") & frame.run.isin(["760M-2xC", "7B-20xC"]) & (frame.step > 2)
    whole, cut = (str(write(tmp_path / f"{name}.csv", rows)) for name, rows in (("a", frame), ("b", frame[~early])))
    before, after = answer(capsys, "--ladder", whole, *TARGET), answer(capsys, "--ladder", cut, *TARGET)
    assert before["predictions"][0]["actual"] is not None and "measured-early" not in codes(before)
    assert after["predictions"][0]["actual"] is None and after["predictions"][0]["actual_loss"] is not None
    assert codes(after)["measured-early"] == {"tasks": ["quiz"], "runs": ["760M-2xC"]}
    record = str(tmp_path / "forecast.json")
    main(["register", "--ladder", whole, *TARGET[:-1], "--output", record])
    with pytest.raises(UserError, match=r"b\.csv has no accuracy of any task"):
        main(["score", record, "--measured", cut])


def two_tasks() -> pd.DataFrame:
    rows = [
        row
        for size, n in SIZES.items()
        for m in MULTIPLES
        for task in ("quiz", "other")
        for row in rows_of(f"{size}-{m}xC", size, n, 20 * n * m, checkpoints=2, task=task)
    ]
    return table_of(rows, "two")


@pytest.mark.parametrize("method", ["default", "paper"])
def test_one_empty_cell_costs_its_task_only(tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str) -> None:
    whole = two_tasks()
    gap = whole[~((whole.run == "190M-2xC") & (whole.task == "other") & (whole.metric == "rc_acc"))]
    empty = whole.assign(value=whole.value.where(whole.index.isin(gap.index)))  # as people leave a cell
    path = write(tmp_path / "mine.csv", empty)
    value = answer(capsys, "--ladder", str(path), *TARGET, "--method", method)
    assert [p["task"] for p in value["predictions"]] == ["quiz"]
    assert codes(value)["task-incomplete"] == {"tasks": ["other"], "runs": ["190M-2xC"]}
    value = answer(capsys, "--ladder", str(path), *TARGET, "--method", method, "--tasks", "other")
    assert codes(value)["rungs-incomplete"] == {"tasks": ["other"], "runs": ["190M-2xC"]}
    with pytest.raises(UserError, match="every task lacks rc_acc in some rung; other in 190M-2xC"):
        load_ladder(path).tasks(["other"])
    lossless = whole[~((whole.run == "190M-2xC") & (whole.task == "other") & (whole.metric == "rc_bpb"))]
    value = answer(capsys, "--ladder", str(write(path, lossless)), *TARGET, "--method", method)
    assert codes(value)["task-loss-incomplete"]["tasks"] == ["other"]
    assert [p["task"] for p in value["predictions"]] == (["other", "quiz"] if method == "default" else ["quiz"])


def test_a_table_of_lm_losses_alone_has_no_accuracy_to_compute(tmp_path: Path) -> None:
    frame = simulated(checkpoints=2)
    path = write(tmp_path / "mine.csv", frame[frame.metric == "lm_loss"])
    with pytest.raises(UserError, match=r"mine\.csv holds no accuracy \(rc_acc\)"):
        main(["compute", "--ladder", str(path), *TARGET])
    with pytest.raises(UserError, match='"," names nothing'):
        main(["--ladder", str(path), *TARGET, "--tasks", ","])


def test_accuracies_alone_have_no_noise_from_one_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            "run": f"{size}-{m}xC",
            "n": n,
            "d": 20 * n * m,
            "task": "piqa",
            "metric": "rc_acc",
            "value": float(ACCURACY(LOSS(n, 20 * n * m))),
        }
        for size, n in SIZES.items()
        for m in MULTIPLES
    ]
    path = tmp_path / "mine.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    capsys.readouterr()
    main(["variance", "--ladder", str(path), "--json"])
    (row,) = json.loads(capsys.readouterr().out)[0]["rows"]
    assert {value for key, value in row.items() if key != "task"} <= {None}


@pytest.mark.parametrize("verb", ["fit", "variance"])
def test_what_needs_accuracies_says_which_it_lacks(tmp_path: Path, verb: str) -> None:
    frame = simulated(checkpoints=2)
    losses = str(write(tmp_path / "losses.csv", frame[frame.metric != "rc_acc"]))
    more = ["--output", str(tmp_path / "laws.json")] if verb == "fit" else []
    with pytest.raises(UserError, match=r"losses\.csv holds no accuracy \(rc_acc\)"):
        main([verb, "--ladder", losses, *more])
    with pytest.raises(UserError, match=r"chance.* is not known for quiz"):
        main([verb, "--ladder", str(write(tmp_path / "mine.csv", quiz())), *more])
    assert not list(tmp_path.glob("laws*"))


def test_recipes_without_a_known_chance_are_not_said_to_share_no_task(tmp_path: Path) -> None:
    first, second = (str(write(tmp_path / f"{name}.csv", quiz())) for name in "ab")
    with pytest.raises(UserError, match=r"a\.csv: the accuracy of guessing \(chance\) is not known for quiz"):
        main(["compare", first, second, *TARGET])


def test_a_task_that_no_rung_solves_has_noise_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = simulated(checkpoints=3)
    accuracy = frame.metric == "rc_acc"
    never = frame[accuracy].assign(task="never", value=0.0, chance=0.0)
    losses = frame[frame.metric == "rc_bpb"].assign(task="never")
    names = {name: object for name in ("run", "size", "task", "split", "metric", "ladder")}
    path = str(write(tmp_path / "mine.csv", pd.concat([frame.astype(names), never, losses])))
    capsys.readouterr()
    main(["variance", "--ladder", path, "--json", "--plot", str(tmp_path / "noise.png")])
    rows = {row["task"]: row for row in json.loads(capsys.readouterr().out)[0]["rows"]}
    assert rows["never"]["accuracy SD"] == 0 and rows["never"]["accuracy SD %"] is None
    main(["report", "--ladder", path, *TARGET[:-1], "--output", str(tmp_path / "report")])
    assert (tmp_path / "report" / "report.html").exists()
    with pytest.raises(UserError, match=r"an accuracy of 0 on never, whose logarithm method paper-single takes"):
        main(["--ladder", path, *TARGET, "--method", "paper-single"])
