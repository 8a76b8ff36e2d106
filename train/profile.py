"""A trace of a few steps, for chrome://tracing or Perfetto (`profile=true`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule


class Profile:
    """Records steps 10 to 12 of this start (after caches and compilation) to `<run>/profile.json`."""

    def __init__(self, directory: Path, enabled: bool) -> None:
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
        path = str(directory / "profile.json")
        self._profile: Any = None
        if enabled:
            self._profile = profile(
                activities=activities,
                schedule=schedule(wait=8, warmup=1, active=3, repeat=1),
                on_trace_ready=lambda done: done.export_chrome_trace(path),
            )

    def __enter__(self) -> Profile:
        if self._profile is not None:
            self._profile.start()
        return self

    def step(self) -> None:
        if self._profile is not None:
            self._profile.step()

    def __exit__(self, *_: object) -> None:
        if self._profile is not None:
            self._profile.stop()
