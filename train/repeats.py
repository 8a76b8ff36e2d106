"""Which sequences are left out of the loss: those in which an n-gram repeats many times in a row."""

from __future__ import annotations

import numpy as np

_PROBES = 4


def repetitive(tokens: np.ndarray, max_length: int, max_repeats: int) -> np.ndarray:
    """Whether a sequence holds an n-gram of 1 to `max_length` tokens more than `max_repeats` times in a row.

    The published runs leave such sequences out (`InstanceFilterConfig` of OLMo); tables of zeros and base64 are not
    text, and their gradients make spikes (OLMo 2, arXiv 2501.00656).

    Args:
        tokens: ids, (sequences, length).

    Returns:
        bool, (sequences,).
    """
    repeated = np.zeros(len(tokens), bool)
    for period in range(1, min(max_length, tokens.shape[1] // (max_repeats + 1)) + 1):
        # The n-gram repeats where this many tokens in a row equal the one `period` before them. Most sequences are
        # cleared by looking at few places: a run of that length covers several multiples of a part of it.
        run = period * max_repeats
        stride = max(1, run // _PROBES)
        probes = tokens[:, period::stride] == tokens[:, :-period:stride]
        likely = np.flatnonzero(_has_run(probes, run // stride))
        if len(likely):
            repeated[likely] |= _has_run(tokens[likely, period:] == tokens[likely, :-period], run)
    return repeated


def _has_run(equal: np.ndarray, length: int) -> np.ndarray:
    """Whether each row of `equal` (rows, columns) holds `length` true values in a row."""
    before = np.zeros((len(equal), equal.shape[1] + 1), np.int32)
    np.cumsum(equal, axis=1, out=before[:, 1:])
    return (before[:, length:] - before[:, :-length] == length).any(1)
