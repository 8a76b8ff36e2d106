"""Models that other programs wrote: what is none that can be measured, and what a reader of the numbers must know."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ladder.errors import UserError, shortened
from ladder.files.reading import read_json

CONFIG_FILE, ADAPTER_FILE = "config.json", "adapter_config.json"
TEMPLATES = ("chat_template.jinja", "chat_template.json")


def refuse_other_formats(path: Path) -> None:
    """Raises UserError for a GGUF file, a directory of such, or an adapter without its base model."""
    if path.is_file() and path.suffix.lower() == ".gguf":
        raise UserError(f"{path} is llama.cpp's format (GGUF); give the Hugging Face directory that it was made from")
    if not path.is_dir() or (path / CONFIG_FILE).exists():
        return
    if (path / ADAPTER_FILE).exists():
        base = _mapping(path / ADAPTER_FILE).get("base_model_name_or_path")
        of = f" of {shortened(base)}" if isinstance(base, str) else ""
        raise UserError(f"{path} is an adapter{of}, not a model; merge it with peft's merge_and_unload() and save that")
    if next(path.glob("*.gguf"), None):
        raise UserError(f"{path} holds GGUF files (llama.cpp's) only; give the Hugging Face directory it was made from")


def notes_on(directory: Path) -> Iterator[str]:
    """What is unusual about the checkpoint there, a line each."""
    if method := quantisation(directory):
        yield f"its weights are quantised ({method}): the numbers are theirs, not those of the original weights"
    template = _mapping(directory / "tokenizer_config.json").get("chat_template")
    if template or any((directory / name).exists() for name in TEMPLATES):
        yield "its tokenizer has a chat template, which is not used: tasks are scored as plain text, as of a base model"


def quantisation(directory: Path) -> str:
    """How the weights are quantised; empty where they are not."""
    found = _mapping(directory / CONFIG_FILE).get("quantization_config")
    if not isinstance(found, dict):
        return ""
    return shortened(str(found.get("quant_method", "by an unnamed method")), 40)


def _mapping(path: Path) -> dict[str, Any]:
    """Empty where the file is not there or is none, which is said where it is needed."""
    with contextlib.suppress(UserError):
        content = read_json(path)
        return content if isinstance(content, dict) else {}
    return {}
