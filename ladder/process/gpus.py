"""GPUs: which of this machine's may be used, how many a job was given, and whether torch sees them."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from typing import Any

from ladder.errors import UserError, shortened

GIVEN = "MODEL_LADDER_GPUS"
"""Whoever starts a job states in this variable how many GPUs each of its processes can see."""


def visible_gpus() -> list[str]:
    """CUDA devices that this process may use, by what CUDA_VISIBLE_DEVICES calls them; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    listed = [str(index) for index in range(sum(line.startswith("GPU ") for line in done.stdout.splitlines()))]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return listed
    words = itertools.takewhile(lambda word: word and not word.startswith("-"), visible.split(","))  # -1 hides all
    return list(words)[: len(listed)]


def given_gpus() -> int:
    """What the job's launcher stated, else what this machine has. Raises UserError where it is no number."""
    stated = os.environ.get(GIVEN)
    if stated is None:
        return len(visible_gpus())
    if not stated.isdecimal():
        raise UserError(f'{GIVEN}="{shortened(stated)}" must be the number of GPUs that each process can see')
    return int(stated)


def check_gpus(torch: Any) -> None:
    """Raises UserError where this process would compute on fewer GPUs than it was given, or on the CPU instead.

    Args:
        torch: the module, which `ladder/` does not import.
    """
    given = given_gpus()
    # torch counts devices even where its CUDA cannot use them.
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if given else 0
    if seen >= max(given, processes):
        return
    if seen >= given:
        raise UserError(f"{processes} processes were started here, where {given} GPUs are: start one for each")
    none = f"ask for none (cluster.gpus=0, or CUDA_VISIBLE_DEVICES= {GIVEN}=0 in front) to compute on the CPU"
    raise UserError(f"this job was given {given} GPUs and torch sees {seen}: {_why(torch, seen)}, or {none}")


def _why(torch: Any, seen: int) -> str:
    """What keeps torch from the GPUs, and what to do."""
    build = torch.version.cuda or torch.version.hip
    if build is None:
        return f"torch {torch.__version__} is built without CUDA; install the other build with make TORCH=cuda"
    if seen:
        return "see CUDA_VISIBLE_DEVICES and nvidia-smi on this machine"
    try:
        torch.cuda.init()
        reason = "it does not say why"
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())
    if "too old" in reason:
        return f"the driver is too old for torch {torch.__version__} (CUDA {build}); update it or take an older torch"
    return shortened(reason.split(". ")[0], 100)
