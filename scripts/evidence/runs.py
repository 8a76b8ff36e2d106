"""Stage `runs`: `python -m ladder run` of small rungs from start to measurements, ended in time; a row for each run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from leased_gpu import ROOT

from ladder.command.arguments import split_overrides
from ladder.config.config import load_config
from ladder.config.data import check_data
from ladder.errors import UserError
from ladder.runs.history import read_history
from ladder.runs.rundir import find_runs

SAVING_SECONDS = 20


def rows(tiny: bool, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    seconds = float(os.environ["EVIDENCE_SECONDS"]) - SAVING_SECONDS
    configured = [word for word in words if "=" in word]
    config = load_config(split_overrides(configured))
    try:
        check_data(config.data, config.ladder.build().rungs[:1])
    except UserError as error:
        yield {"what": "runs", "skipped": str(error)}
        return
    started = time.monotonic()
    launcher = subprocess.Popen([sys.executable, "-m", "ladder", "run", *words], cwd=ROOT)
    try:
        code = launcher.wait(max(1.0, seconds))
    except subprocess.TimeoutExpired:
        launcher.send_signal(signal.SIGTERM)  # trainings save
        code = launcher.wait()
    yield {"what": "runs", "words": list(words), "exit_code": code, "seconds": time.monotonic() - started}
    for run in find_runs(config.directory) if config.directory.is_dir() else []:
        lines = run.log_file.read_text().splitlines() if run.log_file.exists() else []
        history = read_history(run)
        yield {
            "what": "run",
            "run": run.name,
            "total_steps": run.record().total_steps,
            "last": json.loads(lines[-1]) if lines else None,
            "measured": len(run.measured_steps()),
            "start": history.start,
            "end": history.end,
        }
