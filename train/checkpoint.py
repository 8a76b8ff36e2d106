"""Two kinds of checkpoint: weights in Hugging Face layout for everyone, and one rolling full state for resuming.

Both are written beside and renamed into place, so what has its final name is whole, and the older state goes only
after the newer one is there.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import Olmo2ForCausalLM, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from ladder.errors import UserError
from ladder.files import TEMPORARY_PREFIX, atomic_directory
from ladder.rundir import RUNG_FILE, step_name

_STATE_FILE = "state.pt"
disable_progress_bar()  # transformers would draw one per weight file, in the middle of ours


def save_weights(
    path: Path, model: Olmo2ForCausalLM, tokenizer: PreTrainedTokenizerBase, rung_info: dict[str, Any]
) -> None:
    """A directory that `from_pretrained` of model and tokenizer, vLLM and lm-eval load as it lies."""
    with atomic_directory(path) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / RUNG_FILE).write_text(json.dumps(rung_info, indent=1) + "\n")


def save_resume(directory: Path, step: int, state: dict[str, Any]) -> None:
    """Writes `directory`/step-…, then removes older states."""
    with atomic_directory(directory / step_name(step)) as temporary:
        torch.save(state, temporary / _STATE_FILE)
    for path in directory.iterdir():
        if path.name != step_name(step):
            shutil.rmtree(path)


def load_resume(directory: Path) -> dict[str, Any] | None:
    """The newest state, tensors on the CPU; None where there is none.

    Raises:
        UserError: the newest state cannot be read.
    """
    if not directory.is_dir():
        return None
    for leftover in directory.glob(f"{TEMPORARY_PREFIX}*"):  # a write that a kill cut short
        shutil.rmtree(leftover)
    states = sorted(directory.glob("step-*"))
    if not states:
        return None
    try:
        state: dict[str, Any] = torch.load(states[-1] / _STATE_FILE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{states[-1]} cannot be read ({str(error).splitlines()[0]}); remove it to start the run again from step 1"
        ) from None
    return state
