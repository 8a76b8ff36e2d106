"""Keeps the notices of libraries out of what a command prints; call it before they are imported."""

from __future__ import annotations

import os
import sys
import warnings


def quiet_libraries() -> None:
    """Warnings and progress bars of others are off, unless the environment or `python -W` asks for them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
