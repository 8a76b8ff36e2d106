"""Workers that share a directory: a claim says that a checkpoint is being measured, a heart beat that it still is."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ladder.errors import UserError
from ladder.process.processes import process_lives

HEARTBEAT_SECONDS = 10.0
EXPIRY_SECONDS = 60.0  # six missed beats: the worker is dead, or its file system is


@contextlib.contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Whether the work that `path` stands for is ours until the block ends; False while a live worker has it.

    A claim only saves work: results are written whole and are equal whoever makes them, so that two workers who both
    think it theirs (one was stopped for longer than the expiry) do no harm.
    """
    token = uuid.uuid4().hex
    if not _acquire(path, token):
        yield False
        return
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        stop.set()
        beat.join()
        if _owner(path).get("token") == token:
            path.unlink(missing_ok=True)


def _acquire(path: Path, token: str) -> bool:
    mine = path.with_name(f".tmp-{token}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text(json.dumps({"token": token, "host": socket.gethostname(), "pid": os.getpid()}))
        try:
            os.link(mine, path)  # unlike a rename, fails where there is one
            return True
        except FileExistsError:
            return _take_over(path, mine)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another directory with --output") from error
    finally:
        with contextlib.suppress(OSError):
            mine.unlink()


def _take_over(path: Path, mine: Path) -> bool:
    """Replaces an expired claim; who holds the marker named after its token may, and no one else."""
    owner = _owner(path)
    if not _expired(path, owner):
        return False
    marker = path.with_name(f"{path.name}.{owner.get('token', 'damaged')}")
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        if _age(marker) > EXPIRY_SECONDS:  # whoever made it died at once
            marker.unlink(missing_ok=True)
        return False
    try:
        if _owner(path) != owner or not _expired(path, owner):  # another worker was faster
            return False
        mine.replace(path)
        return True
    finally:
        marker.unlink(missing_ok=True)


def _expired(path: Path, owner: dict[str, Any]) -> bool:
    if owner.get("host") == socket.gethostname() and not process_lives(int(owner["pid"])):
        return True
    return _age(path) > EXPIRY_SECONDS


def _owner(path: Path) -> dict[str, Any]:
    try:
        owner = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):  # gone or damaged
        return {}
    return owner if isinstance(owner, dict) else {}


def _age(path: Path) -> float:
    """Seconds since the file was touched, by the clock of its file system, which may not be this machine's."""
    probe = path.with_name(f".tmp-{uuid.uuid4().hex}")
    probe.touch()
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:  # released just now
        return 0.0
    finally:
        probe.unlink()


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)
