"""Processes held at a known point, so that a test never signals, kills or looks too early or too late.

`python tests/held.py DIRECTORY MODULE WORD …` is `python -m MODULE WORD …`, but a training waits before the update that
`Hold.at` names for its run, and a worker before it measures the checkpoint of that step. It goes on once it gets a
signal that it handles (and then deals with it), or once it is released. A held `ladder run` holds the trainings that it
starts. So nothing depends on how fast a machine is, and a time limit exists only to end a hang.
"""

from __future__ import annotations

import dataclasses
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HANG_SECONDS = 1800


def wait_until(condition: Callable[[], object], *needed: subprocess.Popen[str]) -> None:
    """Waits for the condition; fails where one of the processes that it `needed` has ended, or nothing comes of it."""
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        for process in needed:
            assert process.poll() is None, (process.args, process.returncode, process.communicate(timeout=60))
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass(frozen=True)
class Hold:
    """A file named after a run says at which step its processes are to wait; one with `.RANK.held` that one does."""

    directory: Path

    def command(self, module: str, *words: str) -> list[str]:
        return [sys.executable, __file__, str(self.directory), module, *words]

    def at(self, run: str, step: int) -> None:
        for mark in self.directory.glob(f"{run}.*.held"):
            mark.unlink()
        (self.directory / run).write_text(str(step))

    def until_held(self, run: str, *needed: subprocess.Popen[str], processes: int = 1) -> None:
        for rank in range(processes):
            wait_until(self._mark(run, str(rank)).exists, *needed)

    def release(self, run: str) -> None:
        """It goes on, and one that is started later does not wait."""
        (self.directory / run).unlink(missing_ok=True)

    def release_all(self) -> None:
        for path in self.directory.glob("*"):
            path.unlink()

    def _mark(self, run: str, rank: str) -> Path:
        return self.directory / f"{run}.{rank}.held"

    def pause(self, run: str, step: int) -> None:
        """In the process that is held."""
        point = self.directory / run
        if not point.exists() or point.read_text() != str(step):
            return
        received, wakeup = socket.socketpair()
        wakeup.setblocking(False)
        before = signal.set_wakeup_fd(wakeup.fileno())
        self._mark(run, os.environ.get("RANK", "0")).touch()
        deadline = time.monotonic() + HANG_SECONDS
        while point.exists() and not select.select([received], [], [], 0.02)[0]:
            if time.monotonic() > deadline:  # its test was killed
                os._exit(1)
        signal.set_wakeup_fd(before)


def hold_trainings(hold: Hold) -> None:
    from train.trainer import Trainer

    update = Trainer._update

    def held(trainer: Trainer, step: int) -> Any:
        hold.pause(trainer.run.name, step)
        return update(trainer, step)

    Trainer._update = held  # type: ignore[method-assign]


def hold_measurements(hold: Hold) -> None:
    from evaluate.session import Session

    measure = Session._measure

    def held(session: Session, order: Any, following: Sequence[Any]) -> Any:
        origin = order.checkpoint.origin()
        hold.pause(origin.run, origin.step)
        return measure(session, order, following)

    Session._measure = held  # type: ignore[method-assign]


def hold_started(hold: Hold) -> None:
    """The launcher itself does not wait, but the trainings that it starts do."""
    from ladder.jobs import launch

    training_job = launch.training_job

    def held(*arguments: Any) -> Any:
        job = training_job(*arguments)
        _, *words = hold.command(*job.words[1:])  # without python and -m
        return dataclasses.replace(job, words=tuple(words))

    launch.training_job = held


HOLDS = {"train": hold_trainings, "evaluate": hold_measurements, "ladder": hold_started}

if __name__ == "__main__":
    _, directory, module, *words = sys.argv
    sys.path[0] = str(Path.cwd())
    sys.argv = [module, *words]
    HOLDS[module](Hold(Path(directory)))
    runpy.run_module(module, run_name="__main__", alter_sys=True)
