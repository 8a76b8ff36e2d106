"""The processes that `accelerate launch` started: who does which batches, and how their results come together."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from ladder.process.agreement import agree
from ladder.process.gpus import check_gpus

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """One process alone, or `count` of them in lockstep; rank 0 alone takes decisions off the disk and writes."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def launched(cls) -> Processes:
        """As the environment says; alone unless `accelerate launch` or torchrun started more.

        Raises:
            UserError: torch sees fewer GPUs than the job was given.
        """
        check_gpus(torch)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(rank=state.process_index, count=state.num_processes, device=state.device)

    def part(self) -> None:
        """Leaves the group, once all is done: a process that ends inside of it may be aborted by its threads."""
        if self.count > 1:
            dist.destroy_process_group()

    @property
    def main(self) -> bool:
        return self.rank == 0

    def agree(self, decide: Callable[[], T]) -> T:
        """What the main process decides, in every process; an error in it is raised in all of them."""
        if self.count == 1:
            return decide()
        return agree(decide, main=self.main, broadcast=functools.partial(dist.broadcast_object_list, src=0))

    def main_first(self, make: Callable[[], T]) -> T:
        """`make()` in the main process, which leaves it cached on disk, then in the others."""
        made: list[T] = []
        self.agree(lambda: made.append(make()))
        return made[0] if made else make()

    def add(self, part: np.ndarray) -> np.ndarray:
        """The sum of every process's part, float64, exact where all but one are 0."""
        if self.count == 1:
            return part
        total = torch.from_numpy(part).to(self.device)
        dist.all_reduce(total)
        return total.cpu().numpy()
