"""Files and directories that are whole or absent: write beside, fsync, rename."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
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


def cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {path}: {error.strerror or error}; free space or choose another directory")


def file_to_write(path: Path) -> Path:
    """Where a file of that name is to be written: behind links.

    Raises:
        UserError: a directory or a device is there, which would be replaced, or a folder of `path` is a file.
    """
    real = _behind_links(path)
    if real.is_dir():
        raise UserError(f"cannot write {path}: it is a directory; give the name of a file")
    if real.exists() and not real.is_file():
        raise UserError(f"cannot write {path}: it is no ordinary file; give another name")
    return real


def directory_to_write(path: Path) -> Path:
    """As `file_to_write`, of a directory."""
    real = _behind_links(path)
    if real.exists() and not real.is_dir():
        raise UserError(f"{path} is a file; give the name of a directory")
    return real


def _behind_links(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    try:
        if real.is_symlink():  # a loop, which has no end
            raise UserError(f"cannot write {path}: it is a link to itself; give another name")
        real.exists()
        above = next(folder for folder in real.parents if folder.exists())
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise cannot_write(path, error) from error
    if not above.is_dir():
        raise UserError(f"cannot write {path}: {above} is a file; choose another directory")
    if not os.access(above, os.W_OK | os.X_OK) and not real.exists():
        raise UserError(f"cannot write {path}: {above} may not be written to; choose another directory")
    return real


@contextlib.contextmanager
def leaving_no_folder(directory: Path) -> Iterator[None]:
    """Where the body fails, `directory` and its parents are taken away again, if they came with it and are empty."""
    new = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):  # something lies there
                path.rmdir()
        raise


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Makes the directory where it is absent, and `leaving_no_folder` where the body fails."""
    with leaving_no_folder(path):
        path.mkdir(parents=True, exist_ok=True)
        yield


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same directory; on success it becomes `path`, else it is removed."""
    real = file_to_write(path)
    temporary = real.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{real.name}")
    try:
        with _folder(real.parent):
            try:
                yield temporary
                fsync_path(temporary)
                temporary.replace(real)
                fsync_path(real.parent)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink()
    except OSError as error:
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def files_into(path: Path) -> Iterator[Path]:
    """Yields an empty directory whose files, on success, come into the directory `path` beside what is there."""
    real = directory_to_write(path)
    temporary = real / f"{TEMPORARY_PREFIX}{os.getpid()}"
    try:
        with _folder(real):
            try:
                temporary.mkdir()
                yield temporary
                places = {file: file_to_write(path / file.name) for file in temporary.iterdir()}
                for file, place in places.items():
                    file.replace(place)
                fsync_path(real)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error) from error


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
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
