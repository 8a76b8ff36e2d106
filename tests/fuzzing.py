"""What tests of bad input share: mutations of files that are right, and what a command must answer to any of them.

    @pytest.mark.parametrize("count", COUNTS)
    def test_any_manifest_is_read_or_refused(count: int, tmp_path: Path) -> None:
        @fuzz(count, values(GOOD))
        def check(manifest: object) -> None:
            path.write_bytes(as_json(manifest))
            answer = answer_of(main, ["--manifest", str(path)])
            assert_sound(answer, "manifest.json")

200 examples run in the suite, 2,000 with `pytest -m nightly`.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladder.command.running import run_command

COUNTS = [200, pytest.param(2_000, marks=pytest.mark.nightly)]
LONGEST_LINE, MOST_LINES = 300, 3
DEEP = 150  # levels
LONG = "y" * 100_000

# What may stand in the place of any value.
WRONG: list[Any] = [
    None, True, False, 0, 1, -1, 0.5, 1e308, 10**30, 2**63, "", " ", "x", "3", "nan", "-inf", "../../x", "é" * 40, LONG,
    [], {}, [[]], {"": None}, {"a": {"b": [1]}}, [1, "two", None], float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
CELLS = [
    "",
    " ",
    "x",
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "0.5",
    "1e308",
    "1e400",
    "2" * 400,
    "TRUE",
    "[]",
    '"',
    "é",
    LONG,
]


def fuzz(count: int, strategy: st.SearchStrategy[Any]) -> Callable[[Callable[[Any], None]], None]:
    """A decorator that runs the check on `count` examples, the same ones every time."""

    def run(check: Callable[[Any], None]) -> None:
        quiet = settings(
            max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        quiet(given(strategy)(check))()

    return run


# Mutations. Values are those of a JSON or YAML file, rows those of a CSV file.


@st.composite
def values(draw: st.DrawFn, right: Any, most: int = 2) -> Any:
    """`right` with up to `most` changes: a value of another type, a key gone, misspelt or too many, deep nesting."""
    value = copy.deepcopy(right)
    for _ in range(draw(st.integers(1, most))):
        value = draw(_changed(value))
    return value


@st.composite
def _changed(draw: st.DrawFn, value: Any) -> Any:
    parents = [part for part in _parts(value) if part]
    if not parents or draw(st.integers(0, 19)) == 0:  # the whole of it
        return draw(st.sampled_from([*WRONG, nested(value, DEEP)]))
    parent = draw(st.sampled_from(parents))
    keys: Sequence[Any] = list(parent) if isinstance(parent, dict) else range(len(parent))
    key = draw(st.sampled_from(keys))
    kind = draw(st.sampled_from(["replace"] * 6 + ["remove", "rename", "add", "deepen"]))
    if kind == "replace":
        parent[key] = copy.deepcopy(draw(st.sampled_from(WRONG)))
    elif kind == "deepen":
        parent[key] = nested(parent[key], draw(st.sampled_from([1, DEEP])))
    elif kind == "remove":
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(key, copy.deepcopy(draw(st.sampled_from(WRONG))))
    elif kind == "rename":
        parent[draw(st.sampled_from([f"{key}x", str(key)[:-1], str(key).upper(), LONG]))] = parent.pop(key)
    else:
        parent[draw(st.sampled_from(["extra", "", f"{key}_", LONG]))] = copy.deepcopy(draw(st.sampled_from(WRONG)))
    return value


def _parts(value: Any) -> list[Any]:
    """Every mapping and list in a value, itself included."""
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(part for item in inner for part in _parts(item))]


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


@st.composite
def rows(draw: st.DrawFn, right: Sequence[Sequence[str]], most: int = 2) -> list[list[str]]:
    """Rows of a CSV file, its header first, with up to `most` changes."""
    table = [list(row) for row in right]
    for _ in range(draw(st.integers(1, most))):
        _change_rows(draw, table)
    return table


def _change_rows(draw: st.DrawFn, table: list[list[str]]) -> None:
    if not table or not table[0]:
        return
    kind = draw(st.sampled_from(["cell"] * 6 + ["column", "no column", "header", "row", "no rows", "short", "again"]))
    at = draw(st.integers(0, len(table[0]) - 1))
    line = draw(st.integers(1, max(len(table) - 1, 1)))
    if kind == "no rows":
        del table[1:]
    elif kind == "header":
        table[0][at] = draw(st.sampled_from([f"{table[0][at]}x", "", table[0][0], LONG]))
    elif kind == "column":
        cell = draw(st.sampled_from(CELLS))
        for row in table[1:]:
            row[at : at + 1] = [cell] * len(row[at : at + 1])
    elif kind == "no column":
        for row in table:
            del row[at : at + 1]
    elif line < len(table):
        if kind == "row":
            del table[line]
        elif kind == "short":
            del table[line][at:]
        elif kind == "again":
            table.insert(line, list(table[line]))
        table[min(line, len(table) - 1)][at : at + 1] = [draw(st.sampled_from(CELLS))]


@st.composite
def contents(draw: st.DrawFn, right: bytes) -> bytes:
    """The bytes of a file: cut short, empty, binary, with bytes changed, put in or repeated."""
    at = draw(st.integers(0, max(len(right) - 1, 0)))
    junk = draw(st.sampled_from([b"", b"\0", b"\xff\xfe", b"{", b"]", b'"', b"\n\n", b"[" * 100_000, b"9" * 5_000]))
    kinds = [right[:at], b"", b" \n", right[:at] + junk + right[at:], right[:at] + junk + right[at + 1 :], junk + right]
    return draw(st.sampled_from([*kinds, right + right, right[::-1], draw(st.binary(max_size=200))]))


def as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def as_csv(table: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


# Answers.


@dataclass(frozen=True, kw_only=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def refused(self) -> bool:
        return self.code == 2


def answer_of(main: Callable[[list[str]], int | None], words: Sequence[str]) -> Answer:
    """What the command of that `main` prints and its exit code; anything but a user error is raised."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["command", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        run_command(main)
    return Answer(code=int(ended.value.code or 0), out=out.getvalue(), err=err.getvalue())


def assert_sound(answer: Answer, *names: str) -> None:
    """The command did its work, or refused in a few short lines that hold one of `names`."""
    assert answer.code in (0, 2), answer
    if answer.refused:
        lines = answer.err.strip().splitlines()
        assert len(lines) <= MOST_LINES and max(map(len, lines)) <= LONGEST_LINE, answer.err
        assert lines[-1].startswith("error: ") and answer.out == "", answer
        assert any(name in answer.err for name in names), answer.err
