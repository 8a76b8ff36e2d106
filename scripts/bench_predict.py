"""Times prediction on AI2's measurements, on one core: python scripts/bench_predict.py DIR

DIR is AI2's folder of CSV files. Each time is the best of five, in a warm interpreter unless it says otherwise.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ladder.config_files import load_target
from ladder.errors import UserError, run_command
from predict.measured.ai2 import read_ai2
from predict.measured.load import load_ladder
from predict.methods.fits import predict_target

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 5


def best(what: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        what()
        times.append(time.perf_counter() - start)
    return min(times)


def start_and_predict() -> None:
    command = [sys.executable, "-m", "predict", "--target", "13B-5T"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def main(argv: list[str]) -> None:
    if len(argv) != 1 or not Path(argv[0]).is_dir():
        raise UserError("give AI2's folder of CSV files: python scripts/bench_predict.py DIR")
    folder = Path(argv[0])
    data, target = load_ladder(folder), load_target("7B-4T")
    measured: list[tuple[str, Callable[[], object], float]] = [
        ("read the 36 files into a checked table", lambda: read_ai2(folder), 0.8),
        ("method paper: fit and predict 8 tasks", lambda: predict_target(data, target, "paper"), 0.5),
        ("method default: fit, back-test and predict with intervals", lambda: predict_target(data, target), 5.0),
        ("python -m predict --target 13B-5T, from the shell", start_and_predict, 2.0),
    ]
    for name, what, limit in measured:
        seconds = best(what)
        print(f"{seconds:7.3f} s  (limit {limit:g} s{'' if seconds < limit else ', EXCEEDED'})  {name}")


if __name__ == "__main__":
    run_command(main)
