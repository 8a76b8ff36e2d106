"""The arrows between the packages, and what may not be imported where."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

MAY_IMPORT = {
    "model_ladder": {"ladder", "predict"},
    "ladder": set(),
    "train": {"ladder"},
    "evaluate": {"ladder"},
    "predict": {"ladder"},
}
# The one arrow between stages: train's entry point hands evaluate's hook to the trainer.
HOOK = ("train/__main__.py", "evaluate")


def imported_packages(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows(package: str) -> None:
    ours = {*MAY_IMPORT, "scripts", "tests", "conftest"}
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        extra = (imported_packages(path) & ours) - MAY_IMPORT[package] - {package}
        assert {(name, other) for other in extra} <= {HOOK}


# Rooms inside predict -> the modules of predict that they may import.
METHODS = {"predict.measured", "predict.fitting", "predict.methods", "predict.notes"}
INSIDE_PREDICT = {
    "measured": {"predict.measured", "predict.notes"},
    "fitting": {"predict.fitting"},
    "methods": METHODS,
    "show": METHODS | {"predict.show"},
    "analyses": METHODS | {"predict.show", "predict.analyses"},
    "reproduction": METHODS | {"predict.show", "predict.analyses", "predict.reproduction"},
}


def imported_modules(path: Path) -> set[str]:
    """`from a.b import c` gives a.b; what of it may be a module of its own counts as one."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom | ast.Import)]
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inside if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()}
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("room", INSIDE_PREDICT)
def test_arrows_inside_predict(room: str) -> None:
    files = list((ROOT / "predict" / room).glob("*.py"))
    assert files
    for path in files:
        ours = {name for name in imported_modules(path) if name.startswith("predict.")}
        strange = {name for name in ours if not any(name.startswith(known) for known in INSIDE_PREDICT[room])}
        assert not strange, f"{path.name} imports {strange}"


@pytest.mark.parametrize("package", ["ladder", "predict", "model_ladder"])
def test_loads_without_torch(package: str) -> None:
    modules = [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for path in (ROOT / package).rglob("*.py")
    ]
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_the_parts_of_ladder_import_one_way() -> None:
    """A part never imports, by whatever way round, one that imports it."""
    imports = {}
    for path in (ROOT / "ladder").glob("*.py"):
        names = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        imports[path.stem] = {name.removeprefix("ladder.") for name in names if name and name.startswith("ladder.")}
    assert list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError
