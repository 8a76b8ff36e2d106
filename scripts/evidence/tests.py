"""Stage `tests`: `pytest -m gpu`, a row for each test."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leased_gpu import ROOT

FILES = ("tests/test_train_on_gpu.py", "tests/test_evaluate_gpu.py")


def rows(tiny: bool, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """File after file, so that a cut keeps those that are done."""
    for name in FILES:
        with tempfile.TemporaryDirectory() as scratch:
            report = Path(scratch) / "report.xml"
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-n0",
                "-m",
                "gpu",
                "--durations=5",
                f"--junitxml={report}",
                name,
            ]
            done = subprocess.run(command, cwd=ROOT)
            if not report.exists():
                yield {"file": name, "state": "failed", "reason": f"pytest ended with {done.returncode}"}
                continue
            for case in ElementTree.parse(report).iter("testcase"):
                yield {"file": name, "test": case.get("name"), "seconds": float(case.get("time", 0)), **_end(case)}


def _end(case: ElementTree.Element) -> dict[str, str]:
    for kind in ("failure", "error", "skipped"):
        if (found := case.find(kind)) is not None:
            return {"state": kind, "reason": (found.get("message") or "")[:500]}
    return {"state": "passed"}
