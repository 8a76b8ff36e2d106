"""A run's history: a row when it is started (where, with which code and versions), a row when that start ends.

`events.jsonl` only grows. A start without an end is at work, or was killed without a word; on the machine that it ran
on, its process says which.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ladder.files.writing import cannot_write, write_text
from ladder.process.processes import process_lives, process_start
from ladder.process.provenance import git_diff, git_revision, versions
from ladder.runs.rundir import RunDirectory


@dataclass(frozen=True, kw_only=True)
class History:
    starts: int = 0
    start: dict[str, Any] | None = None
    end: dict[str, Any] | None = None

    @property
    def restarts(self) -> int:
        return max(0, self.starts - 1)

    @property
    def error(self) -> str:
        """What ended the last start, where that was an error."""
        return str(self.end["error"]) if self.end and self.end.get("error") else ""

    @property
    def alive(self) -> bool | None:
        """Whether the last start is at work; None where only the machine that it runs on could tell."""
        if self.start is None or self.end is not None:
            return False
        if self.start.get("host") != socket.gethostname():
            return None
        return process_lives(self.start["pid"], self.start.get("started"))


def read_history(run: RunDirectory) -> History:
    """Rows that a kill cut short are passed over."""
    history = History()
    try:
        lines = run.events_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return history
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(row, dict):
            continue
        if row.get("event") == "start" and isinstance(row.get("pid"), int):
            history = History(starts=history.starts + 1, start=row)
        elif row.get("event") == "end":
            history = History(starts=history.starts, start=history.start, end=row)
    return history


def at_work(run: RunDirectory) -> int | None:
    """The process of this machine that trains the run; None where there is none."""
    history = read_history(run)
    return int(history.start["pid"]) if history.start and history.alive else None


def finished(run: RunDirectory, total_steps: int) -> bool:
    """Whether the run is trained to its end, its last weights at hand or, once measured, removed."""
    if run.checkpoint(total_steps).exists():
        return True
    history = read_history(run)
    return run.metrics_file(total_steps).exists() and history.end is not None and not history.error


@contextlib.contextmanager
def recorded(run: RunDirectory, **facts: Any) -> Iterator[None]:
    """Writes the two rows around the body; an exception is recorded in one line and goes on."""
    _append(run, {"event": "start", **_here(), **_code(run), **facts})
    error = None
    try:
        yield
    except BaseException as failure:
        error = " ".join(f"{type(failure).__name__}: {failure}".split())
        raise
    finally:
        _append(run, {"event": "end", "time": _now(), "error": error})


def _here() -> dict[str, Any]:
    job = {"job": os.environ["SLURM_JOB_ID"]} if "SLURM_JOB_ID" in os.environ else {}
    process = {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}
    return {"time": _now(), **process, "argv": sys.argv[1:], **job}


def _code(run: RunDirectory) -> dict[str, Any]:
    """Revision and versions; where the checkout differs from the revision, the difference is kept beside."""
    code: dict[str, Any] = {
        "git_revision": git_revision(),
        "versions": versions("torch", "transformers", "accelerate", "tokenizers", "numpy"),
    }
    if difference := git_diff():
        path = run.code_diff(hashlib.sha256(difference.encode()).hexdigest())
        if not path.exists():
            write_text(path, difference)
        code["git_diff"] = path.name
    return code


def _append(run: RunDirectory, row: dict[str, Any]) -> None:
    """One write in append mode, so that rows of two processes do not mix."""
    try:
        with run.events_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise cannot_write(run.events_file, error) from None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
