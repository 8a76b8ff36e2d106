"""Tables of typed columns: the same values in every rendering, and a text that fits its terminal."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from predict.__main__ import main
from predict.reproduction.printed import Printed, differing
from predict.show.tables import Range, Table, code, fixed, flags, share, significant, whole, words
from predict.show.terminal import as_text

TABLE = Table(
    title="Everything",
    columns=(
        words("task"),
        fixed("accuracy", 2, "percent"),
        fixed("interval", 1, "percent"),
        fixed("error", 2, "points", signed=True),
        share("of budget", 1),
        significant("FLOPs", 3, "FLOPs"),
        whole("N", "parameters"),
        words("agree"),
        code("law"),
        fixed("mean", 1),
        flags(),
    ),
    rows=(
        ("a|b", 61.0 + 1 / 9, Range(low=55.4321, high=66.75), 1 / 3, 0.81234, 7.834e19, 190354176, True, "a/N", 2,
         ()),
        ("c", 2.0, None, -0.001, 1.0, 1e3, 10.0, False, None, math.nan, ("loose", "few, too")),
        ("d", None, Range(low=0.0, high=1.0), None, None, None, None, None, "b", math.inf, ("loose",)),
    ),
    notes=("a note",),
)  # fmt: skip


def test_text_and_markdown_show_values_to_the_digits_of_their_column() -> None:
    shown = [["a|b", "61.11", "55.4–66.8", "+0.33", "81.2%", "7.83e+19", "190,354,176", "yes", "a/N", "2.0"],
             ["c ¹ ²", "2.00", "", "-0.00", "100.0%", "1e+03", "10", "no", "", ""],
             ["d ¹", "", "0.0–1.0", "", "", "", "", "", "b", ""]]  # fmt: skip
    lines = as_text(TABLE, 300).splitlines()
    assert [[cell for cell in row if cell] for row in shown] == [
        [cell.strip() for cell in line.split("  ") if cell] for line in lines[4:7]
    ]
    assert lines[-3:] == ["¹ loose", "² few, too", "a note"]
    table = [line for line in TABLE.markdown().splitlines() if line.startswith("|")]
    assert [[cell.replace("\\|", "|") for cell in line.strip("| ").split(" | ")] for line in table[2:3]] == shown[:1]
    assert table[1].startswith("| --- | ---: |") and "² few, too" in TABLE.markdown()


def test_marks_of_footnotes_are_in_order() -> None:
    rows = (("a", ("first",)), ("b", ("second", "first")))
    assert Table(title="", columns=(words("task"), flags()), rows=rows).cells == [["a ¹"], ["b ¹ ²"]]


def test_csv_and_json_hold_the_values_themselves() -> None:
    records = json.loads(json.dumps(TABLE.to_json()))["rows"]
    assert records[0] == {
        "task": "a|b", "accuracy": 61.0 + 1 / 9, "interval low": 55.4321, "interval high": 66.75, "error": 1 / 3,
        "of budget": 0.81234, "FLOPs": 7.834e19, "N": 190354176, "agree": True, "law": "a/N", "mean": 2, "flags": [],
    }  # fmt: skip
    assert records[1]["flags"] == ["loose", "few, too"] and records[1]["interval low"] is None
    assert {name for name, value in records[2].items() if value is None} >= {"accuracy", "mean", "agree"}
    assert TABLE.to_json()["units"]["interval"] == "percent"
    rows = list(csv.DictReader(io.StringIO(TABLE.csv())))
    for row, record in zip(rows, records, strict=True):
        assert list(row) == list(record)
        for name, value in record.items():
            if isinstance(value, float | int) and not isinstance(value, bool):
                assert float(row[name]) == value
    assert rows[0]["agree"] == "true" and rows[1]["flags"] == "loose; few, too" and rows[2]["accuracy"] == ""


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_text_fits_and_loses_nothing(width: int) -> None:
    lines = as_text(TABLE, width).splitlines()
    assert max(map(len, lines)) <= width
    found = " ".join(lines).split()
    for row in TABLE.cells:
        assert all(cell in found for cell in row[1:] if cell)
    starts = [line for line in lines if line.startswith("a|b")]
    assert len(starts) > 1 if width <= 80 else len(starts) == 1  # what does not fit goes on below


@pytest.mark.parametrize("words", [["--target", "13B-5T"], ["--n", "70e9", "--d", "15e12"]])
def test_a_prediction_in_a_pipe_fits_80_columns_with_accuracy_first(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    main(words)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].split("  ")[0] == "task" and lines[2].split()[1:4] == ["accuracy", "80%", "interval"]
    monkeypatch.setenv("COLUMNS", "150")
    main(words)
    (wide,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("task")]
    assert len(wide) > 80 or "actual" not in wide


def test_a_row_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="columns"):
        Table(title="short", columns=(words("task"), whole("N")), rows=(("a",),))


def test_what_differs_from_the_paper_is_counted_by_its_value() -> None:
    rows = (("a", Printed(ours=3.8161, printed=3.8, digits=1)), ("b ≠", Printed(ours=3.8161, printed=3.9, digits=1)))
    table = Table(title="", columns=(words("task"), fixed("error", 1)), rows=(*rows, ("c", None)))
    assert differing([table, table]) == 2
    assert [row[1] for row in table.cells] == ["3.816 (3.8)", "3.816 (3.9)≠", ""]
    assert table.records()[1] == {"task": "b ≠", "error": 3.8161, "error printed": 3.9}


def test_long_words_go_on_in_lines_below() -> None:
    runs = ", ".join(f"{size}M-{m}xC" for size in (190, 370, 760) for m in (1, 2, 5, 10))
    table = Table(title="", columns=(words("name"), words("rungs"), fixed("mean", 1)), rows=(("a", runs, 1.0),))
    lines = as_text(table, 60).splitlines()
    assert max(map(len, lines)) <= 60
    shown = " ".join(line.strip().removeprefix("a ").strip() for line in lines if "xC" in line)
    assert shown == runs
