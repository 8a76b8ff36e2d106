"""`make demo`: data, ladder, prediction, target, comparison; every step is a command you could type yourself.

First it shows what all of it is for: what AI2's ladder says of a 13B model. The prediction of its own ladder is written
to disk, and its hash printed, before the target is trained. Run again it does nothing twice.
"""

from __future__ import annotations

import sys

from steps import CORES, end, run, start, wall_seconds

from ladder.command.running import Parser, run_command
from ladder.config.config import ladder_from_config, load_config
from ladder.files.hashing import sha256_of
from ladder.process.cpu import prepare_cpu
from ladder.rungs.rung import Ladder, Rung
from ladder.runs.rundir import LadderDirectory
from ladder.runs.show import duration
from ladder.runs.status import RunState, ladder_status

prepare_cpu()

PREPARATION_SECONDS = 30
PURPOSE = """\
What this is for: 16 models of up to 1.3B that AI2 trained say how good one of 13B on 5T tokens will be, for 1% of its
FLOPs. The rest of this demo does the same, from the text on and as small as it can be."""


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/demo.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 4xC only, target n5-4xC: about half the time")
    quick = parser.parse_args(argv).quick
    name = "n5-4xC" if quick else "n5-8xC"
    overrides = ["ladder=nano", f"ladder.multiples=[{'1,2,4' if quick else '1,2,4,8'}]", f"target.name={name}"]
    config = load_config(overrides)
    ladder = ladder_from_config(config)
    target = ladder.rung(name)
    directory = LadderDirectory(config.directory)
    print(PURPOSE, flush=True)
    run(sys.executable, "-m", "predict", "--target", "13B-5T")
    preparation = start(sys.executable, "scripts/prepare_data.py", "data=sotu")
    print_estimate(ladder, target, directory, config.suite.forward_tokens or 0)
    end(preparation)
    run(sys.executable, "-m", "ladder", "run", *overrides)
    forecast = directory.prediction(target.name)
    if directory.run(target.name).measured_steps():
        print(f"note: {target.name} was trained by an earlier call")
    print(f"SHA-256 of that prediction: {sha256_of(forecast)}", flush=True)
    run(sys.executable, "-m", "ladder", "run", *overrides, f"rung={target.name}")
    run(sys.executable, "-m", "predict", "score", str(forecast), "--measured", str(directory.path))
    print(conclusion(ladder, target))
    report = directory.report(target.name)
    sizes = ["--sizes", ",".join(ladder.sizes), "--multiples", ",".join(f"{m:g}" for m in ladder.multiples)]
    selection = ["--ladder", str(directory.path), "--target", target.name, *sizes]
    run(sys.executable, "-m", "predict", "report", *selection, "--output", str(report))
    print(f"plots and report: {report}/report.html")
    return 0


def print_estimate(ladder: Ladder, target: Rung, directory: LadderDirectory, evaluation_tokens: float) -> None:
    """Times a few real training steps of every size and adds up what is still to do."""
    print("timing this machine …", flush=True)
    todo = [s.rung for s in ladder_status(directory, [*ladder.rungs, target]) if s.state is not RunState.DONE]
    together, alone = ([rung for rung in todo if (rung.name == target.name) == last] for last in (False, True))
    wall = PREPARATION_SECONDS + wall_seconds(ladder, together, alone, evaluation_tokens)
    print(f"{len(todo)} of {len(ladder.rungs) + 1} runs to train, about {duration(wall)} on {CORES} idle cores")


def conclusion(ladder: Ladder, target: Rung) -> str:
    share = sum(rung.flops_6nd for rung in ladder.rungs) / target.flops_6nd
    size = target.n / max(rung.n for rung in ladder.rungs)
    return (
        f"What this shows: the pipeline works end to end, and laws fitted on {len(ladder.rungs)} small models, for "
        f"{share:.0%} of its FLOPs, carry over to one {size:.1f} times larger than any of them.\n"
        "What it does not show: that they carry over two orders of magnitude, as the paper's ladder must (1% of its "
        "target's FLOPs); models this small leave the exponents loosely determined. See README, Limits."
    )


if __name__ == "__main__":
    run_command(main)
