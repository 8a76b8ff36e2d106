"""`make mini`: the mini ladder from text to the test of its predictions; every step is a command you could type.

The predictions of both targets by both methods are written and hashed before either target is begun, and never after.
Stopped at any point it goes on there when called again; key=value words go to every command.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from steps import CORES, run, wall_seconds

from ladder.command.arguments import split_overrides
from ladder.command.running import Parser, run_command
from ladder.config.config import load_config
from ladder.config.data import check_data
from ladder.errors import UserError
from ladder.files.hashing import sha256_of
from ladder.files.writing import write_text
from ladder.process.cpu import prepare_cpu
from ladder.rungs.rung import Ladder
from ladder.runs.rundir import LadderDirectory
from ladder.runs.show import duration
from ladder.runs.status import RunState, ladder_status

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
    check_data(config.data, [*ladder.rungs, *map(ladder.rung, TARGETS)])  # now, not after the hours before the target
    print_estimate(ladder, directory, config.suite.forward_tokens or 0)
    python("ladder", "run", *words)
    for name, seed in RERUNS.items():
        python("ladder", "run", *words, f"rung={name}", f"seed={seed}")
    forecasts = predict(directory)
    for target in TARGETS:
        python("ladder", "run", *words, f"rung={target}")
    for target in TARGETS:
        selection = ("--target", target, "--output", str(directory.report(target)))
        python("predict", "report", "--ladder", str(directory.path), *selection)
    python("predict", "score", *map(str, forecasts), "--measured", str(directory.path))
    return 0


def python(*words: str) -> None:
    run(sys.executable, "-m", *words)


def print_estimate(ladder: Ladder, directory: LadderDirectory, evaluation_tokens: float) -> None:
    print("timing this machine …", flush=True)
    small = [*ladder.rungs, *map(ladder.rung, RERUNS)]
    large = [ladder.rung(target) for target in TARGETS]
    missing = {
        status.rung.name for status in ladder_status(directory, [*small, *large]) if status.state is not RunState.DONE
    }
    together, alone = ([rung for rung in rungs if rung.name in missing] for rungs in (small, large))
    seconds = wall_seconds(ladder, together, alone, evaluation_tokens)
    print(f"{len(missing)} of {len(small) + len(large)} runs to train, about {duration(seconds)} on {CORES} idle cores")


def predict(directory: LadderDirectory) -> list[Path]:
    """Every target's forecast by every method: those on disk, or, before a target is begun, newly made ones.

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
            if not path.exists():  # as it does where an earlier call was stopped in between
                register(directory, target, method, path)
        write_text(hashes, "".join(f"{sha256_of(path)}  {path.name}\n" for path in paths.values()))
    print(f"\n{hashes}:\n{(text := hashes.read_text(encoding='utf-8'))}", flush=True)
    for path in paths.values():
        if f"{sha256_of(path)}  {path.name}" not in text.splitlines():
            raise UserError(f"{path} was changed after its hash was written to {hashes}; put it back as it was")
    return list(paths.values())


def register(directory: LadderDirectory, target: str, method: str, path: Path) -> None:
    """Writes one forecast."""
    words = ("--ladder", str(directory.path), "--target", target, "--method", method, "--output", str(path))
    python("predict", "register", *words)


if __name__ == "__main__":
    run_command(main)
