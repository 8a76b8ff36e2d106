"""`make` sets the environment up: which Python, which build of torch, and what it says where that cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

# Stands for Python: writes down what it is asked to run. It has no torch, and makes an environment of itself.
PYTHON = """#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
*"import torch"*) exit 1 ;;
"-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
-V) echo "Python 3.12.4" ;;
esac
"""
OLD = """#!/bin/sh
[ "$1" = -V ] && echo "Python 3.9.1" || exit 1
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and the script, and `bin/` with programs that stand for those of a machine."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("Makefile", "pyproject.toml", "setup.py", "scripts/setup.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name, text in (("python3.13", PYTHON), ("oldpython", OLD), *[(n, "exit 1\n") for n in ("sinfo", "nvidia-smi")]):
        write_program(tmp_path, name, text)
    return tmp_path


def write_program(checkout: Path, name: str, text: str) -> None:
    path = checkout / "bin" / name
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "LOG": str(checkout / "log")}
    return subprocess.run(["make", "setup", *words], cwd=checkout, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("PYTHON=/nowhere/python3.12", "PYTHON=/nowhere/python3.12: there is no such program"),
        ("PYTHON=oldpython", "PYTHON=oldpython is Python 3.9.1; Python 3.11, 3.12 or 3.13 is needed"),
        ("TORCH=rocm", "TORCH=rocm: either cpu or cuda"),
    ],
)
def test_a_choice_that_cannot_be_is_one_line(checkout: Path, word: str, message: str, ready: bool) -> None:
    if ready:
        assert make(checkout).returncode == 0
    done = make(checkout, word)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == f"error: {message}"


@pytest.mark.parametrize(
    ("there", "words", "build"),
    [
        ("", (), "cpu"),
        ("nvidia-smi", (), "cuda"),
        ("sinfo", (), "cuda"),  # a login node, without a GPU
        ("sinfo", ("TORCH=cpu",), "cpu"),
        ("", ("TORCH=cuda",), "cuda"),
    ],
)
def test_the_build_of_torch(checkout: Path, there: str, words: tuple[str, ...], build: str) -> None:
    if there:
        write_program(checkout, there, "exit 0\n")
    done = make(checkout, *words)
    assert done.returncode == 0, done.stderr
    (installed,) = [
        line for line in (checkout / "log").read_text().splitlines() if " install " in line and "torch" in line
    ]
    assert ("download.pytorch.org/whl/cpu" in installed) == (build == "cpu")
    assert ("torch>=2.11,<2.15" in installed) == (build == "cuda")
    assert "the build for " + build in done.stdout


def test_what_is_there_is_left_until_another_is_asked_for(checkout: Path) -> None:
    assert make(checkout).returncode == 0
    before = (checkout / "log").read_text()
    assert make(checkout).returncode == 0
    assert (checkout / "log").read_text() == before
    assert make(checkout, "TORCH=cuda").returncode == 0
    assert "torch>=2.11,<2.15" in (checkout / "log").read_text()
