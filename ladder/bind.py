"""Plain values (of a JSON, a YAML file, a configuration) become dataclasses, checked against their annotations.

A dataclass says what it takes: `Annotated[int, Field(ge=1)]`, `Literal["rc", "mc"]`, nested dataclasses,
`dict[str, Shape]`, `tuple[float, ...]`. Types are strict ("3" is no number, true is none either), numbers are finite,
and keys that the class does not have are refused unless it is decorated with `@lenient`. The checking is pydantic's,
the words are ours: one line that names the source, the key and what it must be.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError, with_config

from ladder.errors import UserError, did_you_mean, shortened

T = TypeVar("T")
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

# pydantic's words: ours
PLAIN = {
    "Input should be": "must be",
    "String should": "must",
    "Value error, ": "",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid array": "a list",
    "a valid dictionary": "a mapping",
    "a valid boolean": "true or false",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
}
LARGEST = 2**63 - 1


def checked_name(name: str) -> str:
    """A name that stays in its folder. Raises ValueError for any other."""
    if not re.fullmatch(r"[^/\\\x00-\x1f]{1,120}", name) or set(name) == {"."} or name.startswith("-"):
        raise ValueError("must be a name: 1 to 120 characters without slashes, not only dots, not starting with -")
    return name


def checked_number(value: object) -> object:
    """A whole number stays one, so that a file is written back as it was. Raises ValueError for anything else."""
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError("must be a number")
    return value


Number = Annotated[int | float, PlainValidator(checked_number)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Whole = Annotated[int, Field(ge=0, le=LARGEST)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]  # a part of 1, such as an accuracy of guessing
Name = Annotated[str, AfterValidator(checked_name)]  # of a file or folder


def lenient(cls: type[T]) -> type[T]:
    """A record that passes over keys it does not know: a file of other programs, or of later versions."""
    return with_config(STRICT | ConfigDict(extra="ignore"))(cls)


def bind(cls: Callable[..., T], node: Any, where: str) -> T:
    """`node` as an instance of `cls` (a dataclass or any annotation).

    Raises:
        UserError: a key that is missing, unknown (with the nearest known one) or holds what its annotation excludes;
            the message starts with `where`.
    """
    # Through JSON, where strict checking takes a list for a tuple and a mapping for a dataclass.
    text = json.dumps(node, default=lambda value: f"a {type(value).__name__}")
    try:
        return _adapter(cls).validate_json(text)
    except ValidationError as error:
        raise UserError(f"{where}: {_words(cls, error.errors(include_url=False))}") from None


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    for one in _dataclasses_in(cls):
        if not hasattr(one, "__pydantic_config__"):
            with_config(STRICT)(one)
    return TypeAdapter(cls) if _is_record(cls) else TypeAdapter(cls, config=STRICT)


def _words(cls: Any, errors: list[Any]) -> str:
    """The most telling of the errors: a key too many before one that is missing, which it may be meant for."""
    order = ("extra_forbidden", "unexpected_keyword_argument", "missing")
    error = min(errors, key=lambda one: order.index(one["type"]) if one["type"] in order else len(order))
    keys = [str(key) for key in error["loc"] if key != "[key]"]
    name = shortened(".".join(keys), 80)
    if error["type"] in order[:2]:
        return f'unknown key "{name}"; {did_you_mean(keys[-1], _keys_at(cls, error["loc"][:-1]))}'
    if error["type"] == "missing":
        return f"{name} is missing"
    message = error["msg"]
    for theirs, ours in PLAIN.items():
        message = message.replace(theirs, ours)
    given = error["input"]
    if isinstance(given, dict | list):
        given = f"a {'mapping' if isinstance(given, dict) else 'list'}"
    else:
        given = json.dumps(given) if isinstance(given, str) else str(given)
    words = "must be a mapping of its keys" if error["type"].startswith("dataclass") else message
    return f"{name} = {shortened(given, 60)}: {words}" if name else f"holds {shortened(given, 60)}: {words}"


def _keys_at(cls: Any, path: tuple[Any, ...]) -> list[str]:
    """The keys that a mapping at `path` inside `cls` may have."""
    for key in path:
        cls = _inside(cls, key)
    return [
        item.name for one in _alternatives(cls) if dataclasses.is_dataclass(one) for item in dataclasses.fields(one)
    ]


def _inside(cls: Any, key: Any) -> Any:
    """The annotation of what lies under `key` in a value of annotation `cls`."""
    for one in _alternatives(cls):
        if _is_record(one):
            return get_type_hints(one, include_extras=True).get(key, Any)
        if values := [arg for arg in get_args(one) if arg is not Ellipsis]:
            return values[-1]  # of a mapping or a list
    return Any


def _is_record(cls: Any) -> bool:
    return isinstance(cls, type) and dataclasses.is_dataclass(cls)


def _alternatives(cls: Any) -> Iterator[Any]:
    """The members of a union, without what annotates them."""
    if get_origin(cls) is Annotated:
        yield from _alternatives(get_args(cls)[0])
    elif get_origin(cls) in (Union, types.UnionType):
        for arg in get_args(cls):
            yield from _alternatives(arg)
    else:
        yield cls


def _dataclasses_in(cls: Any) -> Iterator[Any]:
    """The dataclasses of an annotation and of their fields."""
    if _is_record(cls):
        yield cls
        for hint in get_type_hints(cls, include_extras=True).values():
            yield from _dataclasses_in(hint)
    else:
        for arg in get_args(cls):
            yield from _dataclasses_in(arg)
