"""Stage `machine`: what it is, and its two ceilings: copying memory, and multiplying bf16 matrices."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from evidence.timing import median_seconds


def rows(tiny: bool, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    yield {
        "what": "machine",
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cuda": torch.version.cuda,
        "programs": [name for name in ("cc", "gcc", "g++", "nvcc", "nvidia-cuda-mps-control") if shutil.which(name)],
        "python_headers": Path(sysconfig.get_path("include"), "Python.h").is_file(),
        "nvidia_smi": _smi(),
    }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    elements, side = (2**20, 256) if tiny else (2**31, 8192)
    source = torch.randn(elements // 2, device=device).view(torch.uint8)
    target = torch.empty_like(source)
    seconds = median_seconds(functools.partial(target.copy_, source))
    yield {"what": "copy", "bytes_per_second": 2 * source.nbytes / seconds}
    del source, target
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)
    seconds = median_seconds(lambda: torch.mm(left, right, out=out))
    yield {"what": "matmul", "flops_per_second": 2 * side**3 / seconds}
    pinned = torch.empty(elements // 4, device="cpu", pin_memory=device == "cuda")
    on_device = torch.zeros_like(pinned, device=device)
    for memory, host in (("pinned", pinned), ("pageable", torch.empty(elements // 4))):
        seconds = median_seconds(lambda host=host: host.copy_(on_device))  # type: ignore[misc]
        yield {"what": f"device to {memory} memory", "bytes_per_second": host.nbytes / seconds}


def _smi() -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    fields = "name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit,temperature.gpu"
    done = subprocess.run(
        ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], capture_output=True, text=True
    )
    return done.stdout.strip()
