"""A run's log.jsonl as arrays: what was written down every few steps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
    """Lines that are no rows, as a kill leaves them, are passed over; no file is a log without rows."""
    rows: dict[int, list[float]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        lines = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and type(step := row.get("step")) is int:
            rows[step] = [_number(row.get(name)) for name in NUMBERS]
    steps = sorted(rows)
    columns = np.array([rows[step] for step in steps], dtype=float).reshape(-1, len(NUMBERS)).T
    return RunLog(steps=np.array(steps, dtype=int), **dict(zip(NUMBERS, columns, strict=True)))


def log_of(steps: np.ndarray, loss: np.ndarray) -> RunLog:
    """A loss at some steps as a log that has nothing else."""
    others = {name: np.full(len(steps), np.nan) for name in NUMBERS if name != "loss"}
    return RunLog(steps=steps, loss=loss, **others)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
