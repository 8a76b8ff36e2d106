"""Everything that only a GPU can tell, in one call that ends in time.

    python scripts/gpu_evidence.py --deadline 555 --output DIR [--stages machine,training] [words of ladder run]

Stages run one after another, each in a process of its own, and are skipped where too little time is left. A stage
writes DIR/<stage>.json anew with every row that it has, so what is cut short keeps its rows; DIR/summary.json says how
each of them ended, DIR/log.txt what they printed. What the machine lacks comes from leased/bundle.tar.xz, which `python
scripts/leased_gpu.py pack` makes. `--tiny` rehearses all of it on a CPU in seconds, with shapes that mean nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from leased_gpu import BUNDLE, SITE, open_bundle

from ladder.command.running import Parser, run_command
from ladder.errors import UserError, unknown
from ladder.files.writing import write_json

SECONDS = "EVIDENCE_SECONDS"  # what a stage has, for those that start others
ENDING_SECONDS = 4  # for a stage to end after it was asked to


@dataclass(frozen=True, kw_only=True)
class Stage:
    """`evidence/<name>.py`; skipped with fewer than `least` seconds left, and ended after `most`."""

    name: str
    least: float
    most: float


STAGES = (
    Stage(name="machine", least=10, most=30),
    Stage(name="tests", least=30, most=90),
    Stage(name="training", least=45, most=215),
    Stage(name="evaluation", least=40, most=110),
    Stage(name="runs", least=60, most=1e9),
)
RUNS = ("ladder=micro", "cluster.parallel=4", "--multiples", "1,2")


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/gpu_evidence.py", description=__doc__.splitlines()[0])
    parser.add_argument("--deadline", type=float, default=555, help="seconds that all of it may take")
    parser.add_argument("--output", type=Path, required=True, help="directory for the results")
    parser.add_argument("--stages", default=",".join(stage.name for stage in STAGES), help="only these")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal, on a CPU if need be")
    parser.add_argument("--stage", help="in the process of one stage: which")
    options, words = parser.parse_known_args(argv)
    if BUNDLE.exists() or SITE.is_dir():
        open_bundle()
    if options.stage:
        work(options.stage, options.output, options.tiny, words or RUNS)
        return 0
    names = options.stages.split(",")
    for name in names:
        if name not in {stage.name for stage in STAGES}:
            raise unknown("stage", name, [stage.name for stage in STAGES])
    return conduct([stage for stage in STAGES if stage.name in names], options, words)


def conduct(stages: Sequence[Stage], options: Any, words: Sequence[str]) -> int:
    """Runs the stages in time; 0 where all of them ended well."""
    end = time.monotonic() + options.deadline
    options.output.mkdir(parents=True, exist_ok=True)
    summary: dict[str, Any] = {}
    with (options.output / "log.txt").open("ab") as log:
        for stage in stages:
            left = end - time.monotonic() - ENDING_SECONDS
            if left < stage.least:
                summary[stage.name] = {"state": "skipped", "reason": f"{left:.0f} s left, it needs {stage.least:.0f}"}
            else:
                limit = min(left, stage.most)
                command = [sys.executable, __file__, "--stage", stage.name, "--output", str(options.output), *words]
                summary[stage.name] = ended_within(limit, [*command, *(["--tiny"] if options.tiny else [])], log)
            print(f"{stage.name}: {json.dumps(summary[stage.name])}", flush=True)
            write_json(options.output / "summary.json", summary)
    return int(any(one["state"] != "done" for one in summary.values()))


def ended_within(seconds: float, command: Sequence[str], log: Any) -> dict[str, Any]:
    """How the process ended; it is asked to at its limit, and killed soon after; what it started never outlives it."""
    started = time.monotonic()
    environment = os.environ | {SECONDS: str(seconds), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        code = process.wait(seconds)
        state = "failed" if code else "done"
    except subprocess.TimeoutExpired:
        state = "cut short"
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING_SECONDS)
    with contextlib.suppress(ProcessLookupError):  # what it left would be timed with the next stage
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return {"state": state, "seconds": round(time.monotonic() - started, 1)}


def work(name: str, output: Path, tiny: bool, words: Sequence[str]) -> None:
    """The rows of a stage, written with every new one."""
    import torch
    from harness import result

    if not (tiny or torch.cuda.is_available()):
        raise UserError("there is no GPU here; --tiny rehearses on a CPU")
    rows: list[dict[str, Any]] = []
    for row in importlib.import_module(f"evidence.{name}").rows(tiny, words):
        rows.append(row)
        print(json.dumps(row), flush=True)
        write_json(
            output / f"{name}.json",
            result(["torch", "triton", "transformers", "accelerate", "tokenizers"], tiny=tiny, rows=rows),
        )


if __name__ == "__main__":
    run_command(main)
