"""The stages (`train`, `evaluate`, `predict`, and `ladder` itself) as commands that start processes.

In a checkout a stage is a package that runs by its name. The installed tool has the packages inside `model_ladder`
(setup.py says why), and its one command starts all of them.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence

from ladder.errors import UserError

INSTALLED = __name__.startswith("model_ladder.")


def stage(name: str, *words: str) -> tuple[str, ...]:
    """What follows `python` to run a stage with these words."""
    return ("-m", "model_ladder", name, *words) if INSTALLED else ("-m", name, *words)


def python_shown() -> str:
    """How a line to copy names Python: of an installed tool in full, since the tool's is rarely the shell's."""
    return shlex.quote(sys.executable) if INSTALLED else "python"


def launcher_shown() -> str:
    """How a line to copy starts accelerate's launcher."""
    return f"{python_shown()} -m accelerate.commands.launch" if INSTALLED else "accelerate launch"


def stage_output(*words: str, allowed: Sequence[int] = ()) -> str:
    """What a stage prints that is run to its end. Its error is raised as ours.

    Codes `allowed` beside 0 are none where it printed something: Python itself ends with 1 after a crash.
    """
    done = subprocess.run([sys.executable, *stage(*words)], capture_output=True, text=True)
    if done.returncode and not (done.returncode in allowed and done.stdout):
        raise UserError((done.stderr.strip().splitlines() or [f"{words[0]} failed"])[-1].removeprefix("error: "))
    return done.stdout
