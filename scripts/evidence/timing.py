"""Seconds of work on a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def finished() -> None:
    """Waits for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_seconds(work: Callable[[], object], warm: int = 3, calls: int = 10) -> float:
    """Of one call, by the host's clock with the device waited for."""
    for _ in range(warm):
        work()
    finished()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        work()
        finished()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
