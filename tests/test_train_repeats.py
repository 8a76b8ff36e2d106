"""Sequences that repeat an n-gram are found wherever the repeats stand, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from train.repeats import repetitive


def slowly(row: np.ndarray, max_length: int, max_repeats: int) -> bool:
    """By the definition: the n-gram at any place, followed by itself `max_repeats` times."""
    for length in range(1, max_length + 1):
        for start in range(len(row) - length * (max_repeats + 1) + 1):
            stretch = row[start : start + length * (max_repeats + 1)].reshape(-1, length)
            if (stretch == stretch[0]).all():
                return True
    return False


@pytest.mark.parametrize(("max_length", "max_repeats"), [(13, 31), (3, 3), (5, 1), (4, 2), (13, 6)])
def test_equals_the_definition(max_length: int, max_repeats: int) -> None:
    rng = np.random.default_rng(max_repeats)
    tokens = rng.integers(0, 12, (120, 250))
    for row in tokens:  # planted with a length and a count on both sides of the limits
        length = int(rng.integers(1, max_length + 3))
        planted = np.resize(rng.integers(0, 500, length), length * (max_repeats + 1) + int(rng.integers(-2, 2)))[:250]
        start = int(rng.integers(0, len(row) - len(planted) + 1))
        row[start : start + len(planted)] = planted
    found = repetitive(tokens, max_length, max_repeats)
    assert found.tolist() == [slowly(row, max_length, max_repeats) for row in tokens]
    assert 0 < found.sum() < len(tokens) or max_repeats == 1


def test_the_published_limits() -> None:
    """32 times in a row is left out, 31 times is not; n-grams of 14 tokens never are."""
    tokens = np.arange(6 * 4096).reshape(6, 4096) + 1000
    tokens[0, 4096 - 32 :] = 7
    tokens[1, :31] = 7
    tokens[2, 100 : 100 + 13 * 32] = np.tile(np.arange(13), 32)
    tokens[3, 100 : 100 + 13 * 32 - 1] = np.tile(np.arange(13), 32)[:-1]
    tokens[4, : 14 * 40] = np.tile(np.arange(14), 40)
    assert repetitive(tokens, 13, 31).tolist() == [True, False, True, False, False, False]
    assert not repetitive(tokens, 0, 31).any()
    assert not repetitive(tokens[:, :20], 13, 31).any()
