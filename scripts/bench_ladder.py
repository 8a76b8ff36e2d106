"""`python scripts/bench_ladder.py`: how long `plan` and `status` take on 160 runs with 100 checkpoints each.

The ladder is made of empty files where only their names matter. Prints JSON: seconds of wall and CPU time of the whole
command, the best of a few calls.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ladder.config import ladder_from_config, load_config
from ladder.provenance import git_revision, versions
from ladder.rundir import LadderDirectory

RUNS, CHECKPOINTS, CALLS = 160, 100, 5
MULTIPLES = ",".join(str(multiple) for multiple in range(1, RUNS // 4 + 1))
WORDS = ["ladder=nano", f"ladder.multiples=[{MULTIPLES}]"]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        words = [*WORDS, f"runs_dir={scratch}"]
        make_ladder(LadderDirectory(Path(scratch) / "nano"), words)
        timed = {command: best_of([command, *words]) for command in ("plan", "status")}
    print(json.dumps({"git_revision": git_revision(), "versions": versions("hydra-core", "rich"), **timed}, indent=1))


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
    walls, cpus = [], []
    for _ in range(CALLS):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", "ladder", *words], stdout=subprocess.DEVNULL, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - start)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"wall_seconds": round(min(walls), 2), "cpu_seconds": round(min(cpus), 2)}


if __name__ == "__main__":
    main()
