"""A ladder on a machine that is lent for minutes: packed here, trained there in two calls, unpacked here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT, assert_user_error
from held import HANG_SECONDS, Hold

PARTS = ("configs", "ladder", "train", "evaluate", "predict", "scripts")
WORDS = ("ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32", "data.directory=data/tiny")


def machine(path: Path) -> Path:
    """A checkout of its own, as on another machine."""
    for part in PARTS:
        shutil.copytree(ROOT / part, path / part, ignore=shutil.ignore_patterns("__pycache__"))
    return path


def leased(machine: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MODEL_LADDER_CACHE": str(machine / "cache")}
    command = [sys.executable, "scripts/leased_gpu.py", *words]
    return subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)


def carry(name: str, here: Path, there: Path) -> None:
    (there / "leased").mkdir(exist_ok=True)
    shutil.copy(here / "leased" / name, there / "leased" / name)


def hold_trainings(machine: Path, hold: Hold) -> None:
    """What trains on that machine waits where `hold` says."""
    with (machine / "train" / "trainer.py").open("a") as file:
        file.write(f"""
import sys
from pathlib import Path
sys.path.append({str(ROOT / "tests")!r})
import held
held.hold_trainings(held.Hold(Path({str(hold.directory)!r})))
""")


@pytest.mark.slow
def test_a_ladder_on_a_leased_machine(tmp_path: Path, corpus: Path, hold: Hold) -> None:
    here, there, later = (machine(tmp_path / name) for name in ("here", "there", "later"))
    hold_trainings(there, hold)
    hold.at("n0-1xC", 100)  # so that the time is up first, on any machine
    shutil.copytree(corpus, here / "data" / "tiny")
    rung = (*WORDS, "rung=n0-1xC")
    packed = leased(here, "pack", *WORDS)
    assert packed.returncode == 0, packed.stderr
    carry("bundle.tar.xz", here, there)

    stopped = leased(there, "run", "--seconds", "67", *rung)  # 60 of them to save and pack
    assert "the time is up" in stopped.stdout, stopped.stdout + stopped.stderr
    assert "finished: none" in stopped.stdout
    hold.release("n0-1xC")
    assert (there / "leased" / "site" / "hydra" / "conf").is_dir()
    done = leased(there, "run", "--seconds", "300", *rung)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "finished: n0-1xC" in done.stdout

    carry("results.tar.xz", there, here)
    assert leased(here, "unpack", "leased/results.tar.xz").returncode == 0
    run = here / "runs" / "nano" / "n0-1xC"
    assert sorted(path.name for path in (run / "metrics").iterdir()) == sorted(
        path.name for path in (there / "runs" / "nano" / "n0-1xC" / "metrics").glob("*.json")
    )
    assert not (run / "checkpoints").exists()
    status = subprocess.run([sys.executable, "-m", "ladder", "status", *rung], cwd=here, capture_output=True, text=True)
    assert status.returncode == 0 and " done " in status.stdout, status.stdout + status.stderr
    again = leased(here, "unpack", "leased/results.tar.xz")
    assert "is here already" in again.stdout

    assert leased(here, "pack", *WORDS).returncode == 0  # now with what is finished
    carry("bundle.tar.xz", here, later)
    nothing = leased(later, "run", "--seconds", "300", *rung)
    assert nothing.returncode == 0 and "1 of 1 runs are already done" in nothing.stdout, nothing.stdout + nothing.stderr
    assert not list(later.rglob("*.safetensors"))


def test_bad_bundles_and_results(tmp_path: Path, corpus: Path) -> None:
    there = machine(tmp_path / "there")
    assert_user_error(leased(there, "run", *WORDS), "bundle.tar.xz cannot be unpacked", "pack")
    (there / "leased").mkdir()
    (there / "leased" / "bundle.tar.xz").write_bytes(b"\xfd7zXZ\x00 and no more")
    assert_user_error(leased(there, "run", *WORDS), "bundle.tar.xz cannot be unpacked")
    with tarfile.open(there / "whole.tar.xz", "w:xz") as archive:
        archive.add(there / "scripts")
    (there / "half.tar.xz").write_bytes((there / "whole.tar.xz").read_bytes()[:2000])
    assert_user_error(leased(there, "unpack", "half.tar.xz"), "half.tar.xz cannot be unpacked")
    assert not list(there.glob(".unpacking-*"))
    outside = leased(there, "pack", *WORDS[:3], f"data.directory={corpus}")
    assert_user_error(outside, f"{corpus} lies outside", "prepare the data in data/")
