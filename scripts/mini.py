"""`make mini`: the mini ladder from text to the test of its predictions; every step is a command you could type.

The predictions of both targets by both methods are written and hashed before either target is begun, and never after.
Stopped at any point it goes on there when called again; key=value words go to every command.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from steps import CORES, run, wall_seconds

from ladder.arguments import split_overrides
from ladder.config import load_config
from ladder.cpu import prepare_cpu
from ladder.errors import Parser, UserError, run_command
from ladder.hashing import sha256_of
from ladder.reading import read_json
from ladder.rundir import LadderDirectory
from ladder.rung import Ladder, Rung
from ladder.show import duration, print_table
from ladder.status import ladder_status
from ladder.writing import write_text
from predict.measured.own_runs import read_runs

prepare_cpu()

RERUNS = {"113K-2xC-rerun": 1, "113K-2xC-rerun2": 2}  # of a middle rung, for the noise of a run; and their seeds
TARGETS = ("0.5M-5xC", "1.5M-5xC")
METHODS = ("default", "paper")
HASHES = "SHA256SUMS"


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/mini.py", description=__doc__)
    _, words = parser.parse_known_args(argv)
    words = ["ladder=mini", *split_overrides(words)]
    config = load_config(words)
    ladder = config.ladder.build()
    directory = LadderDirectory(config.directory)
    with contextlib.suppress(AttributeError):  # of Windows
        os.nice(19)
    run(sys.executable, "scripts/prepare_data.py", *words)
    print_estimate(ladder, directory, config.suite_plan.forward_tokens or 0)
    python("ladder", "run", *words)
    for name, seed in RERUNS.items():
        python("ladder", "run", *words, f"rung={name}", f"seed={seed}")
    predictions = predict(directory)
    for target in TARGETS:
        python("ladder", "run", *words, f"rung={target}")
    for target in TARGETS:
        selection = ("--target", target, "--output", str(directory.report(target)))
        python("predict", "report", "--ladder", str(directory.path), *selection)
        compare(directory, ladder.rung(target), {method: predictions[target, method] for method in METHODS})
    return 0


def python(*words: str) -> None:
    run(sys.executable, "-m", *words)


def print_estimate(ladder: Ladder, directory: LadderDirectory, evaluation_tokens: float) -> None:
    print("timing this machine …", flush=True)
    small = [*ladder.rungs, *map(ladder.rung, RERUNS)]
    large = [ladder.rung(target) for target in TARGETS]
    missing = {status.rung.name for status in ladder_status(directory, [*small, *large]) if status.state != "done"}
    together, alone = ([rung for rung in rungs if rung.name in missing] for rungs in (small, large))
    seconds = wall_seconds(ladder, together, alone, evaluation_tokens)
    print(f"{len(missing)} of {len(small) + len(large)} runs to train, about {duration(seconds)} on {CORES} idle cores")


def predict(directory: LadderDirectory) -> dict[tuple[str, str], Any]:
    """Every target's prediction by every method: those on disk, or, before a target is begun, newly made ones.

    Raises:
        UserError: a target was begun before all was predicted, or a prediction was changed since.
    """
    place = directory.path / "predictions"
    paths = {(target, method): place / f"{target}-{method}.json" for target in TARGETS for method in METHODS}
    hashes = place / HASHES
    if not hashes.exists():
        for target in TARGETS:
            if (path := directory.run(target).path).exists():
                raise UserError(
                    f"{path} was begun before {hashes} was written, so nothing can be predicted of it any more; "
                    "remove it, or start in another runs_dir"
                )
        for (target, method), path in paths.items():
            write_text(path, prediction(directory, target, method))
        write_text(hashes, "".join(f"{sha256_of(path)}  {path.name}\n" for path in paths.values()))
    print(f"\n{hashes}:\n{(text := hashes.read_text(encoding='utf-8'))}", flush=True)
    for path in paths.values():
        if f"{sha256_of(path)}  {path.name}" not in text.splitlines():
            raise UserError(f"{path} was changed after its hash was written to {hashes}; put it back as it was")
    return {key: read_json(path) for key, path in paths.items()}


def prediction(directory: LadderDirectory, target: str, method: str) -> str:
    """What `python -m predict` says, as JSON."""
    words = ("--ladder", str(directory.path), "--target", target, "--method", method, "--json")
    done = subprocess.run([sys.executable, "-m", "predict", *words], capture_output=True, text=True)
    if done.returncode:
        raise UserError((done.stderr.strip().splitlines() or ["predict failed"])[-1].removeprefix("error: "))
    return json.dumps(json.loads(done.stdout), indent=1) + "\n"


def compare(directory: LadderDirectory, target: Rung, predictions: dict[str, Any]) -> None:
    """Prints what was predicted beside what was measured on the target's last checkpoint."""
    rows = read_runs(directory.path)
    last = rows[(rows.run == target.name) & (rows.step == target.hparams.total_steps) & (rows.metric == "rc_acc")]
    measured = last.set_index("task").value
    for method, found in predictions.items():
        print_table(comparison(f"{target.name}, predicted by method {method}", found["predictions"], measured))


def comparison(title: str, predicted: Sequence[dict[str, Any]], measured: pd.Series) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title)
    for column in ("task", "predicted", "80% interval", "measured", "error", "inside"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for row in predicted:
        value, low, high = measured[row["task"]], row["low80"], row["high80"]
        bounded = low is not None and high is not None
        table.add_row(
            row["task"],
            f"{row['accuracy']:.1%}",
            f"{low:.1%} to {high:.1%}" if bounded else "",
            f"{value:.1%}",
            f"{(row['accuracy'] - value) * 100:+.1f} points",
            ("yes" if low <= value <= high else "no") if bounded else "",
        )
    return table


if __name__ == "__main__":
    run_command(main)
