"""SIGKILL at many moments, some inside a save: the run goes on from a good state and ends bit for bit the same."""

from __future__ import annotations

import os
import random
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import make_trainer
from safetensors.torch import load_file
from test_train_run import log_rows

from ladder.files import writing
from ladder.runs.rundir import RunDirectory
from train.trainer import Trainer

KILLS = 24


def in_child(work: Callable[[], None]) -> int:
    """Runs `work` in a forked process and returns how it ended (0, or minus the signal)."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at(count: int) -> Callable[..., None]:
    """A function that kills its process at its `count`-th call."""
    calls = {"left": count}

    def tick(*_: object) -> None:
        calls["left"] -= 1
        if calls["left"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return tick


def train_until_killed(make: Callable[[str], Trainer], in_save: bool, count: int) -> None:
    tick = kill_at(count)
    trainer = make("killed")
    if in_save:  # every file and directory of a checkpoint is synced, then renamed into place
        fsync, rename = writing.fsync_path, Path.rename
        writing.fsync_path = lambda path: (tick(), fsync(path))[1]
        Path.rename = lambda path, target: (rename(path, target), tick())[0]  # type: ignore[method-assign]
    else:
        update = Trainer._update
        trainer._update = lambda step: (tick(), update(trainer, step))[1]  # type: ignore[method-assign]
    trainer.train()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("schedule", "longest"), [pytest.param("cosine", 18, marks=pytest.mark.slow), ("wsd", 6)]
)  # before the decay no weights are kept
def test_killed_many_times_it_ends_the_same(corpus: Path, tmp_path: Path, schedule: str, longest: int) -> None:
    words = (f"ladder.recipe.schedule={schedule}", "ladder.recipe.checkpoint_steps_per_multiple=15")

    def make(name: str) -> Trainer:
        return make_trainer(corpus, tmp_path / name, *words)

    assert in_child(lambda: make("whole").train()) == 0
    whole, run = (RunDirectory(tmp_path / name / "nano" / "n0-1xC") for name in ("whole", "killed"))
    moments = random.Random(0)
    killed_in_save, resumed_from = [], set()
    for kill in range(KILLS):
        in_save = kill % 2 == 0
        count = moments.randint(1, longest if in_save else 20)
        code = in_child(lambda in_save=in_save, count=count: train_until_killed(make, in_save, count))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed_in_save.append(in_save and bool(list(run.path.rglob(".tmp-*"))))
        for state in run.resume.glob("step-*"):
            resumed_from.add(torch.load(state / "state.pt", weights_only=True)["step"])
    assert len(killed_in_save) >= 10
    assert sum(killed_in_save) >= 3
    assert len(resumed_from) >= 4
    assert in_child(lambda: make("killed").train()) == 0
    assert log_rows(run) == log_rows(whole)
    assert run.checkpoint_steps() == whole.checkpoint_steps()
    for step in whole.checkpoint_steps():
        ours, theirs = (load_file(r.checkpoint(step) / "model.safetensors") for r in (run, whole))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    final = [torch.load(next(r.resume.glob("*/state.pt")), weights_only=True) for r in (run, whole)]
    for ours, theirs in zip(
        final[0]["optimizer"]["state"].values(), final[1]["optimizer"]["state"].values(), strict=True
    ):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not list(run.path.rglob(".tmp-*"))
