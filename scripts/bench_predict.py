"""Times prediction on AI2's measurements, on one core: python scripts/bench_predict.py DIR

DIR is AI2's folder of CSV files. Each time is the best of five, in a warm interpreter unless it says otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from harness import Seconds, best, timed, timed_process

from ladder.command.running import run_command
from ladder.config.config_files import load_target
from ladder.errors import UserError
from predict.measured.ai2 import read_ai2
from predict.measured.load import load_ladder
from predict.methods.fits import predict_target

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 5


def main(argv: list[str]) -> None:
    if len(argv) != 1 or not Path(argv[0]).is_dir():
        raise UserError("give AI2's folder of CSV files: python scripts/bench_predict.py DIR")
    folder = Path(argv[0])
    data, target = load_ladder(folder), load_target("7B-4T")
    command = [sys.executable, "-m", "predict", "--target", "13B-5T"]
    measured: list[tuple[str, Callable[[], Seconds], float]] = [
        ("read the 36 files into a checked table", lambda: timed(lambda: read_ai2(folder)), 0.8),
        ("method paper: fit and predict 8 tasks", lambda: timed(lambda: predict_target(data, target, "paper")), 0.5),
        (
            "method default: fit, back-test and predict with intervals",
            lambda: timed(lambda: predict_target(data, target)),
            5.0,
        ),
        ("python -m predict --target 13B-5T, from the shell", lambda: timed_process(command, ROOT), 2.0),
    ]
    for name, measure, limit in measured:
        seconds = best(REPEATS, measure).wall
        print(f"{seconds:7.3f} s  (limit {limit:g} s{'' if seconds < limit else ', EXCEEDED'})  {name}")


if __name__ == "__main__":
    run_command(main)
