"""The words of a command line that several commands take: lists, multiples, and `key=value` for Hydra."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ladder.errors import UserError, shortened


def split_overrides(words: Sequence[str]) -> list[str]:
    """Checks that every word a parser left over is a Hydra override `key=value`, or `~key`, which removes one."""
    for word in words:
        key, equals, _ = word.partition("=")
        if not key.lstrip("+~") or key.startswith("-") or not (equals or key.startswith("~")):
            raise UserError(f'"{shortened(word)}" is neither an option nor key=value; see --help')
    return list(words)


def names(text: str) -> list[str]:
    """The type of an option: `190M,370M` -> ["190M", "370M"]. Raises ArgumentTypeError where that is none."""
    listed = [word.strip() for word in text.split(",")]
    if not all(listed):
        raise argparse.ArgumentTypeError(f'"{shortened(text)}" must be names separated by commas')
    return listed


def multiples(text: str) -> list[float]:
    """The type of an option: `1,2,0.5xC` -> [1.0, 2.0, 0.5]. Raises ArgumentTypeError where one is not a number."""
    try:
        return [float(word.removesuffix("xC")) for word in names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{shortened(text)} must be numbers separated by commas, such as 1,2"
        ) from None
