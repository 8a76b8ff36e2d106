"""The bench of finished ladders: how they are cut, what is compared, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from simulated_ladder import ACCURACY, LOSS, simulated, write

from ladder.errors import UserError
from predict.__main__ import main
from predict.analyses.bench import bench, class_table
from predict.analyses.testbeds import UNVARIED, Bed, parts_by_size, random_parts, read_testbeds, rung_class


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frame = simulated(noise=0.003, checkpoints=1)
    (tmp_path / "made").mkdir()
    write(tmp_path / "made" / "table_grid.csv", frame[frame.metric != "lm_loss"])
    return tmp_path


def bed_of(folder: Path) -> Bed:
    (bed,) = read_testbeds([folder])
    return bed


def test_a_ladder_is_cut_at_every_size_and_predicts_what_is_beyond(folder: Path) -> None:
    bed = bed_of(folder)
    assert (bed.name, bed.family, len(bed.runs)) == ("grid", "made", 17)
    parts = parts_by_size(bed)
    whole = [part for part in parts if "rungs" not in part.name]
    assert [(len(part.rungs), len(part.targets)) for part in whole] == [(4, 11), (8, 6), (12, 3), (16, 1)]
    groups = [{part.group(run) for run in part.targets} for part in whole]
    assert groups == [{UNVARIED}, {"8-14"}, {"8-14"}, {"15+"}]
    short = [part for part in parts if part not in whole]
    assert [(len(part.rungs), len({run.multiple for run in part.rungs})) for part in short] == [(3, 1), (4, 1)]
    for part in parts:
        top = max(run.n * run.d for run in part.rungs)
        assert all(run.n * run.d > 1.1 * top and run not in part.rungs for run in part.targets)
        assert part.measured.runs == part.rungs  # nothing of the targets can enter a fit


def test_random_parts_are_the_same_again_and_hold_out_what_costs_more(folder: Path) -> None:
    bed = bed_of(folder)
    parts, again = (random_parts(bed, np.random.default_rng(1), 3) for _ in range(2))
    assert parts == again and {rung_class(len(part.rungs)) for part in parts} >= {"3", "4-5", "6-7", "8-14"}
    for part in parts:
        assert min(run.compute for run in part.targets) > 1.1 * max(run.compute for run in part.rungs)


def test_every_method_and_baseline_is_compared(folder: Path) -> None:
    parts = [part for part in parts_by_size(bed_of(folder)) if len(part.rungs) == 12]
    cells = [cell for cell in bench(parts) if cell.task == "quiz"]
    assert {cell.method for cell in cells} == {"default", "paper", "paper-flops", "paper-single", *BASELINES}
    of = {(cell.method, round(cell.decades, 6)): cell for cell in cells}
    assert len(of) == len(cells)
    far = max(cells, key=lambda cell: cell.decades).decades
    here = of["last rung", round(far, 6)]
    assert here.actual == pytest.approx(float(ACCURACY(LOSS(7e9, 2.8e12))), abs=0.01)
    assert here.error == pytest.approx(100 * (here.estimate.value - here.actual)) and here.error < -5
    (row,) = [row for row in class_table(cells).rows if row[0] == "8-14 rungs, last rung"]
    last = [cell.error for cell in cells if cell.method == "last rung"]
    assert row[2] == pytest.approx(np.mean(np.abs(last))) and row[3] == pytest.approx(np.mean(last))


BASELINES = ("last rung", "line in log compute")


def test_the_command_writes_results_and_no_measurements(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    splits = folder / "splits.yaml"
    rungs = [f"{size}-{multiple}xC" for size in ("190M", "370M") for multiple in (1, 2)]
    splits.write_text(json.dumps([{"ladder": "grid", "rungs": rungs, "targets": ["7B-20xC"]}]))
    words = ["bench", str(folder / "made"), "--splits", str(splits), "--output", str(out), "--json"]
    main(words)
    by_class, by_part, losses = json.loads(capsys.readouterr().out)
    assert [row["fitted"] for row in losses["rows"]] == ["4-5 rungs"] and losses["rows"][0]["cells"] >= 1
    assert losses["rows"][0]["step 1"] < 15 and losses["rows"][0]["in 95%"] == 1
    assert "rungs and targets by splits.yaml" in by_class["notes"] and "columns by" not in str(by_class["notes"])
    assert [row["fitted"] for row in by_part["rows"]] == ["grid, 4 rungs"]
    assert {row["cells"] for row in by_class["rows"]} == {1}
    assert json.loads((out / "bench.json").read_text()) == [by_class, by_part, losses]
    assert (out / "bench.png").read_bytes()[:4] == b"\x89PNG" and "grid, 4 rungs" in (out / "bench.md").read_text()


def test_the_mapping_that_lies_beside_a_table_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = folder / "mine.csv"
    (folder / "made" / "table_grid.csv").rename(table)
    table.write_text(table.read_text().replace("tokens", "seen", 1))
    (folder / "mine.yaml").write_text("columns: {tokens: seen}\n")
    rungs = [f"{size}-{multiple}xC" for size in ("190M", "370M") for multiple in (1, 2)]
    name = read_testbeds([table])[0].name
    (folder / "cuts.yaml").write_text(json.dumps([{"ladder": name, "rungs": rungs, "targets": ["7B-20xC"]}]))
    main(["bench", str(table), "--splits", str(folder / "cuts.yaml"), "--json"])
    notes = json.loads(capsys.readouterr().out)[0]["notes"]
    assert "columns by mine.yaml, beside the table" in notes and "rungs and targets by cuts.yaml" in notes


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"ladder": "grit", "rungs": ["a"], "targets": ["b"]}, 'ladder of .*"grit".*grid'),
        ({"ladder": "grid", "rungs": ["190M-3xC"], "targets": ["7B-20xC"]}, 'run of grid.*"190M-3xC"'),
        ({"ladder": "grid", "rungs": ["190M-1xC"], "targets": ["7B-20xC"]}, "at least 3 rungs"),
        ({"ladder": "grid", "rungs": ["190M-1xC"]}, "targets is missing"),
        ({"ladder": "grid", "rungs": ["190M-1xC"] * 3, "targets": ["7B-20xC"]}, "190M-1xC stands there twice"),
        ({"ladder": "grid", "rungs": ["190M-1xC", "190M-2xC", "7B-20xC"], "targets": ["7B-20xC"]}, "7B-20xC stands"),
    ],
)
def test_a_wrong_file_of_splits_is_named(folder: Path, entry: dict[str, object], words: str) -> None:
    splits = folder / "splits.yaml"
    splits.write_text(json.dumps([entry]))
    with pytest.raises(UserError, match=words):
        main(["bench", str(folder), "--splits", str(splits)])


def test_a_table_in_other_words_is_collected_first(tmp_path: Path) -> None:
    rows = [f"r{i},{i}e8,{20 * i}e8,quiz,rc_acc,{0.3 + 0.05 * i},0.25" for i in range(1, 9)]
    mine = tmp_path / "mine.csv"
    mine.write_text("\n".join(["name,n,d,task,metric,value,chance", *rows]))
    with pytest.raises(UserError, match=r"bench takes no mapping: predict collect first, and bench its file"):
        main(["bench", str(mine)])
    explained, collected = tmp_path / "words.yaml", tmp_path / "mine.parquet"
    explained.write_text("columns: {run: name}")
    main(["collect", "--ladder", str(mine), "--mapping", str(explained), "--output", str(collected)])
    (bed,) = read_testbeds([collected])
    assert len(bed.runs) == 8
