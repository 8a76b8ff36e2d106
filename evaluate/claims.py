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

from ladder.errors import UserError

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
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and _expired(path):
        aside = path.with_name(f"{path.name}.{token}")
        with contextlib.suppress(FileNotFoundError):  # another worker was faster
            path.rename(aside)  # of several workers, one succeeds
            aside.unlink()
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another directory with --output") from error
    with os.fdopen(descriptor, "w") as file:
        json.dump({"token": token, "host": socket.gethostname(), "pid": os.getpid()}, file)
    return True


def _expired(path: Path) -> bool:
    owner = _owner(path)
    if owner.get("host") == socket.gethostname() and not _alive(int(owner["pid"])):
        return True
    try:
        return _file_system_now(path.parent) - path.stat().st_mtime > EXPIRY_SECONDS
    except FileNotFoundError:
        return False


def _owner(path: Path) -> dict[str, str]:
    try:
        owner = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):  # gone, or just being written
        return {}
    return owner if isinstance(owner, dict) else {}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _file_system_now(directory: Path) -> float:
    """The time as the file system stamps it, which on a shared one is not this machine's."""
    probe = directory / f".tmp-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)
