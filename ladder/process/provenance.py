"""Where a result comes from: the code's git revision and the versions of what it ran on."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from ladder.process.stages import INSTALLED

PROJECT = "model-ladder"
ROOT = Path(__file__).resolve().parents[2]


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
    version = importlib.metadata.version(PROJECT)
    return str(_origin().get("vcs_info", {}).get("commit_id") or f"{PROJECT} {version}")


def requirement(extra: str) -> str:
    """What pip, pipx and uv are to install for this tool to have `extra` too: from where it was installed before."""
    if not INSTALLED:
        return f".[{extra}]"
    origin = _origin()
    if "url" not in origin:
        return f"{PROJECT}[{extra}]"
    vcs = origin.get("vcs_info", {}).get("vcs")
    return f"{PROJECT}[{extra}] @ {f'{vcs}+' if vcs else ''}{origin['url']}"


def _origin() -> dict[str, Any]:
    """What pip noted of where the installed tool comes from (PEP 610); nothing where that was a package index."""
    origin: dict[str, Any] = json.loads(importlib.metadata.distribution(PROJECT).read_text("direct_url.json") or "{}")
    return origin


def git_diff() -> str:
    """How the checkout's tracked files differ from its commit; empty where they do not."""
    return _git("diff", "HEAD")


def versions(*packages: str) -> dict[str, str]:
    by_package = {"python": platform.python_version()}
    for package in packages:
        try:
            by_package[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            by_package[package] = "absent"
    return by_package
