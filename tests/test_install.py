"""The wheel: what it holds, and that it runs beside other projects' packages of the same names."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, assert_user_error
from simulated_ladder import ACCURACY, LOSS, simulated, write

PACKAGES = ("ladder", "train", "evaluate", "predict")
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "scripts/prepare_data.py")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built without a network from a copy of the checkout."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for name in (*PACKAGES, "configs", "model_ladder", "scripts/preparing"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    stale = copy / "build" / "lib" / "model_ladder" / "_packages" / "gone.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    pip = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir"]
    done = subprocess.run([*pip, str(built), "."], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "site")
    return built / "site"


@pytest.fixture
def installed(site: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `model-ladder WORD …` where every one of our names is another project's, which cannot be imported."""
    others = tmp_path / "others"
    for name in PACKAGES:
        (others / name).mkdir(parents=True)
        (others / name / "__init__.py").write_text(f"raise ImportError('{name} of another project')\n")
    environment = os.environ | {"PYTHONPATH": f"{others}{os.pathsep}{site}"}

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "model_ladder", *words],
            cwd=tmp_path, env=environment | more, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return run


def test_the_wheel_holds_one_package_with_everything_inside(site: Path) -> None:
    (metadata,) = site.glob("*.dist-info")
    assert {path.name for path in site.iterdir()} == {"model_ladder", metadata.name}
    assert "model-ladder = model_ladder.__main__:main" in (metadata / "entry_points.txt").read_text()
    private = site / "model_ladder" / "_packages"
    for name in (*PACKAGES, "configs"):
        there = {
            path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*.*") if "__pycache__" not in path.parts
        }
        assert {path.relative_to(private / name) for path in (private / name).rglob("*.*")} == there
    assert not (private / "gone.py").exists()
    assert (site / "model_ladder" / "py.typed").exists()


def test_no_module_of_the_wheel_imports_or_names_what_is_not_there(site: Path) -> None:
    for path in site.rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & set(PACKAGES), f"{path}: {names}"
        assert not [name for name in PACKAGES if f"python -m {name}" in text], path


def test_the_base_install_needs_no_package_of_the_training_extra(site: Path) -> None:
    (metadata,) = site.glob("*.dist-info/METADATA")
    needs = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist: ")]
    base = [line for line in needs if "extra ==" not in line]
    assert any(" numpy" in line for line in base)
    assert not [line for line in base for name in ("torch", "transformers", "wandb") if f" {name}" in line]
    assert any(" torch<2.15,>=2.11" in line and "train" in line for line in needs)


def test_the_installed_command_predicts_beside_another_evaluate(installed, command) -> None:
    done = installed("predict", "--target", "13B-5T", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(command("-m", "predict", "--target", "13B-5T", "--json").stdout)
    assert installed("predict", "backtest", "--help").stdout.startswith("usage: model-ladder predict backtest")
    assert_user_error(installed("predikt"), 'unknown verb "predikt"; did you mean "predict"?')
    assert_user_error(installed("ladder", "plan", "--watch"), "belongs to model-ladder ladder status")


def test_the_installed_command_starts_its_stages_as_processes_of_its_own(
    installed, corpus: Path, tmp_path: Path
) -> None:
    words = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32", f"data.directory={corpus}"]
    # A training that fails, since a whole one takes longer: what it says has come through the job and the launcher.
    (tmp_path / "runs" / "nano" / "n0-1xC").mkdir(parents=True)
    (tmp_path / "runs" / "nano" / "n0-1xC" / "checkpoints").write_text("in the way")
    done = installed("ladder", "run", *words, "--sizes", "n0", "--multiples", "1")
    assert_user_error(done, "n0-1xC", "output.txt ends with", "cannot write", "checkpoints")


def test_the_installed_api_predicts_beside_other_packages_of_our_names(site: Path, tmp_path: Path) -> None:
    for name in PACKAGES:  # as a notebook's own modules, ahead of everything that is installed
        (tmp_path / f"{name}.py").write_text("whose = 'theirs'\n")
    write(tmp_path / "mine.csv", simulated())
    code = (
        "import sys; path, finders = list(sys.path), list(sys.meta_path)\n"
        "import model_ladder as ml\n"
        "found = ml.predict(ml.read('mine.csv', sizes=['190M', '370M', '760M', '1.3B']), n=7e9, d=2.8e12)\n"
        "import evaluate, ladder, predict, train\n"
        "assert evaluate.whose == ladder.whose == predict.whose == train.whose == 'theirs'\n"
        "assert (sys.path, sys.meta_path) == (path, finders)\n"
        "print(f'{found.accuracy[\"quiz\"]:.3f}')"
    )
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(ACCURACY(float(LOSS(7e9, 2.8e12)))), abs=0.06)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("model-ladder pre", {"predict", "prepare"}),
        ("model-ladder predict backtest --ta", {"--tasks "}),
        ("model-ladder predict --target 7", {"7B-4T "}),
        ("model-ladder ladder plan ladder=o", {"ladder=olmo2 "}),
    ],
)
def test_completion(installed, tmp_path: Path, line: str, expected: set[str]) -> None:
    answer = tmp_path / "answer"
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n"}
    installed(**asked, _ARGCOMPLETE_SHELL="bash", _ARGCOMPLETE_STDOUT_FILENAME=str(answer))
    assert set(answer.read_text().split("\n")) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_code_that_a_shell_sources(installed, shell: str) -> None:
    done = installed("completion", shell)
    assert done.returncode == 0
    assert "model-ladder" in done.stdout


def test_results_name_the_commit_or_the_version_that_was_installed(site: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(site, tmp_path / "project" / "site")  # in an environment inside somebody's repository
    subprocess.run(["git", "init", "-q", str(tmp_path / "project")], check=True)
    code = (
        "from model_ladder._packages.ladder.process.provenance import git_diff, git_revision; "
        "print(git_revision(), git_diff())"
    )

    def revision() -> str:
        done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert revision() == "model-ladder 0.1.0"
    (metadata,) = copy.glob("*.dist-info")
    (metadata / "direct_url.json").write_text('{"url": "x", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}}')
    assert revision() == "0123abc"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, "model-ladder[train]"),
        ({"url": "file:///src", "dir_info": {}}, "model-ladder[train] @ file:///src"),
        ({"url": "https://x/y", "vcs_info": {"vcs": "git"}}, "model-ladder[train] @ git+https://x/y"),
    ],
)
def test_what_is_absent_is_asked_for_from_where_the_tool_came(
    site: Path, tmp_path: Path, origin: dict | None, expected: str
) -> None:
    copy = shutil.copytree(site, tmp_path / "site")
    (metadata,) = copy.glob("*.dist-info")
    (metadata / "direct_url.json").unlink(missing_ok=True)
    if origin:
        (metadata / "direct_url.json").write_text(json.dumps(origin))
    code = "from model_ladder._packages.ladder.process.provenance import requirement; print(requirement('train'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr
