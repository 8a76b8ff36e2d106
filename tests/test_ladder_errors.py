"""A package that is not installed is one line that says what brings it."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT, assert_user_error

from ladder.command.running import TRAIN_EXTRA


def run_without(absent: str, stage: str, *words: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.modules[{absent!r}] = None\n"  # what Python has for a module that is not there
        f"from {stage}.__main__ import main\n"
        "from ladder.errors import run_command\n"
        "run_command(main)"
    )
    return subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ("torch", ("evaluate", "{checkpoint}")),
        ("submitit", ("ladder", "run", "--dry-run", "cluster=slurm", "ladder=nano")),
    ],
)
def test_what_the_training_extra_brings(absent: str, words: tuple[str, ...], tmp_path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    done = run_without(absent, *[word.format(checkpoint=tmp_path) for word in words])
    assert_user_error(done, f"{absent} is not installed", "pip install '.[train]'")


def test_what_another_distribution_brings(tmp_path) -> None:
    words = ["backtest", "--ladder", "tests", "--plot", str(tmp_path / "x.png")]
    assert_user_error(run_without("pandas", "predict", *words), "pandas is not installed", "pip install pandas")


def test_a_missing_module_of_our_own_stays_a_traceback() -> None:
    done = run_without("predict.analyses.backtest", "predict", "backtest")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_the_extra_is_the_one_that_pyproject_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {entry.split(">")[0] for entry in project["optional-dependencies"]["train"]}
    assert names == set(TRAIN_EXTRA)
