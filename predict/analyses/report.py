"""`python -m predict report`: one page that opens offline, with the numbers, the fits and where they come from."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.errors import UserError
from ladder.provenance import git_revision, versions
from ladder.rung import Target
from ladder.writing import write_json, write_text
from predict.analyses.backtest import backtest_figure, method_errors, split_table, task_table
from predict.analyses.variance import ladder_noise, variance_table
from predict.measured.ladder import Measured
from predict.methods import DEFAULT
from predict.methods.base import Method
from predict.methods.ensemble import FittedEnsemble
from predict.methods.fits import Fits, method_named
from predict.methods.paper import PAPER, FittedPaper, Paper, TaskLaw
from predict.show import command_line
from predict.show.plots import Shown, chained_figure, save, step1_figure, step2_figure
from predict.show.predictions import Answer, prediction_table
from predict.show.tables import Table, code, flags, significant, whole, words
from predict.show.words import note_texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with an image (base64 PNG), tables, and a sentence on how to read them."""

    title: str
    text: str
    image: str = ""
    tables: tuple[Table, ...] = ()


def write_report(data: Measured, target: Target, method: str, tasks: Sequence[str], directory: Path) -> Path:
    """Writes report.html, its plots (chained, step1, step2, backtest .png) and predictions.json into `directory`.

    Curves are the paper's laws, whose features every reader can check; crosses and bands are the method's predictions.

    Without task losses there are no curves to draw, and the plots of the steps are left out.

    Raises:
        UserError: as `predict_target`, or a directory that cannot be written.
    """
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file; give --output a directory")
    fits = Fits(data, target, tasks)
    answer = Answer(
        target=target, method=method, predictions=fits.predict_beside_paper(method), notes=fits.notes(method)
    )
    noise = variance_table(fits.below, ladder_noise(fits.below, fits.tasks))
    content = {
        "target": target,
        "method": method,
        "data": fits.below,
        "share": fits.share,
        "table": prediction_table(answer.predictions, f"Predictions for {target.name}"),
        "notes": answer.notes,
        "sections": [
            *_plots(fits, answer, directory),
            *_backtests(fits, directory),
            Section(title="Noise", text=NOISE, tables=(noise,)),
        ],
        "runs": _runs_table(fits.below),
        "versions": _versions(),
    }
    write_json(directory / "predictions.json", answer.to_json())
    path = directory / "report.html"
    write_text(path, _render(content))
    return path


CHAINED = (
    "Curves: the paper's two steps chained, one per size; dashed: a model of the target's size. Bars: 80% and 95%."
)
STEP1 = "Final loss of each run, and the fitted power law. The percentage is the error of the predicted loss."
STEP2 = (
    "Every checkpoint of every run, and the fitted sigmoid. The percentage is the error of step 2 given the true loss."
)
BACKTESTS = (
    "Smaller ladders inside this one predict its larger runs: the only test that a ladder can give before the target."
)
NOISE = "What a prediction could at best be compared with: how much values change between checkpoints and reruns."
FORMULAS = "Loss in the unit of the task's feature (bits per byte), N parameters, D tokens, accuracy in [0, 1]."


def _plots(fits: Fits, answer: Answer, directory: Path) -> list[Section]:
    """The steps of the method where it is one of the paper's with two of them, else those of `paper`."""
    name = answer.method if has_steps(method_named(answer.method)) else PAPER.name
    if not all(method_named(name).can_fit(fits.below, task) for task in fits.tasks):
        return []
    fitted = fits.fitted(name)
    if not isinstance(fitted, FittedPaper):
        return []
    target = fits.target
    steps: Shown = [(target, fits.predict(name))]
    chained = chained_figure(fitted, [(target, answer.predictions)], f"Accuracy from N and D ({target.name})")
    step1 = step1_figure(fitted, steps, f"Step 1: loss from N and D ({target.name})")
    step2 = step2_figure(fitted, steps, f"Step 2: accuracy from loss ({target.name})")
    return [
        _section("Accuracy from N and D", CHAINED, chained, directory / "chained.png"),
        _section("Step 1: loss from N and D", f"By method {name}. {STEP1}", step1, directory / "step1.png"),
        _section("Step 2: accuracy from loss", f"By method {name}. {STEP2}", step2, directory / "step2.png"),
        Section(title=f"Formulas fitted by method {name}", text=FORMULAS, tables=(_formulas(fitted.laws),)),
    ]


def has_steps(method: Method) -> bool:
    return isinstance(method, Paper) and method.feature is not None


def _backtests(fits: Fits, directory: Path) -> list[Section]:
    fitted = fits.fitted(DEFAULT)
    if not isinstance(fitted, FittedEnsemble) or not fitted.study.splits:
        return []
    study, tasks = fitted.study, fitted.asked
    methods = method_errors(fits.below, study, tasks)
    figure = backtest_figure(study, tasks, methods)
    tables = (split_table(study, tasks, methods), task_table(study, tasks, methods))
    return [_section("Back-tests", BACKTESTS, figure, directory / "backtest.png", tables)]


def _section(title: str, text: str, figure: Figure, path: Path, tables: tuple[Table, ...] = ()) -> Section:
    save(figure, path)
    return Section(title=title, text=text, image=base64.b64encode(path.read_bytes()).decode(), tables=tables)


def _formulas(laws: Sequence[TaskLaw]) -> Table:
    rows = tuple(
        (
            law.task.title,
            law.chain.step1.formula() if law.chain.step1 else None,
            law.chain.step2.formula(),
            note_texts(law.notes),
        )
        for law in laws
    )
    table = Table(title="", columns=(words("task"), code("step 1"), code("step 2"), flags()), rows=rows)
    return table.without_empty_columns()


def _render(content: dict[str, Any]) -> str:
    import jinja2

    folder = jinja2.FileSystemLoader(Path(__file__).parent.parent / "show" / "templates")
    environment = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("report.html").render(**content)


def _runs_table(data: Measured) -> Table:
    return Table(
        title="Rungs that were fitted",
        columns=(words("run"), whole("N", "parameters"), whole("D", "tokens"), significant("6ND FLOPs", 3, "FLOPs")),
        rows=tuple((run.name, run.n, run.d, run.compute) for run in data.rungs),
    )


def _versions() -> str:
    used = ", ".join(f"{name} {version}" for name, version in versions("numpy", "scipy", "pandas").items())
    return f"Model Ladder at {git_revision()}; {used}"


def main(argv: list[str]) -> None:
    options = command_line.parser("report", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_target(options)
    options.add_argument("--method", default="default", help="default, paper, or a variant of it")
    options.add_argument("--output", type=Path, default=Path("report"), metavar="DIR", help="where to write")
    known, overrides = command_line.parse(options, argv)
    method_named(known.method)
    data = command_line.data_of(known, overrides)
    path = write_report(data, command_line.target_of(known, data), known.method, known.tasks, known.output)
    print(f"wrote {path}")
