"""A directory that one process at a time works in."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from ladder.errors import UserError
from ladder.files.writing import cannot_write
from ladder.process.processes import process_lives, process_start

_HOLDER = re.compile(r"process (\d{1,18}) on (\S+) since (\d{1,18})\s*")


@contextlib.contextmanager
def exclusive(directory: Path, what: str) -> Iterator[None]:
    """Holds `directory`/.lock while the body runs; the lock ends with the process, however it ends.

    Raises:
        UserError: another process holds it; the message names that process.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("a+", errors="replace")
    except OSError as error:
        raise cannot_write(directory, error) from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().partition(" since ")[0].strip() or "no name"
            raise UserError(
                f"{directory}: {what} is at work there already ({holder}); wait for it, or python -m ladder cancel"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} since {process_start(os.getpid()) or 0}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def lock_holder(directory: Path) -> tuple[int, str] | None:
    """Process and host that hold `directory` through `exclusive`; None where nobody does.

    Of another host's process it is only known that it did not let go in order.
    """
    try:
        text = (directory / ".lock").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    if (match := _HOLDER.fullmatch(text)) is None:  # nobody's, or damaged
        return None
    process, host, started = int(match[1]), match[2], int(match[3])
    if host == platform.node() and not process_lives(process, started or None):
        return None
    return process, host
