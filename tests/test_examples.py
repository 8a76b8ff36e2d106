"""The notebooks in `examples/` run from start to end, and show what they say they show."""

from __future__ import annotations

import os
from pathlib import Path

import nbclient
import nbformat
import pytest
from conftest import ROOT


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "examples" / "ladder.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # it is kept without what it printed
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "stream"]  # nor any warning
    kinds = [kind for output in outputs if "data" in output for kind in output.data]
    assert kinds.count("text/html") >= 7 and kinds.count("image/png") == 1
