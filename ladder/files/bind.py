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
import re
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, WrapValidator, with_config

from ladder.errors import UserError, did_you_mean, shortened, unknown

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
    "a valid dictionary": "a mapping",
    "an object": "a mapping",
    "a valid array": "a list",
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


def checked_word(name: str) -> str:
    """A name that can stand in a list, in a command line and in a longer name. Raises ValueError for any other."""
    if not re.fullmatch(r"\w[\w.+-]{0,59}", name):
        raise ValueError("must be a name of letters, digits and . _ + - (at most 60), without spaces")
    return name


LONGEST_NAME = 255  # bytes, of the usual file systems


def checked_path(path: str) -> str:
    """Text that may name a file. Raises ValueError for any other."""
    if "\0" in path:
        raise ValueError("must be a path, without zero bytes")
    if any(len(name.encode(errors="replace")) > LONGEST_NAME for name in path.split("/")):
        raise ValueError(f"must be a path whose names have no more than {LONGEST_NAME} bytes")
    return path


def _as_given(value: Any, check: Callable[[Any], Any]) -> Any:
    checked = check(value)
    return value if type(value) is int else checked


as_given = WrapValidator(_as_given)  # a number whose hash or text must not change: 500000 stays, and is not 500000.0
Number = Annotated[float, as_given]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Whole = Annotated[int, Field(ge=0, le=LARGEST)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]  # a part of 1, such as an accuracy of guessing
Text = Annotated[str, Field(min_length=1)]
Place = Annotated[str, Field(min_length=1), AfterValidator(checked_path)]  # of a file or folder, with its folders
Name = Annotated[str, AfterValidator(checked_name)]  # of a file or folder
Word = Annotated[str, AfterValidator(checked_word)]  # of a size or a task


def lenient(cls: type[T]) -> type[T]:
    """A record that passes over keys it does not know: a file of other programs, or of later versions."""
    return with_config(STRICT | ConfigDict(extra="ignore"))(cls)


def bind(cls: Callable[..., T], node: Any, where: str) -> T:
    """`node` as an instance of `cls` (a dataclass or any annotation).

    Raises:
        UserError: a key that is missing, unknown (with the nearest known one) or holds what its annotation excludes;
            the message starts with `where`, if that is not empty.
    """
    # Through JSON, where strict checking takes a list for a tuple and a mapping for a dataclass.
    text = json.dumps(node, default=lambda value: f"a {type(value).__name__}")
    try:
        return _adapter(cls).validate_json(text)
    except ValidationError as error:
        words = _words(cls, error.errors(include_url=False))
        raise UserError(f"{where}: {words}" if where else words) from None


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    for one in _dataclasses_in(cls):
        if not hasattr(one, "__pydantic_config__"):
            with_config(STRICT)(one)
    return TypeAdapter(cls) if _is_record(cls) else TypeAdapter(cls, config=STRICT)


_ORDER = ("extra_forbidden", "unexpected_keyword_argument", "missing")


def _words(cls: Any, errors: list[Any]) -> str:
    """The most telling of the errors: a key too many before one that is missing, which it may be meant for.

    Of a union's members the one that the value comes nearest to, or all of them where it comes near to none.
    """
    paths = [_path(cls, error["loc"]) for error in errors]
    ranks = [_ORDER.index(error["type"]) if error["type"] in _ORDER else len(_ORDER) for error in errors]
    best = min(range(len(errors)), key=lambda index: (ranks[index], -len(paths[index])))
    error, keys = errors[best], paths[best]
    if error["type"] == "json_invalid":  # what JSON may hold and UTF-8 may not
        return "holds half of a surrogate pair (such as \\ud800), which is no text"
    name = shortened(".".join(keys), 80)
    if error["type"] in _ORDER[:2]:
        return f'unknown key "{name}"; {did_you_mean(keys[-1], _keys_of(_annotation(cls, error["loc"][:-1])))}'
    if error["type"] == "missing":
        return f"{name} is missing"
    if (
        error["type"] == "literal_error"
        and paths.count(keys) == 1
        and (choices := _choices(_annotation(cls, error["loc"])))
    ):
        return str(unknown(name, str(error["input"]), choices))
    given = shortened(_shown(error["input"]), 60)
    meant = [_phrase(cls, other) for other, path in zip(errors, paths, strict=True) if path == keys]
    words = " or ".join(dict.fromkeys(meant)).replace(" or be ", " or ")
    return f"{name} = {given}: must {words}" if name else f"holds {given}: must {words}"


def _phrase(cls: Any, error: Any) -> str:
    """What a value must, such as `be a whole number`."""
    if error["type"].startswith("dataclass"):
        return f"be a mapping of {shortened(', '.join(_keys_of(_annotation(cls, error['loc']))), 120)}"
    if error["type"] == "literal_error":
        return f"be {error['ctx']['expected'].replace(chr(39), '')}"
    if error["type"] == "too_short":
        return f"have at least {error['ctx']['min_length']}"
    message = error["msg"]
    for theirs, ours in PLAIN.items():
        message = message.replace(theirs, ours)
    return message.removeprefix("must ")


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'}"
    return json.dumps(value, ensure_ascii=False)


def _path(cls: Any, loc: tuple[Any, ...]) -> list[str]:
    """The keys that lead to where an error is: `loc` without pydantic's marks of mapping keys and union members."""
    keys = []
    for key in loc:
        if (member := _member(cls, key)) is not None:
            cls = member
        elif key != "[key]":
            keys.append(str(key))
            cls = _inside(cls, key)
    return keys


def _annotation(cls: Any, loc: tuple[Any, ...]) -> Any:
    """The annotation of what lies at `loc` inside `cls`."""
    for key in loc:
        member = _member(cls, key)
        cls = _inside(cls, key) if member is None else member
    return cls


def _member(cls: Any, tag: Any) -> Any:
    """The member of the union `cls` that pydantic's `tag` stands for; None where it is no union of several."""
    members = [one for one in _alternatives(cls) if one is not types.NoneType]
    if len(members) < 2:
        return None
    kind = str(tag).partition("[")[0]
    for member in members:
        names = {getattr(get_origin(member) or member, "__name__", ""), str(get_origin(member)).rpartition(".")[2]}
        if kind in {name.lower() for name in names} | names:
            return member
    return Any


def _choices(cls: Any) -> list[str]:
    """The values that `cls` allows, where it is nothing but those."""
    members = [one for one in _alternatives(cls) if one is not types.NoneType]
    return [str(value) for one in members if get_origin(one) is Literal for value in get_args(one)]


def _keys_of(cls: Any) -> list[str]:
    """The keys that a mapping of annotation `cls` may have."""
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
