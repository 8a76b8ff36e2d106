"""Files and options that are wrong: what is said, and that nothing is left behind."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pandas as pd
import pytest
from simulated_ladder import SIZES, rows_of, write

from ladder.errors import UserError
from predict.__main__ import main
from predict.measured.flat_files import read_frame
from predict.measured.load import load_frame, load_ladder, read_measurements
from predict.measured.table import table_of
from predict.methods.law_file import SHIPPED

TARGET = ["--n", "7e9", "--d", "2.8e12"]


def small() -> pd.DataFrame:
    rows = [row for size, n in SIZES.items() for row in rows_of(f"{size}-1xC", size, n, 20 * n, checkpoints=2)]
    return table_of(rows, "small")


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    return write(tmp_path / "mine.csv", small())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",", ";"), r'separated by ";"; expected commas'),
        (lambda text: text.replace(",", "\t"), "separated by tabs"),
        (lambda text: text.replace("chance", "value", 1), 'has the column "value" twice'),
        (lambda text: text[:-12], "the last row has 11 of 13 columns; the file was cut short"),
        (lambda text: text.replace("\n", ",7\n").replace(",7\n", "\n", 1), "rows have more than the 13 columns"),
        (lambda text: text.replace(",0.25\n", ",0.5\n", 1), "chance = 0.25, another than the task's first row"),
        (lambda text: "", "is not a CSV file"),
    ],
)
def test_a_csv_file_that_is_no_whole_table(ladder: Path, change, message: str) -> None:
    ladder.write_text(change(ladder.read_text()))
    with pytest.raises(UserError, match=rf"mine\.csv.*{message}"):
        read_measurements(ladder)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_file_of_any_system(ladder: Path, ending: str, mark: str) -> None:
    right = read_measurements(ladder).table
    ladder.write_bytes((mark + ladder.read_text().replace("\n", ending)).encode())
    assert read_measurements(ladder).table.equals(right)


def test_the_last_row_may_be_quoted_and_archives_are_read(ladder: Path) -> None:
    text = ladder.read_text()
    right = read_frame(ladder)
    packed = ladder.with_name("mine.csv.gz")
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_frame(packed).equals(right)
    ladder.write_text(text.replace("text", '"text, more"'))
    assert len(read_frame(ladder)) == len(right)


def test_pipes_and_directories_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(UserError, match=r"pipe\.csv is no ordinary file"):
        read_measurements(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match=r"folder\.parquet is a directory"):
        read_measurements(tmp_path / "folder.parquet")


def test_parquet_files_of_any_program(ladder: Path, tmp_path: Path) -> None:
    right = read_measurements(ladder).table
    frame, path = pd.read_csv(ladder), tmp_path / "mine.parquet"
    frame.set_index(["run", "task"]).to_parquet(path)
    assert read_measurements(path).table.equals(right)
    frame.assign(value=[[1.0, 2.0]] * len(frame)).to_parquet(path)
    with pytest.raises(UserError, match=r"mine\.parquet: value = .* is not a number"):
        read_measurements(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--output", "{}/folder.json"], "folder.json: it is a directory"),
        (["fit", "--output", "{}/mine.csv"], r"must be the name of a \.json file"),
        (["fit", "--output", ""], r"must be the name of a \.json file"),
        (["fit", "--output", "{}/mine.csv/laws.json"], "mine.csv is a file; choose another directory"),
        (["collect", "--output", "{}/kept.parquet", "--mapping", ""], "argument --mapping: is empty"),
        (["variance", "--plot", "{}/pipe.png"], "pipe.png: it is no ordinary file"),
        (["report", *TARGET, "--output", "{}/mine.csv"], "mine.csv is a file; give the name of a directory"),
        (["report", *TARGET, "--output", " "], "argument --output: is empty"),
        (["report", *TARGET, "--output", "{}/new", "--tasks", "quizz"], "quizz"),
        (["report", *TARGET, "--output", "{}/new", "--method", "paper-flops", "--tasks", "texts"], "texts"),
        (["variance", "--corpus", "c4"], "mine.csv holds one ladder, which has no name"),
        (["variance", "--corpus", ""], "argument --corpus: is empty"),
        (["--target", "3B-0xC"], r"target 3B-0xC: multiple 0 .*must be above 0"),
    ],
)
def test_what_is_refused_leaves_nothing(
    ladder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        main([*(word.format(tmp_path) for word in words), "--ladder", str(ladder)])
    assert sorted(tmp_path.rglob("*")) == before and capsys.readouterr().out == ""


def test_a_report_that_fails_half_way_leaves_nothing(
    ladder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from predict.analyses import report

    def failing(content: object) -> str:
        assert list(tmp_path.glob("new/.tmp-*/*.png"))  # it was under way
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "render", failing)
    with pytest.raises(UserError, match=r"cannot write .*new: No space left"):
        main(["report", "--ladder", str(ladder), *TARGET, "--output", str(tmp_path / "new")])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_a_table_is_not_collected_into_itself(ladder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    main(["collect", "--ladder", str(ladder), "--output", str(path)])
    with pytest.raises(UserError, match=r"mine\.parquet is what --ladder reads"):
        main(["collect", "--ladder", str(path), "--output", str(path)])


@pytest.mark.parametrize("other", ["mine.csv", "./mine.csv", "link.csv"])
def test_a_ladder_is_not_compared_with_itself(ladder: Path, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ladder.parent)
    Path("link.csv").symlink_to("mine.csv")
    with pytest.raises(UserError, match=r"both ladders are mine\.csv"):
        main(["compare", "mine.csv", other, *TARGET])


def test_a_ladder_is_not_put_to_the_test_twice(ladder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ladder.parent)
    with pytest.raises(UserError, match=r"mine\.csv is given twice"):
        main(["bench", "mine.csv", "./mine.csv"])
    Path("splits.yaml").write_text("[]")
    with pytest.raises(UserError, match=r"splits\.yaml names no ladder"):
        main(["bench", "mine.csv", "--splits", "splits.yaml"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, r"no.* a law file of schema 5 \(but 2\); make the file again"),
        ({"tasks": {}}, "tasks = a mapping: must have at least 1"),
        ({"rungs": [{"n": 1e8, "d": 1e9}]}, r"tasks\.mmlu\.default\.loss\.finals: 16 values for 1 rungs"),
        ({"provenance": {"max_n": 0}}, r"provenance\.max_n = 0: must be above 0"),
    ],
)
def test_laws_that_cannot_predict(tmp_path: Path, change: dict, message: str) -> None:
    laws = json.loads(SHIPPED.read_text())
    for key, value in change.items():
        laws[key] = laws[key] | value if key == "provenance" else value
    (tmp_path / "laws.json").write_text(json.dumps(laws))
    with pytest.raises(UserError, match=rf"laws\.json.*{message}"):
        main(["--laws", str(tmp_path / "laws.json"), *TARGET])


@pytest.mark.parametrize("note", [{"code": "other"}, {"values": {}}, {"code": "members", "values": {"names": 3}}])
def test_a_note_in_a_law_file_without_words_is_named(tmp_path: Path, note: dict) -> None:
    laws = json.loads(SHIPPED.read_text())
    (kept,) = laws["tasks"]["csqa"]["paper"]["notes"]
    laws["tasks"]["csqa"]["paper"]["notes"] = [kept | note]
    (tmp_path / "laws.json").write_text(json.dumps(laws))
    with pytest.raises(UserError, match=r"laws\.json: tasks\.csqa\.paper\.notes\.0 = a mapping: must be a note with"):
        main(["--laws", str(tmp_path / "laws.json"), *TARGET])


@pytest.mark.parametrize("word", ["++x=1", "hydra.run.dir=x", "+hydra.mode=x"])
def test_words_that_have_no_meaning_here(ladder: Path, word: str) -> None:
    with pytest.raises(UserError, match=r'unknown configuration key "x"|has no effect here'):
        load_ladder(ladder, overrides=[word])


def test_a_ladder_shows_itself_in_a_few_lines(ladder: Path) -> None:
    measured = load_ladder(ladder)
    assert repr(measured) == f"<ladder mine from {ladder}: 4 rungs on 1 task>"
    page = measured._repr_html_()
    assert page.count("<tr>") == 5 and "1.3B" in page and "tasks: quiz" in page


def test_a_ladder_of_many_sizes_shows_some(tmp_path: Path) -> None:
    rows = [row for i in range(1, 41) for row in rows_of(f"r{i}", f"{i}M", i * 1e6, 1e9, checkpoints=1)]
    page = load_ladder(write(tmp_path / "many.csv", table_of(rows, "many")))._repr_html_()
    assert page.count("<tr>") == 13 and "29 more sizes" in page and len(page) < 3000


@pytest.mark.parametrize("value", ["0.3", True, [0.3], {}])
def test_results_of_lm_eval_that_are_no_numbers(tmp_path: Path, value: object) -> None:
    lines = ["model,run,n,d"]
    for i, model in enumerate("abcd"):
        (tmp_path / model).mkdir()
        results = {"arc_easy": {"acc,none": 0.3 + i / 20 if model != "b" else value, "acc_stderr,none": "N/A"}}
        content = {"results": results, "config": {"model_args": f"pretrained={model}"}}
        (tmp_path / model / "results_1.json").write_text(json.dumps(content))
        lines.append(f"{model},{model},{2**i}e8,{2**i}e10")
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"b/results_1\.json: arc_easy acc,none = .* is not a number"):
        read_measurements(tmp_path)


@pytest.mark.parametrize("name", ["", " ", "x" * 300, "a\nb", "\x1b[31m"])
def test_what_is_no_name(ladder: Path, tmp_path: Path, name: str) -> None:
    words = ["register", "--ladder", str(ladder), *TARGET, "--output", str(tmp_path / "f.json"), "--name", name]
    with pytest.raises(UserError, match="argument --name: ") as raised:
        main(words)
    assert str(raised.value).isprintable()


def test_a_table_of_several_ladders_takes_no_configuration(tmp_path: Path) -> None:
    frame = small()
    both = pd.concat([frame.assign(ladder="a"), frame.assign(ladder="b")])
    path = write(tmp_path / "two.csv", both)
    with pytest.raises(UserError, match=r"ladder\.fit\.window=3 is for two ladders"):
        main(["compare", str(path), "ladder.fit.window=3", *TARGET])


def test_an_index_of_a_data_frame_may_hold_columns() -> None:
    frame = small()
    right = load_frame(frame)
    for index in (["run", "task"], "run"):
        assert load_frame(frame.set_index(index)).rungs[0].curves.keys() == right.rungs[0].curves.keys()


def test_lists_are_no_names() -> None:
    frame = small()
    with pytest.raises(UserError, match=r"the DataFrame: row 0, run = \[1\] is not a name"):
        load_frame(frame.assign(run=[[1]] * len(frame)))


def test_a_folder_of_tables_and_a_name_too_long_are_said_to_be_so(ladder: Path) -> None:
    with pytest.raises(UserError, match=r"name one of its files, such as .*mine\.csv"):
        read_measurements(ladder.parent)
    with pytest.raises(UserError, match="cannot be read: File name too long"):
        read_measurements(Path("x" * 5000))
