"""The arrows between the packages, and what may not be imported where."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from predict.__main__ import VERBS

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


# Each package's rooms in their order: a room imports itself, earlier ones, and the package's modules that precede all.
# Modules beside the rooms that are not named here may import every room of their package.
ROOMS = {
    "ladder": (
        ("errors", "words"),
        ("process", "files", "records", "rungs", "config", "runs", "check", "jobs", "command"),
    ),
    "evaluate": ((), ("tokens", "tasks", "models", "scoring", "results")),
    "predict": (("notes",), ("measured", "fitting", "methods", "show", "analyses", "reproduction")),
}
# Fitting knows arrays alone.
STRICTER = {("predict", "fitting"): set()}


def imported_modules(path: Path, *, types: bool = True) -> set[str]:
    """`from a.b import c` gives a.b; what of it may be a module of its own counts as one.

    Without `types`, none that stands below `if TYPE_CHECKING`.
    """
    tree = ast.parse(path.read_text())
    for branch in ast.walk(tree):
        if not types and isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING":
            branch.body = [ast.Pass()]
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Import)]
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inside if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()}
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize(("package", "room"), [(package, room) for package in ROOMS for room in ROOMS[package][1]])
def test_arrows_between_rooms(package: str, room: str) -> None:
    first, rooms = ROOMS[package]
    earlier = STRICTER.get((package, room), {*first, *rooms[: rooms.index(room)]})
    files = list((ROOT / package / room).glob("*.py"))
    assert files
    for path in files:
        inside = {name.split(".")[1] for name in imported_modules(path) if name.startswith(f"{package}.")}
        assert inside <= {room, *earlier}, f"{path.name} imports {inside - {room, *earlier}}"


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_has_its_place(package: str) -> None:
    found = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert found == set(ROOMS[package][1])


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_modules_import_one_way(package: str) -> None:
    """A module never imports, by whatever way round, one that imports it."""
    imports = {}
    for path in (ROOT / package).rglob("*.py"):
        name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        imports[name.removesuffix(".__init__")] = {
            other
            for other in imported_modules(path, types=False)
            if (ROOT / other.replace(".", "/")).with_suffix(".py").exists()
        }
    assert list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError


@pytest.mark.parametrize("package", ["ladder", "predict", "model_ladder"])
def test_loads_without_torch(package: str) -> None:
    modules = [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for path in (ROOT / package).rglob("*.py")
    ]
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("package", ["ladder", "train", "evaluate", "predict"])
def test_the_map_names_every_file(package: str) -> None:
    """ARCHITECTURE.md does, and no other; `python -m predict --help` names the verbs."""
    section = (ROOT / "ARCHITECTURE.md").read_text().split(f"\n## {package}/\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`(?:[a-z_]+/)*([a-z_0-9]+)\.py`", section))
    files = {folder: {path.stem for path in (ROOT / folder).rglob("*.py")} for folder in (package, "scripts")}
    verbs = {verb.module.rpartition(".")[2] for verb in VERBS.values()} if package == "predict" else set()
    assert named <= files[package] | files["scripts"]
    assert files[package] - named <= verbs | {"__init__", "__main__"}
