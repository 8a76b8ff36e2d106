"""Writes every number that `predict` prints into a directory, so that two revisions can be compared exactly.

    python scripts/frozen_numbers.py before --ladder DIR        # in the one checkout, DIR as AI2 publishes it
    python scripts/frozen_numbers.py after --ladder DIR         # in the other
    diff -r before after

Each command is a process of its own. Runs without torch and without a network.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ladder.command.running import Parser, run_command
from ladder.errors import UserError, shortened
from ladder.process.cpu import usable_cores

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("7B-4T", "13B-5T")
RUNS = {"7B-4T": "peteish7", "13B-5T": "peteish13"}  # of the targets, as AI2's files name them
EXIT_CODES = (0, 1, 3)  # 1 and 3 are what `check` and `track` say of what they found
METHODS = ("default", "paper", "paper-flops", "paper-taskce", "paper-c4", "paper-single")
SMALL = ("--sizes", "190M,370M,760M")


def commands(ladder: str, output: Path) -> dict[str, list[str]]:
    """File name -> words of `python -m predict`; where the command writes a file or folder itself, no suffix."""
    files: dict[str, list[str]] = {}
    for target in TARGETS:
        files[f"shipped-{target}.json"] = ["--target", target, "--json"]
        files[f"shipped-{target}.txt"] = ["--target", target]
        files[f"shipped-paper-{target}.json"] = ["--target", target, "--method", "paper", "--json"]
        for method in METHODS:
            words = ["--ladder", ladder, "--target", target, "--method", method]
            files[f"{method}-{target}.json"] = [*words, "--json"]
            files[f"{method}-{target}.csv"] = [*words, "--csv"]
        files[f"small-{target}.json"] = ["--ladder", ladder, "--target", target, *SMALL, "--json"]
        files[f"sharpen-{target}.csv"] = ["sharpen", "--ladder", ladder, "--target", target, "--csv"]
        words = ["track", "--ladder", ladder, "--target", target, "--run", RUNS[target]]
        files[f"track-{target}.csv"] = [*words, "--csv"]
        files[f"advise-{target}.csv"] = ["advise", "--ladder", ladder, "--target", target, "--budget", "1e22", "--csv"]
        for axis in ("size", "multiple", "flops"):
            words = ["compute", "--ladder", ladder, "--target", target, "--by", axis, "--csv"]
            files[f"compute-{axis}-{target}.csv"] = words
    files["boolq-13B-5T.json"] = [
        "--ladder",
        ladder,
        "--target",
        "13B-5T",
        "--tasks",
        "boolq,winogrande,mmlu",
        "--json",
    ]
    files["check.json"] = ["check", "--ladder", ladder, "--target", "7B-4T", "--json"]
    files["sharpen.csv"] = ["sharpen", "--ladder", ladder, "--csv"]
    files["bench.csv"] = ["bench", ladder, "--csv"]
    files["backtest.csv"] = ["backtest", "--ladder", ladder, "--csv"]
    files["variance.csv"] = ["variance", "--ladder", ladder, "--csv"]
    files["variance.json"] = ["variance", "--ladder", ladder, "--json"]
    files["laws"] = ["fit", "--ladder", ladder, "--output", str(output / "laws.json")]
    files["paper"] = ["paper", "--ladder", ladder, "--output", str(output / "paper")]
    files["report"] = ["report", "--ladder", ladder, "--target", "13B-5T", "--output", str(output / "report")]
    return files


def main(argv: list[str]) -> None:
    options = Parser(
        prog="python scripts/frozen_numbers.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("output", type=Path)
    options.add_argument("--ladder", default="../shared/olmo-ladder/runs")
    given = options.parse_args(argv)
    given.output.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def run(name: str, words: list[str]) -> None:
        command = [sys.executable, "-m", "predict", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
        if done.returncode not in EXIT_CODES:
            raise UserError(f"{' '.join(words)}: {shortened(done.stderr.strip())}")
        if Path(name).suffix:
            (given.output / name).write_text(done.stdout, encoding="utf-8")

    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
        for done in [pool.submit(run, *pair) for pair in commands(given.ladder, given.output.resolve()).items()]:
            done.result()
    for plot in given.output.rglob("*.png"):
        plot.unlink()  # pixels may differ where numbers do not
    for page in given.output.rglob("report.html"):
        page.unlink()


if __name__ == "__main__":
    run_command(main)
