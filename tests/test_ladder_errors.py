"""An error is one line: a package that is not installed says what brings it, a long message keeps its names."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT, assert_user_error

from ladder.command.running import TRAIN_EXTRA
from ladder.errors import UserError, shortened


def run_without(absent: str, stage: str, *words: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.modules[{absent!r}] = None\n"  # what Python has for a module that is not there
        f"from {stage}.__main__ import main\n"
        "from ladder.command.running import run_command\n"
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


TABLE = "import sys; from ladder.command.running import run_command; run_command(lambda argv: print('a ± b…') or 3)"


@pytest.mark.parametrize(
    ("shell", "code", "shown"),
    [
        ("PYTHONIOENCODING=ascii {python} -c {code}", 3, "a ? b?\n"),
        ("{python} -c {code} >&-", 3, ""),
        ("{python} -c {code} >&- 2>&-", 3, ""),
    ],
)
def test_an_output_that_is_closed_or_knows_few_letters(shell: str, code: int, shown: str) -> None:
    line = shell.format(python=shlex.quote(sys.executable), code=shlex.quote(TABLE))
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, shown, "")


def test_a_current_directory_that_is_gone(tmp_path) -> None:
    code = "import os; from ladder.command.running import run_command; run_command(lambda argv: os.getcwd() and 0)"
    line = f"mkdir gone && cd gone && rmdir ../gone && {shlex.quote(sys.executable)} -c {shlex.quote(code)}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert_user_error(done, "the current directory is gone; change to one that is there")


def test_names_of_files_and_keys_survive_where_a_message_is_shortened() -> None:
    folder = "/scratch/" + "/".join(f"a-folder-of-a-long-path-{number}" for number in range(8))
    keys = [f"ladder.recipe.some_long_key_{number}" for number in range(4)]
    listed = "; ".join(f"{key}: 128 there, and something quite different now" for key in keys)
    said = str(UserError(f"{folder}/measurements-2026.csv was begun otherwise ({listed}); remove {folder}/run.json"))
    assert len(said) <= 290 and said.startswith("/scratch/") and "…" in said
    assert "/measurements-2026.csv was" in said and said.endswith("/run.json")
    assert all(key in said for key in keys)
    assert len(str(UserError("x" * 100_000))) <= 290 and len(str(UserError("x y.z " * 100_000))) <= 290
    assert str(UserError("a short one: " + "b" * 100)) == "a short one: " + "b" * 100


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("/one/two/three/four/five/a-long-name.yaml", 30, "/one/…/five/a-long-name.yaml"),
        ("alpha, beta, gamma, delta, epsilon, zeta, eta", 33, "alpha, beta, gamma, …, zeta, eta"),
        ("x" * 50, 20, "xxxxxxxxxxxxx…xxxxxx"),
        ("as it is", 8, "as it is"),
    ],
)
def test_what_is_quoted_is_cut_between_names(text: str, most: int, short: str) -> None:
    assert shortened(text, most) == short


def test_a_missing_module_of_our_own_stays_a_traceback() -> None:
    done = run_without("predict.analyses.backtest", "predict", "backtest")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_the_extra_is_the_one_that_pyproject_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {entry.split(">")[0] for entry in project["optional-dependencies"]["train"]}
    assert names == set(TRAIN_EXTRA)
