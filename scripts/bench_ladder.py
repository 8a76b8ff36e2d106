"""`python scripts/bench_ladder.py`: how long `plan` and `status` take on 160 runs with 100 checkpoints each.

The ladder is made of empty files where only their names matter. Prints JSON: seconds of wall and CPU time of the whole
command, the best of a few calls.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from harness import best, result, timed_process

from ladder.command.running import Parser, run_command
from ladder.config.config import ladder_from_config, load_config
from ladder.runs.rundir import LadderDirectory

RUNS, CHECKPOINTS, CALLS = 160, 100, 5
MULTIPLES = ",".join(str(multiple) for multiple in range(1, RUNS // 4 + 1))
WORDS = ["ladder=nano", f"ladder.multiples=[{MULTIPLES}]"]


def main(argv: list[str]) -> None:
    Parser(prog="python scripts/bench_ladder.py", description=__doc__).parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        words = [*WORDS, f"runs_dir={scratch}"]
        make_ladder(LadderDirectory(Path(scratch) / "nano"), words)
        timed = {command: best_of([command, *words]) for command in ("plan", "status")}
    print(json.dumps(result(["hydra-core", "rich"], **timed), indent=1))


def make_ladder(directory: LadderDirectory, words: list[str]) -> None:
    rungs = ladder_from_config(load_config(words)).rungs
    assert len(rungs) == RUNS
    for rung in rungs:
        run = directory.run(rung.name)
        run.metrics.mkdir(parents=True)
        for number in range(1, CHECKPOINTS + 1):
            step = number * rung.hparams.total_steps // CHECKPOINTS
            run.checkpoint(step).mkdir(parents=True)
            (run.checkpoint(step) / "rung.json").touch()
            run.metrics_file(step).touch()
        run.log_file.write_text("".join(f'{{"step": {step}, "loss": 4.0, "mfu": null}}\n' for step in range(5000)))
        run.events_file.write_text('{"event": "start", "host": "elsewhere", "pid": 1}\n' * 20)


def best_of(words: list[str]) -> dict[str, float]:
    # `status` exits with 1 here: no process of these runs is alive.
    seconds = best(CALLS, lambda: timed_process([sys.executable, "-m", "ladder", *words], check=False))
    return {"wall_seconds": round(seconds.wall, 2), "cpu_seconds": round(seconds.cpu, 2)}


if __name__ == "__main__":
    run_command(main)
