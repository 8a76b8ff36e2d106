"""The words of a command line that several commands take: lists, multiples, and `key=value` for Hydra."""

from __future__ import annotations

from collections.abc import Sequence

from ladder.errors import UserError


def split_overrides(words: Sequence[str]) -> list[str]:
    """Checks that every word a parser left over is a Hydra override `key=value`, or `~key`, which removes one."""
    for word in words:
        if not word.startswith("~") and ("=" not in word or word.startswith("-")):
            raise UserError(f'"{word}" is neither an option nor key=value; see --help')
    return list(words)


def split_list(words: str | None) -> list[str]:
    """`190M,370M` -> ["190M", "370M"]; None -> []."""
    return [word.strip() for word in (words or "").split(",") if word.strip()]


def parse_multiples(words: str | None) -> list[float]:
    """`1,2,0.5` -> [1.0, 2.0, 0.5]. Raises UserError where one is not a number."""
    try:
        return [float(word.removesuffix("xC")) for word in split_list(words)]
    except ValueError:
        raise UserError(f"--multiples {words}: expected numbers separated by commas, such as 1,2,5") from None
