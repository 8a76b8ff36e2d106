"""Two kinds of checkpoint: weights in Hugging Face layout for everyone, and one rolling full state for resuming.

Both are written beside and renamed into place, so what has its final name is whole, and the older state goes only
after the newer one is there.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Olmo2ForCausalLM, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from ladder.errors import UserError
from ladder.files.writing import atomic_directory, remove_directory
from ladder.records.run_record import CheckpointRecord
from ladder.rungs.memory import ADAM_BYTES
from ladder.rungs.rung import Rung
from ladder.runs.rundir import RUNG_FILE, RunDirectory, step_name

STATE_FILE = "state.pt"
_SPARE = 1.05
disable_progress_bar()  # transformers would draw one per weight file, in the middle of ours


def save_weights(
    path: Path,
    model: Olmo2ForCausalLM,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    record: CheckpointRecord,
) -> None:
    """A directory that `from_pretrained` of model and tokenizer, vLLM and lm-eval load as it lies.

    The weights are written in the dtype they have.
    """
    with atomic_directory(path) as temporary, _as_os_error():
        model.save_pretrained(temporary, state_dict=dict(weights))  # it empties the dictionary it is given
        config = json.loads((temporary / "config.json").read_text())
        config["dtype"] = str(next(iter(weights.values())).dtype).removeprefix("torch.")
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        tokenizer.save_pretrained(temporary)
        record.dump(temporary / RUNG_FILE)


def save_state(path: Path, state: dict[str, Any]) -> None:
    with atomic_directory(path) as temporary, _as_os_error():
        torch.save(state, temporary / STATE_FILE)


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """A full disk comes out of torch and safetensors as errors of their own."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise OSError((str(error) or type(error).__name__).splitlines()[0]) from error


def save_resume(directory: Path, step: int, state: dict[str, Any]) -> None:
    """Writes `directory`/step-…, then removes older states."""
    save_state(directory / step_name(step), state)
    for path in directory.iterdir():
        if path.name != step_name(step):
            shutil.rmtree(path, ignore_errors=True)  # NFS keeps a file that is mapped: it goes after the next state


def load_resume(directory: Path) -> dict[str, Any] | None:
    """The newest state, tensors on the CPU; None where there is none.

    Raises:
        UserError: the newest state cannot be read.
    """
    if not directory.is_dir():
        return None
    states = sorted(directory.glob("step-*"))
    return read_state(states[-1]) if states else None


def read_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path / STATE_FILE, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be read ({reason}); remove it to start the run again from step 1") from None
    return state


def thin_out(run: RunDirectory, keep: int) -> None:
    """Removes the weights of all but the newest `keep` checkpoints, of those that are measured already."""
    measured = set(run.measured_steps())
    for step in run.checkpoint_steps()[:-keep]:
        if step in measured:
            remove_directory(run.checkpoint(step))


def check_disk(
    rung: Rung, run: RunDirectory, keep: int | None, branches: Sequence[int] = (), weight_bytes: int = 4
) -> None:
    """Raises UserError where what the run still has to write does not fit on its disk.

    Args:
        keep: newest weights that stay once the others are measured; None: all.
    """
    steps = rung.hparams.checkpoint_steps
    weights = min(len(steps), keep + 1 if keep else len(steps)) - len(run.checkpoint_steps())
    states = (1 if run.resume.exists() else 2) + sum(not run.branch(step).exists() for step in branches)
    bytes_needed = int(_SPARE * rung.shape.total_parameters * (weight_bytes * max(0, weights) + ADAM_BYTES * states))
    existing = next(path for path in (run.path, *run.path.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if bytes_needed > free:
        raise UserError(
            f"{run.path} needs {bytes_needed / 1e9:,.1f} GB more ({max(0, weights)} weights, {states} full states), "
            f"the disk has {free / 1e9:,.1f} GB free; free space, choose another runs_dir, "
            "or set train.keep_checkpoints=2, which removes older weights once they are measured"
        )


class HostCopy:
    """Copies states into memory of this class's own, which the next copy overwrites.

    From a GPU that is pinned, so that a copy takes a tenth of the time, and kept, since pinning takes long.
    """

    def __init__(self, pin: bool) -> None:
        self._pin = pin
        self._held: dict[tuple[Any, ...], torch.Tensor] = {}

    def of(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state with tensors that no longer change when training goes on; the copy before is no longer valid."""
        copied: dict[str, Any] = self._copy((), state)
        if self._pin:
            torch.cuda.synchronize()
        return copied

    def _copy(self, place: tuple[Any, ...], value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            held = self._held.get(place)
            if held is None or (held.shape, held.dtype) != (value.shape, value.dtype):
                held = self._held[place] = torch.empty_like(value, device="cpu", pin_memory=self._pin)
            return held.copy_(value.detach(), non_blocking=self._pin)
        if isinstance(value, dict):
            return {key: self._copy((*place, key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._copy((*place, number), item) for number, item in enumerate(value)]
        return value


class Writer:
    """Runs one save at a time, in a thread of its own where `background` is set; errors reach the next caller."""

    def __init__(self, background: bool) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpoint") if background else None
        self._pending: Future[None] | None = None

    def submit(self, save: Callable[[], None]) -> None:
        self.wait()
        if self._pool is None:
            save()
        else:
            self._pending = self._pool.submit(save)

    def wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    @property
    def background(self) -> bool:
        return self._pool is not None
