"""A run to its end, and one that is stopped and started again; run by several processes, the first one prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from conftest import make_trainer
from torch import Tensor

STOP = 31  # of 45 steps


def train(corpus: Path, directory: Path, stop: int | None = None) -> dict[str, Tensor]:
    """The weights at the end, or after step `stop`."""
    trainer = make_trainer(corpus, directory, "ladder.recipe.tokens_per_parameter=4")
    trainer._should_stop = lambda: trainer._step == stop
    assert trainer.train() == (stop is None)
    return trainer.model.state_dict()


if __name__ == "__main__":
    corpus, directory = map(Path, sys.argv[1:])
    whole = train(corpus, directory / "whole")
    stopped = train(corpus, directory / "again", STOP)
    again = train(corpus, directory / "again")
    moved = not all(torch.equal(again[name], value) for name, value in stopped.items())
    same = all(torch.equal(again[name], value) for name, value in whole.items())
    print(json.dumps({"moved": moved, "same": same}))
    torch.distributed.destroy_process_group()
