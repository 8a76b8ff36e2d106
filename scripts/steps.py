"""What the demo and the mini ladder share: commands shown as one would type them, and how long trainings take here."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from ladder.process.cpu import importing, usable_cores
from ladder.rungs.rung import Ladder, Rung

START_SECONDS = 6.0  # CPU seconds that a training takes before its first step, with its launcher
CORES = min(2, usable_cores())
TWO_PROCESSES = 1.6  # times the speed of one, where they share a training's batches


def run(*command: str) -> None:
    end(start(*command))


def start(*command: str) -> subprocess.Popen[bytes]:
    """Starts a command, shown as one would type it."""
    shown = ["python" if word == sys.executable else word for word in command]
    print(f"\n$ {' '.join(shown)}", flush=True)
    return subprocess.Popen(command)


def end(process: subprocess.Popen[bytes]) -> None:
    """Waits for a command; its failure ends this one with its exit code. Interrupted, it still saves what it was at."""
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    if code:
        sys.exit(code)


def wall_seconds(ladder: Ladder, together: Sequence[Rung], alone: Sequence[Rung], evaluation_tokens: float) -> float:
    """What runs would take on CORES of this machine, were they idle, by a few real steps of every size.

    Args:
        together: runs that are trained at once, on a thread each; `alone`: one after another, by a process per core.
        evaluation_tokens: of one checkpoint; a token that is only read costs a third of one that is learnt.
    """
    cost = {size: seconds_per_token(ladder, size) for size in {rung.size for rung in [*together, *alone]}}

    def cpu_seconds(rung: Rung) -> float:
        tokens = rung.d + len(rung.hparams.checkpoint_steps) * evaluation_tokens / 3
        return START_SECONDS + tokens * cost[rung.size]

    speed = TWO_PROCESSES if CORES == 2 else 1.0
    return sum(map(cpu_seconds, together)) / CORES + sum(map(cpu_seconds, alone)) / speed


def seconds_per_token(ladder: Ladder, size: str) -> float:
    """CPU seconds per training token of one size on one thread."""
    with importing():
        import torch

        from train.model import LossModel, build_model, build_optimizer, model_config

    torch.set_num_threads(1)
    rung = ladder.make_rung(size, 1)
    model = LossModel(build_model(model_config(rung.shape, ladder.recipe), rung.groups, 0), ladder.recipe.z_loss)
    optimizer = build_optimizer(model.model, ladder.recipe, rung)
    tokens = torch.zeros(rung.hparams.batch_sequences, rung.hparams.sequence_length, dtype=torch.long)

    def step() -> float:
        start = time.process_time()
        model(tokens, 1.0 / tokens.numel())[0].backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - start

    step()
    return sorted(step() for _ in range(7))[3] / tokens.numel()
