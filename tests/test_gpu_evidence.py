"""The one call on a GPU, rehearsed without one: on a machine that lacks the packages which PyTorch's images lack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import ROOT, assert_user_error
from held import HANG_SECONDS, wait_until
from test_leased_gpu import WORDS, carry, leased, machine

sys.path.append(str(ROOT / "scripts"))
from evidence.tests import ended_tests
from gpu_evidence import ended_within

LACKING = {
    *("hydra", "omegaconf", "antlr4", "submitit", "wandb", "datasets"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection"),
}
# Hides packages of this environment, but not where they came with the bundle.
HIDING = f"""
import sys
from importlib.machinery import PathFinder

class Rest(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in {LACKING!r}:
            path = [entry for entry in sys.path if entry.endswith("leased/site")]
        return PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Rest if finder is PathFinder else finder for finder in sys.meta_path]
"""


def evidence(place: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/gpu_evidence.py", "--tiny", "--output", "out", *words]
    return subprocess.run(
        command, cwd=place, env=os.environ | environment, capture_output=True, text=True, timeout=HANG_SECONDS
    )


@pytest.mark.slow
def test_the_whole_call(tmp_path: Path, corpus: Path) -> None:
    here, there = (machine(tmp_path / name) for name in ("here", "there"))
    shutil.copytree(corpus, here / "data" / "tiny")
    packed = leased(here, "pack", *WORDS)
    assert packed.returncode == 0, packed.stderr
    carry("bundle.tar.xz", here, there)
    shutil.copytree(ROOT / "tests", there / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", there)
    (tmp_path / "hiding").mkdir()
    (tmp_path / "hiding" / "sitecustomize.py").write_text(HIDING)
    hiding = str(tmp_path / "hiding")
    lacking = subprocess.run(
        [sys.executable, "-c", "import hydra"], env=os.environ | {"PYTHONPATH": hiding}, capture_output=True
    )
    assert b"No module named 'hydra'" in lacking.stderr

    done = evidence(there, "--deadline", str(HANG_SECONDS), *WORDS, "rung=n0-1xC", PYTHONPATH=hiding)
    log = (there / "out" / "log.txt").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    files = {path.name for path in (there / "out").iterdir()}
    stages = ("machine", "tests", "training", "evaluation", "runs")
    assert files == {"log.txt", "summary.json", *(f"{stage}.json" for stage in stages)}
    assert len(files) <= 8  # as many as come back from a lent machine
    rows = {f"{stage}.json": json.loads((there / "out" / f"{stage}.json").read_text())["rows"] for stage in stages}
    assert {row["what"] for row in rows["training.json"]} == {"attention", "loss", "training"}
    assert not [row for stage in stages for row in rows[f"{stage}.json"] if "error" in row]
    ways = [row for row in rows["evaluation.json"] if row["what"] == "evaluation"]
    assert [row["way"] for row in ways][:2] == ["flex", "masked"] and ways[1]["largest_difference"] < 1e-4
    assert rows["tests.json"] and {row["state"] for row in rows["tests.json"]} <= {"skipped", "passed"}
    (run,) = [row for row in rows["runs.json"] if row["what"] == "run"]
    assert run["last"]["step"] == run["total_steps"] and run["measured"] and run["end"]["error"] is None


def test_what_no_time_is_left_for_is_skipped(tmp_path: Path) -> None:
    done = evidence(ROOT, "--output", str(tmp_path), "--deadline", "8")
    assert done.returncode == 1, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == ["machine", "tests", "training", "evaluation", "runs"]
    assert summary["machine"] == {"state": "skipped", "reason": "4 s left, it needs 10"}
    assert_user_error(evidence(ROOT, "--stages", "trainings"), 'unknown stage "trainings"; did you mean "training"?')


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("", "done"),
        ("raise SystemExit(3)", "failed"),
        ("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(10**6)", "cut short"),
    ],
)
def test_a_stage_ends_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, state: str) -> None:
    monkeypatch.setattr("gpu_evidence.ENDING_SECONDS", 0.1)
    limit = 1 if state == "cut short" else HANG_SECONDS
    with (tmp_path / "log").open("wb") as log:
        assert ended_within(limit, [sys.executable, "-c", code], log)["state"] == state


def test_each_test_has_a_row_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "test_some.py"
    file.write_text("""
import pytest
pytestmark = pytest.mark.gpu
def test_good(): pass
def test_bad(): assert 1 == 2
def test_absent(): pytest.skip("no device")
def test_worst(): import os; os._exit(7)
""")
    rows = list(ended_tests(str(file), tmp_path / "rows"))
    assert [row["state"] for row in rows] == ["passed", "failed", "skipped", "failed"]
    assert "assert 1 == 2" in rows[1]["reason"] and "no device" in rows[2]["reason"]
    assert rows[3] == {"file": str(file), "state": "failed", "reason": "pytest ended with 7"}


@pytest.mark.parametrize("cut", [False, True])
def test_what_a_stage_started_ends_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut: bool) -> None:
    child = tmp_path / "child"
    sleeping = (
        f"import subprocess; p = subprocess.Popen(['sleep', '9999']); print(p.pid, file=open({str(child)!r}, 'w'))"
    )
    wait = subprocess.Popen.wait
    waits: list[float | None] = []

    def wait_until_there(self: Any, timeout: float | None = None) -> int:
        waits.append(timeout)
        if cut and len(waits) == 1:
            wait_until(lambda: child.exists() and child.read_text().endswith("\n"))
            raise subprocess.TimeoutExpired("", 0)
        return wait(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait_until_there)
    with (tmp_path / "log").open("wb") as log:
        code = sleeping + ("; import time; time.sleep(10**6)" if cut else "")
        assert ended_within(HANG_SECONDS, [sys.executable, "-c", code], log)["state"] == (
            "cut short" if cut else "done"
        )
    pid = int(child.read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
