"""`make demo`: data, ladder, prediction, target, comparison; every step is a command you could type yourself.

The prediction is written to disk, and its hash printed, before the target is trained. Run again it does nothing twice.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from steps import CORES, end, run, start, wall_seconds

from ladder.command.running import Parser, run_command
from ladder.config.config import ladder_from_config, load_config
from ladder.errors import UserError
from ladder.process.cpu import prepare_cpu
from ladder.rungs.rung import Ladder, Rung
from ladder.runs.rundir import LadderDirectory
from ladder.runs.show import duration, print_table
from ladder.runs.status import ladder_status
from predict.measured.own_runs import read_runs
from predict.methods.forecast_file import Forecast, load

prepare_cpu()

PREPARATION_SECONDS = 30


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/demo.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 4xC only, target n5-4xC: about half the time")
    quick = parser.parse_args(argv).quick
    multiples = "1,2,4" if quick else "1,2,4,8"
    name = "n5-4xC" if quick else "n5-8xC"
    overrides = ["ladder=nano", f"ladder.multiples=[{multiples}]", f"target.name={name}"]
    config = load_config(overrides)
    ladder = ladder_from_config(config)
    target = ladder.rung(name)
    directory = LadderDirectory(config.directory)
    preparation = start(sys.executable, "scripts/prepare_data.py", "data=sotu")
    print_estimate(ladder, target, directory, config.suite.forward_tokens or 0)
    end(preparation)
    run(sys.executable, "-m", "ladder", "run", *overrides)
    path = directory.prediction(target.name)
    if directory.run(target.name).measured_steps():
        print(f"note: {target.name} was trained by an earlier call")
    print(f"SHA-256 of that prediction: {hashlib.sha256(path.read_bytes()).hexdigest()}", flush=True)
    run(sys.executable, "-m", "ladder", "run", *overrides, f"rung={target.name}")
    report = directory.report(target.name)
    selection = ["--target", target.name, "--method", "paper", "--multiples", multiples, "--output", str(report)]
    run(sys.executable, "-m", "predict", "report", "--ladder", str(directory.path), *selection)
    compare(load(path), directory.path, ladder, target)
    print(f"plots and report: {report}/report.html")
    return 0


def print_estimate(ladder: Ladder, target: Rung, directory: LadderDirectory, evaluation_tokens: float) -> None:
    """Times a few real training steps of every size and adds up what is still to do."""
    print("timing this machine …", flush=True)
    todo = [s.rung for s in ladder_status(directory, [*ladder.rungs, target]) if s.state != "done"]
    together, alone = ([rung for rung in todo if (rung.name == target.name) == last] for last in (False, True))
    wall = PREPARATION_SECONDS + wall_seconds(ladder, together, alone, evaluation_tokens)
    print(f"{len(todo)} of {len(ladder.rungs) + 1} runs to train, about {duration(wall)} on {CORES} idle cores")


def compare(forecast: Forecast, directory: Path, ladder: Ladder, target: Rung) -> None:
    measured = read_runs(directory)
    final = measured[(measured.run == target.name) & (measured.step == target.hparams.total_steps)]
    if final.empty:
        raise UserError(f"{target.name} has no measurements of its last step; run: python -m evaluate {directory}")
    values = final.set_index(["task", "metric"]).value
    table = Table(box=SIMPLE_HEAD, title=f"{target.name}: predicted from the ladder, then trained and measured")
    for column in ("task", "loss predicted", "measured", "error", "accuracy predicted", "measured", "error"):
        table.add_column(column, justify="left" if column == "task" else "right")
    errors = []
    for name, task in forecast.tasks.items():
        loss, accuracy = values[(name, "rc_bpb")], values[(name, "rc_acc")]
        error = (task.accuracy.value - accuracy) * 100
        errors.append(abs(error))
        table.add_row(
            name,
            f"{task.loss.value:.3f}" if task.loss else "",
            f"{loss:.3f}",
            f"{task.loss.value / loss - 1:+.1%}" if task.loss else "",
            f"{task.accuracy.value:.1%}",
            f"{accuracy:.1%}",
            f"{error:+.1f} points",
        )
    print_table(table)
    print(conclusion(errors, ladder, target))


def conclusion(errors: Sequence[float], ladder: Ladder, target: Rung) -> str:
    share = sum(rung.flops_6nd for rung in ladder.rungs) / target.flops_6nd
    size = target.n / max(rung.n for rung in ladder.rungs)
    return (
        f"mean absolute error {sum(errors) / len(errors):.2f} points, largest {max(errors):.2f}; "
        f"the ladder cost {share:.0%} of the target's FLOPs.\n"
        f"What this shows: the pipeline works end to end, and laws fitted on {len(ladder.rungs)} small models carry "
        f"over to one {size:.1f} times larger than any of them.\n"
        "What it does not show: that they carry over two orders of magnitude, as the paper's ladder must (1% of its "
        "target's FLOPs); models this small leave the exponents loosely determined. See README, Limits."
    )


if __name__ == "__main__":
    run_command(main)
