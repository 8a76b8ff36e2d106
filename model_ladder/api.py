"""The names of `import model_ladder`: a ladder read, a model predicted from it, back-tests, two ladders compared."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ladder.config.config import ladder_from_config, load_config
from ladder.config.config_files import load_target
from ladder.errors import UserError
from ladder.rungs.rung import Target
from model_ladder import arguments
from predict.analyses.backtest import backtest_plot, loss_backtests, method_errors, split_table, studied, task_table
from predict.analyses.compare import compare as compare_ladders
from predict.analyses.compare import comparison_plot, comparison_table
from predict.measured.counts import short_number
from predict.measured.ladder import Measured
from predict.measured.load import load_frame, load_ladder
from predict.methods import DEFAULT
from predict.methods.base import Prediction
from predict.methods.fits import Fits
from predict.show.law_plots import losses_plot
from predict.show.predictions import Answer as Predicted
from predict.show.tables import Table
from predict.show.verdicts import flag_texts, loss_numbers, prediction_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Answer(pd.DataFrame):
    """Numbers as an ordinary DataFrame, which a notebook shows as the tables that the command line prints.

    What is selected from it or computed with it is a plain DataFrame.
    """

    _metadata = ["tables", "_draw"]  # noqa: RUF012 (pandas reads this name)

    tables: tuple[Table, ...]
    _draw: Callable[[], Figure]

    @classmethod
    def of(cls, frame: pd.DataFrame, tables: Sequence[Table], draw: Callable[[], Figure]) -> Answer:
        answer = cls(frame)
        answer.tables, answer._draw = tuple(tables), draw
        return answer

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    @property
    def notes(self) -> list[str]:
        """What the numbers rest on, and what limits them."""
        return [note for table in self.tables for note in (*table.footnotes, *table.notes)]

    def figure(self) -> Figure:
        """The numbers as a figure, which a notebook shows; `figure.savefig(path)` keeps it."""
        import matplotlib

        with matplotlib.rc_context():
            figure = self._draw()
        vars(figure)["_repr_png_"] = lambda: _png(figure)  # a notebook asks for it, whatever the backend
        return figure

    def _repr_html_(self) -> str:
        return "".join(map(_html, self.tables))


def read(
    source: pd.DataFrame | str | Path,
    *,
    sizes: Sequence[str] = (),
    multiples: Sequence[float] = (),
    corpus: str | None = None,
    mapping: str | Path | None = None,
) -> Measured:
    """A ladder's measurements.

    Args:
        source: a DataFrame with one row a value (columns run, n, d or tokens, task, metric, value, and more:
            `predict.measured.table`), or all that `model-ladder predict --ladder` takes: a directory of runs, a CSV or
            Parquet file, AI2's folder, results of lm-evaluation-harness, a W&B project.
        sizes: only these, such as ["190M", "370M"].
        multiples: only these Chinchilla multiples, such as [1, 2, 5].
        corpus: which ladder of a table that holds several.
        mapping: a YAML file that explains the columns of a table in other words.

    Raises:
        UserError: nothing is there, or what is there is wrong or too little; its message is one line.
    """
    sizes, multiples = arguments.texts(sizes, "sizes"), arguments.multiples(multiples, "multiples")
    corpus = None if corpus is None else arguments.text(corpus, "corpus")
    explained = None if mapping is None else arguments.path(mapping, "mapping")
    if isinstance(source, pd.DataFrame):
        return load_frame(source, sizes=sizes, multiples=multiples, corpus=corpus, mapping=explained)
    path = arguments.path(source, "source", "a DataFrame or ")
    return load_ladder(path, sizes=sizes, multiples=multiples, corpus=corpus, mapping=explained)


def predict(
    ladder: Measured,
    target: str | None = None,
    *,
    n: float | None = None,
    d: float | None = None,
    method: str = DEFAULT,
    tasks: Sequence[str] = (),
) -> Answer:
    """What a model will reach on each task: one of `n` parameters trained on `d` tokens, or a `target` by name.

    Args:
        target: a file of `configs/target/`, such as "13B-5T", or a rung such as "3B-10xC", instead of `n` and `d`.
        method: "default", which has intervals, "paper", or a variant of it.
        tasks: only these; all by default.

    Returns:
        A row per task: accuracy in [0, 1] and its 80% and 95% interval (low80, high80, low95, high95), loss; actual
        values and errors where the ladder holds the target; what the paper's method says; flags. A task that has a
        loss and no accuracy has its loss and the intervals of that (loss_low80, …) alone.

    Raises:
        UserError: an unknown target, method or task, too few rungs.
    """
    ladder, tasks = arguments.ladder(ladder), arguments.texts(tasks, "tasks")
    model, method = _target(ladder, target, n, d), arguments.text(method, "method")
    fits = Fits(ladder, model, tasks)
    predictions = fits.predict_beside_paper(method) if method == DEFAULT else fits.predict(method)
    losses = fits.predict_losses()
    said = Predicted(target=model, method=method, predictions=predictions, notes=fits.notes(method), losses=losses)
    rows = [prediction_numbers(one) | {"flags": "; ".join(flag_texts(one))} for one in predictions]
    frame = pd.DataFrame([*rows, *map(loss_numbers, losses)]).set_index("task").dropna(axis="columns", how="all")
    title = f"{model.name} (N = {model.n:.4g}, D = {model.d:.4g}) by method {method}"
    if not predictions:
        return Answer.of(
            frame, said.tables(), lambda: losses_plot(fits.below.rungs, fits.fitted_losses, losses, model).figure
        )
    return Answer.of(frame, said.tables(), lambda: _predictions_figure(predictions, title))


def backtest(ladder: Measured, *, tasks: Sequence[str] = ()) -> Answer:
    """How well smaller parts of the ladder would have predicted its own larger runs, by the default method.

    Returns:
        A row per part of the ladder that was fitted, task, and run beyond it: actual and predicted accuracy in [0, 1],
        the 80% interval, and the error in points. It shows itself as means by method.

    Raises:
        UserError: an unknown task; a ladder that holds no smaller one of 5 runs with a dearer run beyond.
    """
    tasks = arguments.texts(tasks, "tasks")
    ladder = arguments.ladder(ladder).narrowed(tasks)
    asked = ladder.asked(tasks)
    losses = loss_backtests(ladder, asked.losses)
    if not asked.tasks:
        raise UserError("no task with an accuracy is asked for; back-tests of losses alone are predict's backtest")
    study, studies = studied(ladder, asked.tasks)
    methods = method_errors(ladder, study, studies)
    parts = []
    for one, errors, halves in zip(studies, methods[0].errors, methods[0].halves, strict=True):
        predicted = one.actual + errors / 100
        columns = {
            "fitted": [study.splits[split].name for split in one.cells[:, 0]],
            "task": one.task.name,
            "run": [ladder.rungs[run].name for run in one.cells[:, 1]],
            "actual": one.actual,
            "predicted": predicted,
            "low80": np.maximum(predicted - halves[:, 0] / 100, 0.0),
            "high80": np.minimum(predicted + halves[:, 0] / 100, 1.0),
            "error_points": errors,
        }
        parts.append(pd.DataFrame(columns))
    tables = [split_table(study, studies, methods), task_table(study, studies, methods), *losses]
    frame = pd.concat(parts, ignore_index=True)
    return Answer.of(frame, tables, lambda: backtest_plot(study, studies, methods).figure)


def compare(
    a: Measured,
    b: Measured,
    target: str | None = None,
    *,
    n: float | None = None,
    d: float | None = None,
    tasks: Sequence[str] = (),
) -> Answer:
    """Which of two ladders, such as two data mixes, has the better model at a target, given as to `predict`.

    Returns:
        A row per task, and `mean` over them: predicted accuracies `a` and `b` in [0, 1], the `probability` that A's is
        higher, `low80` to `high80` of their difference, how many times the compute A is worth (`speed_up`, with its
        80% interval), the difference at the largest rung that both ladders have (`single`), whether that has the same
        sign (`agreed`), and the `actual` difference where both targets were measured.

    Raises:
        UserError: no task or no rung in common, an unknown target.
    """
    a, b = arguments.ladder(a, "a"), arguments.ladder(b, "b")
    model, tasks = _target(a, target, n, d), arguments.texts(tasks, "tasks")
    rows, both = compare_ladders(a, b, model, tasks)
    table = comparison_table(rows, (a.source, b.source), model, both)
    frame = pd.DataFrame([asdict(row) for row in rows]).set_index("task")
    return Answer.of(frame, [table], lambda: comparison_plot(rows, model, both).figure)


def _target(ladder: Measured, name: str | None, n: float | None, d: float | None) -> Target:
    if name is not None and n is None and d is None:
        return load_target(arguments.text(name, "target"), ladder.ladder or ladder_from_config(load_config()))
    if name is not None or n is None or d is None:
        raise UserError("a target is either its name, or both n (parameters) and d (training tokens)")
    n, d = arguments.number(n, "n"), arguments.number(d, "d")
    return Target(name=f"{short_number(n)} on {short_number(d)} tokens", n=n, d=d)


def _predictions_figure(predictions: Sequence[Prediction], title: str) -> Figure:
    """A line per task: its accuracy with both intervals, and what was measured."""
    from predict.show.plots import BLUE, Plot, widen_left

    plot = Plot(1, title, height=0.42 * len(predictions) + 1.6, wide=2.0)
    (axis,) = plot.axes
    places = np.arange(len(predictions))
    for place, one in zip(places, predictions, strict=True):
        for interval, width in ((one.accuracy.interval95, 1.5), (one.accuracy.interval80, 5)):
            if interval is not None:
                axis.hlines(place, 100 * interval.low, 100 * interval.high, color=BLUE, linewidth=width, alpha=0.45)
    axis.plot(
        [100 * one.accuracy.value for one in predictions], places, "x", color=BLUE, markersize=8, label="predicted"
    )
    if any(one.actual is not None for one in predictions):
        actual = [np.nan if one.actual is None else 100 * one.actual for one in predictions]
        axis.plot(actual, places, "o", color="#222222", markersize=5, label="measured")
    axis.set_yticks(places, [one.title for one in predictions])
    axis.set_ylim(len(predictions) - 0.5, -0.5)
    axis.set_xlabel("accuracy, %, with 80% and 95% intervals")
    widen_left(axis)
    axis.legend(ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2)
    return plot.figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _html(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        sides = ["right" if column.numeric else "left" for column in table.shown_columns]
        pairs = zip(cells, sides, strict=True)
        inside = "".join(f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>' for cell, side in pairs)
        return f"<tr>{inside}</tr>"

    buffer = io.StringIO()
    buffer.write(f"<table><caption><b>{html.escape(table.title)}</b></caption>")
    buffer.write(f"<thead>{row([column.name for column in table.shown_columns], 'th')}</thead>")
    buffer.write(f"<tbody>{''.join(row(cells, 'td') for cells in table.cells)}</tbody></table>")
    for note in (*table.footnotes, *table.notes):
        buffer.write(f"<div><small>{html.escape(note)}</small></div>")
    return buffer.getvalue()
