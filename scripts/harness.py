"""What the benchmarks share: seconds of a call or of a process, the machine's facts, one form of result."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.files.writing import write_json
from ladder.process.provenance import git_revision, versions


@dataclass(frozen=True)
class Seconds:
    wall: float
    cpu: float  # of the process, all its threads: what another process on the machine disturbs least


def timed(work: Callable[[], object]) -> Seconds:
    """Seconds of one call in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def timed_process(command: Sequence[str], directory: Path | None = None, check: bool = True) -> Seconds:
    """Seconds of a whole process, which is to exit with 0 if `check`; what it prints is dropped."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=directory, stdout=subprocess.DEVNULL, check=check)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Seconds(time.perf_counter() - wall, cpu)


def best(calls: int, measure: Callable[[], Seconds]) -> Seconds:
    """The least of each over some calls."""
    every = [measure() for _ in range(calls)]
    return Seconds(min(one.wall for one in every), min(one.cpu for one in every))


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def processor() -> str:
    """The GPU, or the CPU where there is none."""
    import torch  # not needed by benchmarks of what works without it

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def result(packages: Sequence[str], **measured: Any) -> dict[str, Any]:
    """A benchmark's result with what it was measured on."""
    return {
        "machine": {"name": processor(), "cores": os.cpu_count()},
        "date": time.strftime("%Y-%m-%d"),
        "git_revision": git_revision(),
        "versions": versions(*packages),
        **measured,
    }


def save(path: Path | None, measured: dict[str, Any]) -> None:
    """Writes it where a file was named."""
    if path:
        write_json(path, measured)
