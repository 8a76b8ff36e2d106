"""Files that people or other programs wrote, read with one clear error for whatever can be wrong with them.

Every file goes through here: absent, a directory, not UTF-8, not JSON or YAML, nested too deeply, cut short, empty.
`read` also checks each key and value against a class (`ladder.files.bind`).
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ladder.errors import UserError, shortened
from ladder.files.bind import bind
from ladder.files.hashing import sha256_of

T = TypeVar("T")
MOST_VALUES = 1_000_000  # of a YAML file
DEEPEST = 100  # levels of lists and mappings: more is no file of ours, and would exhaust Python's stack


def read(cls: type[T], path: Path) -> T:
    """The file as an instance of `cls`: YAML by its suffix, else JSON. Raises UserError that names file and key."""
    return bind(cls, read_yaml(path) if path.suffix in (".yaml", ".yml") else read_json(path), str(path))


def read_text(path: Path) -> str:
    """Raises UserError where the file is absent, is none, may not be read, or is not UTF-8 text."""
    with readable(path):
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not text in UTF-8 (byte {error.start})") from None
    if "\0" in text:
        raise UserError(f"{path} is not text: it holds a zero byte")
    return text


def read_sha256(path: Path) -> str:
    """Raises UserError where the file is absent, is none, or may not be read."""
    with readable(path):
        return sha256_of(path)


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """An error of the system while the file is read becomes one that names it."""
    try:
        if path.is_char_device() or path.is_block_device():  # which might never end
            raise UserError(f"{path} is a device, expected a file")
        yield
    except FileNotFoundError:
        raise UserError(f"{shortened(str(path), 200)} does not exist") from None
    except OSError as error:
        raise UserError(f"{shortened(str(path), 200)} cannot be read: {error.strerror or error}") from None
    except ValueError:  # what Python says of a zero byte in a name
        raise UserError(f"{shortened(str(path), 200)} is no name of a file") from None


def read_json(path: Path) -> Any:
    """Raises UserError where the file is absent or is not JSON; NaN and infinities are no JSON."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text. Raises UserError that names `where`."""
    if not text.strip():
        raise UserError(f"{where} is empty, expected JSON")
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except ValueError as error:  # NaN, or a number of too many digits
        raise UserError(f"{where} is not valid JSON: {shortened(str(error), 80)}") from None
    except RecursionError:
        raise _too_deep(where) from None
    return _checked_depth(value, where)


def read_yaml(path: Path) -> Any:
    """Raises UserError where the file is absent or is not YAML of plain values."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text (safe tags only; 3e-4 is a number). Raises UserError that names `where`."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        reason = getattr(error, "problem", None) or "unreadable"
        raise UserError(f"{where} is not valid YAML: {shortened(reason, 120)}{at}") from None
    except ValueError as error:  # an impossible date, or a number of too many digits
        raise UserError(f"{where} is not valid YAML: {shortened(str(error), 80)}") from None
    except RecursionError:
        raise _too_deep(where) from None
    if _size(_checked_depth(value, where), {}) > MOST_VALUES:
        raise UserError(f"{where} holds more than {MOST_VALUES:,} values, its aliases written out")
    return value


def read_json_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a JSONL file, each with where it stands (`FILE, line 3`); empty lines are passed over."""
    rows = []
    lines = io.StringIO(read_text(path), newline=None)  # splitlines() also ends a line at what JSON may hold: U+2028
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}, line {number}"
            value = parse_json(line, where)
            if not isinstance(value, dict):
                raise UserError(f"{where} must be a JSON object, not {type(value).__name__}")
            rows.append((where, value))
    return rows


_NO_KEYS = {"tag:yaml.org,2002:bool": "true or false", "tag:yaml.org,2002:null": "null"}


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """YAML 1.1 with the floats of YAML 1.2: 1e-3 is a number, as in OmegaConf. A key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key "{shortened(key.value, 40)}" stands twice', key.start_mark
                )
            if isinstance(key, yaml.ScalarNode) and key.tag in _NO_KEYS:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f'"{shortened(key.value, 40)}" as a key is read as {_NO_KEYS[key.tag]}; put it into quotes',
                    key.start_mark,
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{shortened(word, 40)} is too large")
    return value


def _too_deep(where: str) -> UserError:
    return UserError(f"{where} is nested more than {DEEPEST} levels deep")


def _checked_depth(value: Any, where: str) -> Any:
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise _too_deep(where)
        inner = {id(item): item for one in level for item in _inside(one) if isinstance(item, dict | list)}
        level = list(inner.values())  # each once, in however many places YAML's aliases put it
        depth += 1
    return value


def _size(value: Any, counted: dict[int, int]) -> int:
    """How many plain values it is, those of an alias in each place; `known` are those of lists and mappings."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in counted:
        counted[id(value)] = 1 + sum(_size(item, counted) for item in _inside(value))
    return counted[id(value)]


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
