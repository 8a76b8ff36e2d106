"""Stage `tests`: `pytest -m gpu`, a row for each test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leased_gpu import ROOT

from evidence.each_test import FILE

FILES = ("tests/test_train_on_gpu.py", "tests/test_evaluate_gpu.py")


def rows(tiny: bool, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each file in a process of its own: an error of the device ends no more than that."""
    for name in FILES:
        with tempfile.TemporaryDirectory() as scratch:
            yield from ended_tests(name, Path(scratch) / "rows.jsonl")


def ended_tests(name: str, report: Path) -> Iterator[dict[str, Any]]:
    """As they end, so that a cut keeps those that are done."""
    report.touch()
    paths = os.pathsep.join([str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")])
    words = ["-n0", "-m", "gpu", "--durations=5", "-p", "evidence.each_test", name]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, env=os.environ | {FILE: str(report), "PYTHONPATH": paths}
    )
    with report.open() as lines:
        ended = False
        while not ended:
            ended = process.poll() is not None  # what it wrote is read once more
            yield from map(json.loads, lines)
            time.sleep(0.2)
    if process.returncode > 1:  # 1: tests failed, and said so
        yield {"file": name, "state": "failed", "reason": f"pytest ended with {process.returncode}"}
