"""Several trainings on one GPU: under NVIDIA's MPS their kernels run side by side, else they take turns.

A model too small to fill a GPU spends its time on launches, which the next process then does not wait for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping

CONTROL = "nvidia-cuda-mps-control"
PIPES = "CUDA_MPS_PIPE_DIRECTORY"
TRY = "import torch; torch.zeros(1, device='cuda').item()"
TRY_SECONDS = 120


@contextlib.contextmanager
def shared_gpus(several: bool, report: Callable[[str], None]) -> Iterator[Mapping[str, str]]:
    """Runs MPS meanwhile, where there are several to share a GPU; yields what they need in their environment.

    Nothing where it is not installed or does not work, and where the user runs one of their own.
    """
    if not several or shutil.which(CONTROL) is None or PIPES in os.environ:
        yield {}
        return
    with tempfile.TemporaryDirectory(
        prefix="mps-", ignore_cleanup_errors=True
    ) as directory:  # a socket's path is short
        added = {PIPES: directory, "CUDA_MPS_LOG_DIRECTORY": directory}
        # It serves every GPU: those of its own CUDA_VISIBLE_DEVICES would have other numbers for its clients.
        environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"} | added
        try:
            works = _ends_well([CONTROL, "-d"], environment) and _ends_well([sys.executable, "-c", TRY], environment)
            report(
                "trainings share a GPU under MPS" if works else "trainings take turns on a GPU: MPS does not work here"
            )
            yield added if works else {}
        finally:
            _ends_well([CONTROL], environment, "quit\n")


def _ends_well(command: list[str], environment: Mapping[str, str], words: str = "") -> bool:
    """What it prints goes nowhere: a pipe would be held by the daemon that it leaves."""
    nowhere = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, env=environment, input=words, text=True, stdout=nowhere, stderr=nowhere, timeout=TRY_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
