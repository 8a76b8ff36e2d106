"""Numbers in words."""

from __future__ import annotations

import pytest

from ladder.words import count_of, named
from predict.notes import note


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 rungs"), (1, "1 rung"), (1.0, "1 rung"), (2, "2 rungs"), (12345, "12,345 rungs")]
)
def test_one_is_not_several(number: float, words: str) -> None:
    assert count_of(number, "rung") == words


def test_notes_count_as_people_do() -> None:
    assert "fitted on 1 run of here" in note("fitted-on", runs=1, source="here", share=0.1).text
    assert "on 12 back-tests" in note("members", names=["a"], splits=12, error=1.0, alone={"a": 1.0}).text


def test_names_are_listed_as_one_or_several() -> None:
    assert (named("column", ["n"]), named("column", ["n", "d"])) == ("column n", "columns n, d")
