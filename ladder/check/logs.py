"""A run's log.jsonl as arrays: what was written down every few steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ladder.records.run_log import read_rows

NUMBERS = ("loss", "lr", "grad_norm", "skipped", "left_out")


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """All (rows,), NaN where a row has no such number; steps rise."""

    steps: np.ndarray
    loss: np.ndarray
    lr: np.ndarray
    grad_norm: np.ndarray
    skipped: np.ndarray
    left_out: np.ndarray

    def __len__(self) -> int:
        return len(self.steps)


def read_log(path: Path) -> RunLog:
    """Of several rows of one step the last counts; no file is a log without rows."""
    by_step = {row.step: row for row in read_rows(path)}
    rows = [by_step[step] for step in sorted(by_step)]
    columns = {name: np.array([getattr(row, name) for row in rows], dtype=float) for name in NUMBERS}
    return RunLog(steps=np.array([row.step for row in rows], dtype=int), **columns)


def log_of(steps: np.ndarray, loss: np.ndarray) -> RunLog:
    """A loss at some steps as a log that has nothing else."""
    others = {name: np.full(len(steps), np.nan) for name in NUMBERS if name != "loss"}
    return RunLog(steps=steps, loss=loss, **others)
