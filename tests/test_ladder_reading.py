"""Files and plain values become checked types, or one line that names what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from ladder.errors import UserError
from ladder.files.bind import Count, Name, Whole, as_given, bind, lenient
from ladder.files.reading import parse_json, parse_yaml, read, read_json_lines, read_sha256, read_text, read_yaml


@dataclass(frozen=True, kw_only=True)
class Shape:
    width: Count


@dataclass(frozen=True, kw_only=True)
class Settings:
    steps: Count
    rates: tuple[float, ...] = ()
    shapes: dict[Name, Shape] = field(default_factory=dict)
    form: Literal["rc", "mc"] = "rc"
    limit: float | None = None
    gpus: Literal["auto"] | Whole | dict[str, Whole] = 0
    scale: Annotated[float, Field(gt=0), as_given] = 1


def test_values_become_types() -> None:
    node = {"steps": 3, "rates": [1, 0.5], "shapes": {"190M": {"width": 768}}, "limit": 2}
    assert bind(Settings, node, "x.yaml") == Settings(
        steps=3, rates=(1.0, 0.5), shapes={"190M": Shape(width=768)}, limit=2.0
    )


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({}, "steps is missing"),
        ({"step": 3}, 'unknown key "step"; did you mean "steps"?'),
        ({"steps": 1, "shapes": {"a": {"widht": 1}}}, 'unknown key "shapes.a.widht"; did you mean "width"?'),
        ({"steps": 0}, "steps = 0: must be at least 1"),
        ({"steps": 10**400}, "steps = 1000"),
        ({"steps": True}, "steps = true: must be a whole number"),
        ({"steps": "3"}, 'steps = "3": must be a whole number'),
        ({"steps": 1, "rates": 5}, "rates = 5: must be a list"),
        ({"steps": 1, "rates": [float("nan")]}, "rates.0 = NaN: must be a finite number"),
        ({"steps": 1, "form": "rcc"}, 'unknown form "rcc"; did you mean "rc"? known: rc, mc'),
        ({"steps": 1, "limit": "much"}, 'limit = "much": must be a number'),
        ({"steps": 1, "shapes": {"../a": {"width": 1}}}, "must be a name"),
        ({"steps": 1, "shapes": {"..": {"width": 1}}}, "must be a name"),
        ({"steps": 1, "gpus": "half"}, 'gpus = "half": must be auto or a whole number or a mapping'),
        ({"steps": 1, "gpus": {"190M": -2}}, "gpus.190M = -2: must be at least 0"),
        ([], "holds a list: must be a mapping"),
        (None, "holds null: must be a mapping"),
        ({"steps": "x" * 100_000}, "must be a whole number"),
        ({"steps": 1, "form": "\ud800"}, "holds half of a surrogate pair"),
    ],
)
def test_what_is_wrong_is_named_in_one_short_line(node: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        bind(Settings, node, "x.yaml")
    message = str(caught.value)
    assert message.startswith("x.yaml: ") and words in message
    assert len(message) < 300 and "\n" not in message


def test_a_number_can_stay_as_it_was_given() -> None:
    for scale in (3, 3.0):
        assert repr(bind(Settings, {"steps": 1, "scale": scale}, "x").scale) == repr(scale)


def test_a_lenient_record_passes_over_what_it_does_not_know() -> None:
    @lenient
    @dataclass(frozen=True, kw_only=True)
    class Foreign:
        a: int

    assert bind(Foreign, {"a": 1, "b": 2}, "x.json") == Foreign(a=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("{", "is not valid JSON"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 1e999}', "too large"),
        ("9" * 5000, "digits"),
        ("[" * 100_000, "nested more than"),
        ("[" * 150 + "]" * 150, "nested more than"),
    ],
)
def test_what_is_no_json(text: str, words: str) -> None:
    with pytest.raises(UserError, match=r"f\.json") as caught:
        parse_json(text, "f.json")
    assert words in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2", "line"),
        ("!!python/object:os.system x", "constructor"),
        ("- " * 3000, "nest"),
        ("a: &x [*x]", "nest"),
        ("a: " + "9" * 5000, "digits"),
        ("a: 1\nb: 2\na: 3", 'the key "a" stands twice (line 3, column 1)'),
    ],
)
def test_what_is_no_yaml(text: str, words: str) -> None:
    with pytest.raises(UserError, match=r"f\.yaml") as caught:
        parse_yaml(text, "f.yaml")
    assert words in str(caught.value) and len(str(caught.value)) < 300


def test_yaml_numbers_and_dates() -> None:
    assert parse_yaml("{a: 1e-3, b: 3e9, c: 2026-11-28, d: 1.5, e: yes, f: 6e998e2}", "f") == {
        "a": 0.001, "b": 3e9, "c": "2026-11-28", "d": 1.5, "e": True, "f": "6e998e2",
    }  # fmt: skip


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    zero = tmp_path / "zero.yaml"
    zero.write_bytes(b"a: \0")
    for path in (tmp_path / "absent.json", tmp_path, binary, zero):
        with pytest.raises(UserError, match=path.name):
            read_text(path)
    yaml = tmp_path / "s.yaml"
    yaml.write_text("steps: 3\nrates: [1e-3]\n")
    assert read(Settings, yaml) == Settings(steps=3, rates=(0.001,))


def test_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert read_json_lines(path) == [(f"{path}, line 1", {"a": 1}), (f"{path}, line 3", {"a": 2})]
    path.write_bytes('\ufeff{"a": "x\u2028y\x85z"}\r\n\r\n{"a": 2}\r{"a": 3}'.encode())
    rows = [(1, {"a": "x\u2028y\x85z"}), (3, {"a": 2}), (4, {"a": 3})]
    assert read_json_lines(path) == [(f"{path}, line {number}", row) for number, row in rows]
    path.write_text('{"a": 1}\n[2]\n')
    with pytest.raises(UserError, match=r"rows.jsonl, line 2 must be a JSON object"):
        read_json_lines(path)


def test_aliases_that_multiply_are_counted_not_written_out(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghij")]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"bomb\.yaml holds more than 1,000,000 values"):
        read_yaml(tmp_path / "bomb.yaml")
    (tmp_path / "circle.yaml").write_text("&a [*a]")
    with pytest.raises(UserError, match=r"circle\.yaml is nested more than"):
        read_yaml(tmp_path / "circle.yaml")
    (tmp_path / "few.yaml").write_text("\n".join(lines[:3]))
    assert read_yaml(tmp_path / "few.yaml")["b"] == [["x"] * 9] * 9


def test_a_device_is_not_read_to_its_end() -> None:
    with pytest.raises(UserError, match="/dev/zero is a device"):
        read_text(Path("/dev/zero"))


def test_a_device_is_no_file() -> None:
    for reader in (read_text, read_sha256):
        with pytest.raises(UserError, match="/dev/zero is a device, expected a file"):
            reader(Path("/dev/zero"))  # which never ends


def test_a_message_holds_nothing_that_a_terminal_would_obey() -> None:
    assert str(UserError("a\0b\x1b[31m\nc")) == "a b [31m c"
