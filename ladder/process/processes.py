"""Processes of this machine, named by their number and their start: numbers are given out again."""

from __future__ import annotations

import os
from pathlib import Path


def process_start(pid: int) -> int | None:
    """When a process of this machine started, in clock ticks since it booted; None where the system does not tell.

    Together with its number this names a process for good: numbers are given out again.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def process_lives(pid: int, started: int | None = None) -> bool:
    """Whether a process of this machine is there (and, where `started` is given, is that one and no later namesake)."""
    if Path("/proc/self/stat").exists():
        now = process_start(pid)
        return now is not None and (started is None or now == started)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
