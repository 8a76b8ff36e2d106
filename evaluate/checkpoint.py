"""Checkpoints on disk: finding them, what their weights are (by content), loading them into a model."""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.errors import UserError, unknown
from ladder.hashing import sha256_of
from ladder.reading import read_json
from ladder.rundir import RUNG_FILE, RunDirectory, find_runs

CONFIG_FILE = "config.json"
DTYPES = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Checkpoint:
    path: Path

    @property
    def name(self) -> str:
        """Unique among the checkpoints of a run or of a training output directory."""
        path = self.path.absolute()
        if path.parent.name == "snapshots":  # of the Hugging Face hub's cache: models--owner--name/snapshots/COMMIT
            return f"{path.parent.parent.name.removeprefix('models--')}_{path.name[:12]}"
        return f"{self.run.name if self.run else path.parent.name}_{path.name}"

    @property
    def run(self) -> RunDirectory | None:
        """The run that it lies in, if it lies in one."""
        run = RunDirectory(self.path.absolute().parent.parent)
        return (
            run
            if self.rung_info() and run.run_file.exists() and run.checkpoints == self.path.absolute().parent
            else None
        )

    def rung_info(self) -> dict[str, Any] | None:
        """What `train` says of it; None for other models."""
        path = self.path / RUNG_FILE
        return read_json(path) if path.exists() else None

    @property
    def safetensors(self) -> list[Path]:
        return sorted(self.path.glob("*.safetensors"))

    def weight_files(self) -> list[Path]:
        """Raises UserError where there are no weights."""
        files = self.safetensors or sorted(self.path.glob("pytorch_model*.bin"))
        if not files:
            raise UserError(f"{self.path} has {CONFIG_FILE} but no weights (model.safetensors); it is not complete")
        return files

    def weight_stats(self) -> dict[str, tuple[int, int]]:
        """Size and change time of each weight file: while these stay, so do the contents."""
        stats = {file.name: file.stat() for file in self.weight_files()}
        return {name: (stat.st_size, stat.st_ctime_ns) for name, stat in stats.items()}

    def weights_sha256(self) -> str:
        """Hash of names, types, shapes and values, the same for a live model and for any file layout."""
        if not self.safetensors:
            return hashlib.sha256("".join(sha256_of(file) for file in self.weight_files()).encode()).hexdigest()
        return _combine(pair for file in self.safetensors for pair in _tensor_digests(file))


def find_checkpoints(directory: Path, names: Sequence[str] = (), waiting: bool = False) -> list[Checkpoint]:
    """The checkpoint that `directory` is, or those of the run, ladder or training output directory that it is.

    Args:
        names: of a ladder only the runs of these names; empty means all.

    Raises:
        UserError: it is none of these; while `waiting`, an empty or absent directory may still become one.
    """
    if waiting and (not directory.exists() or not any(directory.iterdir())):
        return []
    if not directory.exists():
        raise UserError(f"{directory} does not exist; give a checkpoint, a run or a ladder directory")
    if (directory / CONFIG_FILE).exists():
        return [Checkpoint(directory)]
    runs = find_runs(directory)
    if runs:
        chosen = [run for run in runs if not names or run.name in names]
        if not chosen and not waiting:
            raise unknown(f"run of {directory}", names[0], [run.name for run in runs])
        return [Checkpoint(run.checkpoint(step)) for run in chosen for step in run.checkpoint_steps()]
    found = [path.parent for path in directory.glob(f"*/{CONFIG_FILE}")]
    if not found and not waiting:
        raise UserError(
            f"{directory} is not a checkpoint ({CONFIG_FILE} is missing), nor a directory of runs or of them"
        )
    return [Checkpoint(path) for path in sorted(found, key=_natural)]


def _natural(path: Path) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _tensor_digests(file: Path) -> Iterable[tuple[str, str]]:
    """(name, digest) of each tensor in a safetensors file (an 8-byte length, a JSON header, then the values)."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            header_size = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + header_size])
            header.pop("__metadata__", None)
            end = max(entry["data_offsets"][1] for entry in header.values())
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is not a safetensors file ({error}); copy or train the checkpoint again") from None
        if 8 + header_size + end != len(data):
            raise UserError(
                f"{file} has {len(data):,} bytes, its header promises {8 + header_size + end:,}: it is truncated; "
                "copy or train the checkpoint again"
            )
        with memoryview(data) as view:
            for name, entry in header.items():
                first, last = (8 + header_size + offset for offset in entry["data_offsets"])
                yield name, _digest(entry["dtype"], entry["shape"], view[first:last])


def _digest(dtype: str, shape: Iterable[int], values: Any) -> str:
    hasher = hashlib.sha256(f"{dtype} {list(shape)}\n".encode())
    hasher.update(values)
    return hasher.hexdigest()


def _combine(digests: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(sorted(digests)).encode()).hexdigest()


def live_weights_sha256(model: Any) -> str:
    """`Checkpoint.weights_sha256` of the model, as `save_pretrained` would write it."""
    import torch

    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return _combine(
        (name, _digest(names[value.dtype], value.shape, value.cpu().contiguous().view(torch.uint8).numpy().data))
        for name, value in model.state_dict().items()
        if name not in tied
    )


def load_config(checkpoint: Checkpoint, trust_remote_code: bool = False) -> Any:
    """The checkpoint's Hugging Face configuration."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{checkpoint.path / CONFIG_FILE} is not a usable model configuration ({error})") from None


def load_model(
    checkpoint: Checkpoint, dtype: str, device: str, allow_pickle: bool = False, trust_remote_code: bool = False
) -> Any:
    """The causal language model, its weights in `dtype` on `device`.

    Raises:
        UserError: weights that are absent, truncated, incomplete, of other shapes, or pickled without leave.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would draw over ours
    logging.set_verbosity_error()  # what it would warn of is an error below
    checkpoint.weight_files()
    if not checkpoint.safetensors and not allow_pickle:
        raise UserError(
            f"{checkpoint.path} has pickled weights only, which can run code when read; "
            "save them as safetensors, or add --allow-pickle if you trust the file (it is read with weights_only)"
        )
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            checkpoint.path,
            dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype],
            use_safetensors=bool(checkpoint.safetensors),
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, torch and transformers each raise their own kinds
        reason = " ".join(str(error).split())
        raise UserError(f"{checkpoint.path}: its weights cannot be loaded ({type(error).__name__}: {reason})") from None
    if info["missing_keys"] or info["mismatched_keys"]:
        bad = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        raise UserError(f"{checkpoint.path}: weights do not fit its {CONFIG_FILE}: {bad[0]} and {len(bad) - 1} more")
    return model.to(device)


def resolve_dtype(name: str, device: str) -> str:
    """auto: bf16 on a GPU, fp32 on a CPU."""
    return ("bf16" if device.startswith("cuda") else "fp32") if name == "auto" else name
