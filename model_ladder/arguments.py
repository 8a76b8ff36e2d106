"""What the functions of the API are given, checked: whatever is wrong is a UserError that names the argument."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import Any

from ladder.errors import UserError, shortened
from predict.measured.ladder import Measured
from predict.show.command_line import LARGEST


def ladder(value: Any, name: str = "ladder") -> Measured:
    if not isinstance(value, Measured):
        raise _wrong(name, value, "a ladder that model_ladder.read(…) gave")
    return value


def text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, value, "a name")
    return value


def path(value: Any, name: str, also: str = "") -> Path:
    """`also` is what else the argument may be."""
    if not isinstance(value, str | os.PathLike) or not str(value).strip() or isinstance(os.fspath(value), bytes):
        raise _wrong(name, value, f"{also}a path")
    return Path(value)


def texts(value: Any, name: str) -> list[str]:
    """One name stands for a list of it."""
    return [text(one, name) for one in _listed(value, name, "names")]


def multiples(value: Any, name: str) -> list[float]:
    return [number(one, name, least=0.0) for one in _listed(value, name, "numbers")]


def number(value: Any, name: str, least: float = 1.0) -> float:
    """From `least` to the largest that the command line takes."""
    real = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not least <= real <= LARGEST:
        raise _wrong(name, value, f"a number from {least:g} to {LARGEST:g}")
    return real


def _listed(value: Any, name: str, what: str) -> list[Any]:
    if isinstance(value, str | Real):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes | dict):
        raise _wrong(name, value, f"a list of {what}")
    return list(value)


def _wrong(name: str, value: Any, expected: str) -> UserError:
    return UserError(f"{name} = {shortened(repr(value), 80)}: expected {expected}")
