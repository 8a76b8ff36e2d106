"""Where a result comes from: the code's git revision and the versions of what it ran on."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

from ladder.stages import INSTALLED

PROJECT = "model-ladder"
ROOT = Path(__file__).resolve().parent.parent


def _git(*words: str) -> str:
    """What git prints in the checkout; empty outside one, such as in an environment inside another project's."""
    if INSTALLED:
        return ""
    try:
        command = ["git", "-C", str(ROOT), *words]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout


@functools.cache
def git_revision() -> str:
    """The checkout's commit, with `+changes` where the tree differs from it; "unknown" outside a git checkout.

    Of an installed tool the commit that it was built from, or its version where pip was given no repository.
    """
    if INSTALLED:
        return _installed_revision()
    revision = _git("rev-parse", "HEAD").strip()
    return revision + ("+changes" if _git("status", "--porcelain", "-uno").strip() else "") if revision else "unknown"


def _installed_revision() -> str:
    distribution = importlib.metadata.distribution(PROJECT)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")  # PEP 610
    return str(origin.get("vcs_info", {}).get("commit_id") or f"{PROJECT} {distribution.version}")


def git_diff() -> str:
    """How the checkout's tracked files differ from its commit; empty where they do not."""
    return _git("diff", "HEAD")


def versions(*packages: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
