"""A run's log.jsonl, a row every few steps, read for all stages. Lines that are no rows, as a kill leaves them, are
passed over.

`train/trainer.py` writes it, `train/log.py` carries it on; `ladder/runs/status.py` reads its end, `ladder/check/` all
of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

TAIL = 8192  # bytes at the end of a log, of which a row takes some 300


@dataclass(frozen=True, kw_only=True)
class LogRow:
    """What was written down at a step; None where the row has no such number. `line` is the row as it stands there.

    `loss` (nats per token), `tokens_per_second` and `left_out` (share of the sequences) are means since the row before,
    `skipped` counts updates since the run was begun, `mfu` is a share of the devices' peak.
    """

    step: int
    line: str
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    skipped: float | None = None
    left_out: float | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None
    mfu: float | None = None


NUMBERS = [field.name for field in fields(LogRow) if field.default is None]


def read_rows(path: Path) -> list[LogRow]:
    """Every row in the order of the file; none where there is no file."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [row for line in content.splitlines() if (row := _row(line)) is not None]


def last_row(path: Path) -> LogRow | None:
    """The last row, found from the end, however long the log is; None where it has none, or cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().splitlines()
    except OSError:
        return None
    return next((row for line in reversed(lines) if (row := _row(line)) is not None), None)


def _row(line: bytes) -> LogRow | None:
    text = line.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or type(step := value.get("step")) is not int:
        return None
    return LogRow(step=step, line=text, **{name: _number(value.get(name)) for name in NUMBERS})


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
