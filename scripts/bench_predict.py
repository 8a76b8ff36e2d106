"""Times prediction on AI2's measurements, on one core: python scripts/bench_predict.py DIR

DIR is AI2's folder of CSV files. Each is CPU seconds, which other processes disturb least, the best of a few calls in a
warm interpreter unless it says otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import Seconds, best, timed, timed_process

from ladder.command.running import run_command
from ladder.config.config_files import load_target
from ladder.config.settings import Smoothing
from ladder.errors import UserError
from ladder.rungs.rung import Target
from predict.measured.ai2 import read_ai2
from predict.measured.ladder import Measured
from predict.measured.load import load_ladder
from predict.measured.rungs import measured_ladder
from predict.measured.table import table_of
from predict.methods.fits import predict_target

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 3
SIZES, MULTIPLES, TASKS = 22, 35, 9  # of a made ladder that is far larger than AI2's


def large_ladder() -> Measured:
    """770 runs whose accuracies follow a law with a run's noise."""
    random, rows = np.random.default_rng(0), []
    for size, n in enumerate(np.geomspace(5e7, 3e9, SIZES)):
        for multiple in np.geomspace(0.5, 40, MULTIPLES):
            d = 20 * n * multiple
            run = {"run": f"s{size}-{multiple:.3g}xC", "size": f"s{size}", "n": n, "d": d, "step": 1, "tokens": d}
            for task in range(TASKS):
                left = (0.9 + 0.1 * task) * ((n / 3e9) ** -0.12 + (d / 2e12) ** -0.13) / 2
                value = 0.25 + 0.75 * np.exp(-left) + 0.005 * random.standard_normal()
                named = {"task": f"t{task}", "split": "test", "metric": "rc_acc", "items": 1000, "chance": 0.25}
                rows.append(run | named | {"value": float(value)})
    smoothing = Smoothing(final_checkpoints=1, window=1, skip_fraction=0.0)
    return measured_ladder(table_of(rows, "made"), "made", name="made", smoothing=smoothing, ladder=None)


def main(argv: list[str]) -> None:
    if len(argv) != 1 or not Path(argv[0]).is_dir():
        raise UserError("give AI2's folder of CSV files: python scripts/bench_predict.py DIR")
    folder = Path(argv[0])
    data, target, large = load_ladder(folder), load_target("7B-4T"), large_ladder()
    command = [sys.executable, "-m", "predict", "--target", "13B-5T"]
    measured: list[tuple[str, Callable[[], Seconds], float]] = [
        ("read the 36 files into a checked table", lambda: timed(lambda: read_ai2(folder)), 0.8),
        ("method paper: fit and predict 10 tasks", lambda: timed(lambda: predict_target(data, target, "paper")), 1.0),
        (
            "method default: fit, back-test and predict with intervals",
            lambda: timed(lambda: predict_target(data, target)),
            1.0,
        ),
        (
            f"the same for {len(large.rungs)} runs and {TASKS} tasks without losses",
            lambda: timed(lambda: predict_target(large, Target(name="far", n=2e10, d=4e12))),
            20.0,
        ),
        ("python -m predict --target 13B-5T, from the shell", lambda: timed_process(command, ROOT), 2.0),
    ]
    for name, measure, limit in measured:
        seconds = best(REPEATS, measure).cpu
        print(f"{seconds:7.3f} s  (limit {limit:g} s{'' if seconds < limit else ', EXCEEDED'})  {name}")


if __name__ == "__main__":
    run_command(main)
