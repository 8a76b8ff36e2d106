"""`python -m predict report`: one page that opens offline, with the numbers, the fits and where they come from."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ladder.files.writing import files_into, write_json, write_text
from ladder.process.provenance import git_revision, versions
from ladder.rungs.rung import Target
from predict.analyses.backtest import backtest_plot, method_errors, split_table, task_table
from predict.analyses.following import begun, follow
from predict.analyses.loss_backtest import loss_backtest_table
from predict.analyses.quantities import quantities
from predict.analyses.track import track_tables
from predict.analyses.track_plot import track_plot
from predict.analyses.variance import ladder_noise, variance_table
from predict.measured.counts import short_number
from predict.measured.ladder import Measured
from predict.measured.same import same_point
from predict.methods import DEFAULT
from predict.methods.base import mean_error
from predict.methods.fits import Fits, method_named
from predict.notes import Severity
from predict.show import command_line
from predict.show.curves import DrawnChain, Shown, TaskCurves
from predict.show.law_plots import accuracy_plot, losses_plot, step1_plot, step2_plot
from predict.show.method_curves import curves_of, formulas
from predict.show.page import Page, Section, render, section
from predict.show.predictions import Answer, loss_table, prediction_table
from predict.show.tables import Table, significant, whole, words
from predict.show.verdicts import note_texts


def write_report(measured: Measured, target: Target, method: str, tasks: Sequence[str], directory: Path) -> Path:
    """Writes report.html, its plots (accuracy, the method's steps, back-tests) and predictions.json into `directory`.

    Raises:
        UserError: as `predict_target`, or a directory that cannot be written.
    """
    fits = Fits(measured, target, tasks)
    answer = Answer(
        target=target,
        method=method,
        predictions=fits.predict_beside_paper(method),
        notes=fits.notes(method),
        losses=fits.predict_losses(),
    )
    with files_into(directory) as folder:
        write_json(folder / "predictions.json", answer.to_json())
        write_text(folder / "report.html", render(_page(fits, answer, folder)))
    return directory / "report.html"


def _page(fits: Fits, answer: Answer, folder: Path) -> Page:
    """What the page shows; its plots are written into `folder`."""
    target, method = answer.target, answer.method
    shown = Shown(target=target, predictions=answer.predictions)
    curves = curves_of(fits.fitted(method), fits.measured)
    noise = variance_table(fits.below, ladder_noise(fits.below, fits.tasks)).without_empty_columns()
    return Page(
        target=target,
        headline=f"{target.name}, predicted from {len(fits.below.rungs)} smaller models",
        lead=_lead(fits, answer),
        warnings=note_texts([note for note in answer.notes if note.severity is Severity.WARNING]),
        table=prediction_table(answer.predictions, "") if answer.predictions else loss_table(answer.losses, ""),
        notes=tuple(note.text for note in answer.notes if note.severity is Severity.NOTE),
        sections=(
            *_accuracy(fits, shown, curves, folder),
            *_run_so_far(fits, method, folder),
            *_backtests(fits, folder),
            *_all_steps(fits, shown, method, curves, folder),
            *_losses(fits, answer, folder),
            *_formulas(fits, method),
            *([Section(title="Noise", text=NOISE, tables=(noise,))] if len(noise.columns) > 1 else []),
        ),
        data=fits.below,
        versions=_versions(),
        runs=_runs_table(fits.below),
    )


ACCURACY = (
    "The curves are the method's: one per size, or one through rungs that were trained once each; dashed it goes on to "
    "the target. The cross is the prediction, with its 80% and 95% intervals where it has them; fit is the mean "
    "relative error of the curves at the rungs."
)
RUN = (
    "Each checkpoint of the target inside the band that the ladder gives for that moment of the run (python -m predict "
    "track), and what the checkpoints make of the forecast."
)
LOSSES = (
    "Tasks that have a loss and no accuracy, by step 1: the average of power laws of N and D by how well each fits. "
    "The cross is the prediction, with its 80% and 95% intervals."
)
STEP1 = "The loss of each run's last checkpoints, and the power law that is fitted to it."
MEAN_STEP1 = (
    "The loss of each run's last checkpoints, and the mean of all power laws by how well each fits, which predicts it "
    "(cross). The member itself goes by one law, in the table of formulas."
)
STEP2 = "Every checkpoint of every run, and the curve that is fitted to them."
MEMBER = " The prediction (cross) is a blend of curves and members; the open circle is this step at the predicted loss."
BACKTESTS = (
    "Smaller ladders inside this one predict its larger runs: the only test that a ladder can give before the target."
)
NOISE = "What a prediction could at best be compared with: how much values change between checkpoints and reruns."
FORMULAS = (
    "L is a loss (of a task in bits per byte, of language modelling in nats per token), z = -ln of the part of the "
    "questions beyond chance that is answered, N parameters, D tokens; accuracy is in [0, 1]."
)


def _lead(fits: Fits, answer: Answer) -> str:
    target, sizes = fits.target, sorted({run.n for run in fits.below.rungs})
    span = " to ".join(dict.fromkeys(short_number(n) for n in (sizes[0], sizes[-1])))
    error = mean_error(answer.predictions)
    measured = "" if error is None else f" Where it was measured since, the mean error is {error:.2f} points."
    today = datetime.datetime.now(datetime.UTC)
    return (
        f"{today:%-d %B %Y}: method {answer.method} predicts a model of {short_number(target.n)} parameters trained on "
        f"{short_number(target.d)} tokens from ladder {fits.below.name} ({span} parameters), which cost "
        f"{fits.share:.2%} of its compute.{measured}"
    )


def _accuracy(fits: Fits, shown: Shown, curves: Sequence[TaskCurves], directory: Path) -> list[Section]:
    if not curves:
        return []
    plot = accuracy_plot(fits.below.rungs, curves, [shown], f"Accuracy over the ladder, and {shown.target.name}")
    return [section("Accuracy over the ladder", ACCURACY, plot, directory / "chained.png")]


def _all_steps(fits: Fits, shown: Shown, method: str, curves: Sequence[TaskCurves], directory: Path) -> list[Section]:
    """Each chain of two steps on the way to accuracy; none where accuracy is a function of N and D alone."""
    sections: list[Section] = []
    for name in dict.fromkeys(chain.name for task in curves for chain in task.chains):
        pairs = [(i, chain) for i, task in enumerate(curves) for chain in task.chains if chain.name == name]
        sections += _steps(fits.below, shown, name or f"method {method}", pairs, directory)
    return sections


def _steps(
    measured: Measured, shown: Shown, name: str, pairs: Sequence[tuple[int, DrawnChain]], directory: Path
) -> list[Section]:
    places, chains = [place for place, _ in pairs], [chain for _, chain in pairs]
    first = [replace(chains[0], title="Every task")] if chains[0].shared else chains
    suffix = f"-{chains[0].name.lower().replace(' ', '-')}" if chains[0].name else ""
    heading, law, more = (f"member {name}", MEAN_STEP1, MEMBER) if chains[0].name else (name, STEP1, "")
    step1 = step1_plot(measured.rungs, first, [shown], f"Step 1, {heading}: loss over the ladder")
    step2 = step2_plot(measured.rungs, chains, [shown], places, f"Step 2, {heading}: accuracy from loss")
    return [
        section(f"Step 1 of {heading}", law, step1, directory / f"step1{suffix}.png"),
        section(f"Step 2 of {heading}", STEP2 + more, step2, directory / f"step2{suffix}.png"),
    ]


def _run_so_far(fits: Fits, method: str, folder: Path) -> list[Section]:
    """The target's own checkpoints beside the forecast, where there are some."""
    target = (fits.target.n, fits.target.d)
    runs = [run for run in fits.measured.runs if same_point((run.n, run.d), target) and not run.tag]
    if method != DEFAULT or not runs or not begun(runs[0]):
        return []
    if not any(runs[0].has(task, "rc_acc") for task in fits.tasks):
        return []
    followed = follow(fits, runs[0])
    shown = quantities(followed)
    plot = track_plot(f"{runs[0].name} beside its forecast", shown, fits.target.d)
    return [
        section(
            "The run beside its forecast",
            RUN,
            plot,
            folder / "track.png",
            tuple(track_tables(followed, shown)),
        )
    ]


def _backtests(fits: Fits, directory: Path) -> list[Section]:
    if not fits.tasks or not fits.ensemble.study.splits:
        return []
    study, tasks = fits.ensemble.study, fits.ensemble.asked
    methods = method_errors(fits.below, study, tasks)
    tables = (split_table(study, tasks, methods), task_table(study, tasks, methods))
    return [section("Back-tests", BACKTESTS, backtest_plot(study, tasks, methods), directory / "backtest.png", tables)]


def _formulas(fits: Fits, method: str) -> list[Section]:
    table = formulas(fits.fitted(method))
    return [Section(title="Formulas", text=FORMULAS, tables=(table,))] if fits.tasks else []


def _losses(fits: Fits, answer: Answer, folder: Path) -> list[Section]:
    """Losses of tasks that have no accuracy: the table, unless it is the page's first, their laws and back-tests."""
    if not answer.losses:
        return []
    fitted = fits.fitted_losses
    tables = [loss_table(answer.losses, "")] if answer.predictions else []
    tables += [loss_backtest_table(fitted, fits.below)] if fitted.fitted.splits else []
    plot = losses_plot(fits.below.rungs, fitted, answer.losses, answer.target)
    return [section("Losses without an accuracy", LOSSES, plot, folder / "losses.png", tuple(tables))]


def _runs_table(measured: Measured) -> Table:
    return Table(
        title="Rungs that were fitted",
        columns=(words("run"), whole("N", "parameters"), whole("D", "tokens"), significant("6ND FLOPs", 3, "FLOPs")),
        rows=tuple((run.name, run.n, run.d, run.compute) for run in measured.rungs),
    )


def _versions() -> str:
    used = ", ".join(f"{name} {version}" for name, version in versions("numpy", "scipy", "pandas").items())
    return f"Model Ladder at {git_revision()}; {used}"


def main(argv: list[str]) -> None:
    options = command_line.parser("report", __doc__ or "")
    command_line.add_ladder(options)
    command_line.add_target(options)
    options.add_argument("--method", default=DEFAULT, help="default, paper, or a variant of it")
    options.add_argument(
        "--output", type=command_line.folder, default=Path("report"), metavar="DIR", help="where to write"
    )
    given, overrides = command_line.parse(options, argv)
    method_named(given.method)
    measured = command_line.data_of(given, overrides)
    path = write_report(measured, command_line.target_of(given, measured), given.method, given.tasks, given.output)
    print(f"wrote {path}")
