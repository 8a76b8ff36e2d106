"""`report.html` and its plots: one file that opens offline, with the numbers, the fits and where they come from."""

from __future__ import annotations

import base64
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ladder.errors import UserError
from ladder.files import write_text
from ladder.rung import Target
from predict.ladders import LadderData
from predict.plots import chained_figure, save, step1_figure, step2_figure
from predict.predictor import fit_laws, predict_target
from predict.tables import Table, prediction_table

PLOTS = (
    ("chained", "Accuracy from N and D", chained_figure),
    ("step1", "Step 1: loss from N and D", step1_figure),
    ("step2", "Step 2: accuracy from loss", step2_figure),
)


def write_plots(data: LadderData, target: Target, method: str, tasks: Sequence[str], directory: Path) -> list[Path]:
    """Writes step1.png, step2.png and chained.png for a ladder, a target and a method of the paper."""
    below = data.below(target)
    laws = fit_laws(below, method, below.tasks(tasks))
    predictions = predict_target(data, target, method, tasks)
    paths = []
    for name, _, draw in PLOTS:
        path = directory / f"{name}.png"
        save(draw(below, laws, predictions, target, method), path)
        paths.append(path)
    return paths


def write_report(data: LadderData, target: Target, method: str, tasks: Sequence[str], directory: Path) -> Path:
    """Writes the plots and report.html into `directory`, and returns the path of the report."""
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file; give --output a directory")
    images = write_plots(data, target, method, tasks, directory)
    below = data.below(target)
    laws = fit_laws(below, method, below.tasks(tasks))
    formulas = Table(
        title="Fitted formulas",
        headers=("task", "step 1", "step 2"),
        rows=tuple((law.task.title, law.step1.formula() if law.step1 else "", law.step2.formula()) for law in laws),
    )
    content = {
        "target": target,
        "method": method,
        "data": below,
        "share": sum(run.compute for run in below.rungs) / target.flops_6nd,
        "table": prediction_table(predict_target(data, target, method, tasks), f"Predictions for {target.name}"),
        "formulas": formulas,
        "plots": [
            (title, base64.b64encode(path.read_bytes()).decode())
            for path, (_, title, _) in zip(images, PLOTS, strict=True)
        ],
        "runs": _runs_table(below),
        "versions": _versions(),
    }
    path = directory / "report.html"
    write_text(path, _render(content))
    return path


def _render(content: dict[str, Any]) -> str:
    import jinja2

    folder = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("report.html").render(**content)


def _runs_table(data: LadderData) -> Table:
    return Table(
        title="Rungs that were fitted",
        headers=("run", "N", "D", "6ND FLOPs"),
        rows=tuple((run.name, f"{run.n:,.0f}", f"{run.d:,.0f}", f"{run.compute:.3g}") for run in data.rungs),
    )


def _versions() -> str:
    import numpy
    import scipy

    return f"Python {platform.python_version()}, NumPy {numpy.__version__}, SciPy {scipy.__version__}"
