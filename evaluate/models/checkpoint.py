"""Checkpoints on disk: finding them, and what their weights are, by content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.models.foreign import CONFIG_FILE, refuse_other_formats
from ladder.errors import UserError, unknown
from ladder.files.bind import Whole, bind, lenient
from ladder.files.hashing import sha256_of
from ladder.files.reading import parse_json, read, read_json, readable
from ladder.records.metrics_file import Origin
from ladder.runs.rundir import RUNG_FILE, RunDirectory, find_runs

SETTLED_SECONDS = 30.0
LONGEST_NAME = 200  # characters
LONGEST_HEADER = 100_000_000  # bytes, as the safetensors library has it


@dataclass(frozen=True)
class Checkpoint:
    path: Path

    @property
    def absolute(self) -> Path:
        return Path(os.path.abspath(self.path))  # noqa: PTH100 (it follows no links)

    @property
    def names(self) -> list[str]:
        """Shortest first: unique among the checkpoints of a run or of a training output directory; then less likely to
        be another's, by one more directory each."""
        path = self.absolute
        if path.parent.name == "snapshots":  # of the Hugging Face hub's cache: models--owner--name/snapshots/COMMIT
            short = f"{path.parent.parent.name.removeprefix('models--')}_{path.name[:12]}"
        else:
            short = f"{self.run.name if self.run else path.parent.name}_{path.name}"
        parts = path.parts[1:]
        longer = ("_".join(parts[-count:]) for count in range(3, len(parts) + 1))
        return [short, *(name for name in longer if len(name) < LONGEST_NAME)]

    @property
    def run(self) -> RunDirectory | None:
        """The run that it lies in, if it lies in one."""
        run = RunDirectory(self.absolute.parent.parent)
        return run if self.origin() and run.run_file.exists() and run.checkpoints == self.absolute.parent else None

    def origin(self) -> Origin | None:
        """What `train` says of it; None for other models."""
        path = self.path / RUNG_FILE
        return read(Origin, path) if path.exists() else None

    def settled(self) -> bool:
        """Whether it is whole: other programs write theirs file by file, and say by nothing but a pause that they end.

        By the change times, which a copy cannot bring along; `train` renames what is whole.
        """
        if self.origin():
            return True
        changes = [0.0]
        for file in (self.path, *self.path.glob("*")):
            with contextlib.suppress(FileNotFoundError):  # a temporary one
                changes.append(file.stat().st_ctime)
        return time.time() - max(changes) >= SETTLED_SECONDS

    def architecture(self) -> dict[str, Any]:
        """What config.json says of the model, and not of the program that wrote it."""
        config = read_json(self.path / CONFIG_FILE)
        return {key: value for key, value in config.items() if key[:1] != "_" and key != "transformers_version"}

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
    if waiting and (not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))):
        return []
    refuse_other_formats(directory)
    if not directory.exists():
        raise UserError(f"{directory} does not exist; give a checkpoint, a run or a ladder directory")
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file; give the directory of a checkpoint, a run or a ladder")
    if (directory / CONFIG_FILE).exists():
        _refuse_names(names, f"{directory} is one checkpoint")
        return [Checkpoint(directory)]
    runs = find_runs(directory)
    if runs:
        chosen = [run for run in runs if not names or run.name in names]
        if not chosen and not waiting:
            raise unknown(f"run of {directory}", names[0], [run.name for run in runs])
        return [Checkpoint(run.checkpoint(step)) for run in chosen for step in run.checkpoint_steps()]
    directories = [path.parent for path in directory.glob(f"*/{CONFIG_FILE}") if path.parent.name[0] != "."]
    if not directories and not waiting:
        raise UserError(
            f"{directory} is not a checkpoint ({CONFIG_FILE} is missing), nor a directory of runs or of them"
        )
    if directories:
        _refuse_names(names, f"{directory} holds checkpoints")
    return [Checkpoint(path) for path in sorted(directories, key=_natural)]


def _refuse_names(names: Sequence[str], what: str) -> None:
    if names:
        raise UserError(f"--runs chooses runs of a ladder, and {what}; leave that option out")


def _natural(path: Path) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


@lenient
@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """An entry of a safetensors header."""

    dtype: str
    shape: tuple[Whole, ...]
    data_offsets: tuple[Whole, Whole]


def read_header(file: Path) -> tuple[dict[str, StoredTensor], int]:
    """The tensors of a safetensors file (an 8-byte length, a JSON header, then the values), and where values begin.

    Raises:
        UserError: it is none, or is truncated.
    """
    hint = "copy or train the checkpoint again"
    with readable(file), file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        size = os.fstat(opened.fileno()).st_size
        if not 0 < length <= min(size - 8, LONGEST_HEADER):
            raise UserError(f"{file} is not a safetensors file, or is truncated ({size:,} bytes); {hint}")
        text = opened.read(length)
    try:
        header = parse_json(text.decode("utf-8", "replace"), f"the header of {file}")
        if isinstance(header, dict):
            header.pop("__metadata__", None)
        tensors = bind(dict[str, StoredTensor], header, f"the header of {file}")
    except UserError as error:
        raise UserError(f"not a safetensors file: {error}; {hint}") from None
    start = 8 + length
    end = start + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if end != size:
        raise UserError(f"{file} has {size:,} bytes, its header promises {end:,}: it is truncated or damaged; {hint}")
    return tensors, start


def _tensor_digests(file: Path) -> Iterable[tuple[str, str]]:
    """(name, digest) of each tensor in a safetensors file."""
    tensors, start = read_header(file)
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        for name, tensor in tensors.items():
            first, last = (start + offset for offset in tensor.data_offsets)
            yield name, _digest(tensor.dtype, tensor.shape, view[first:last])


def _digest(dtype: str, shape: Iterable[int], values: Any) -> str:
    hasher = hashlib.sha256(f"{dtype} {list(shape)}\n".encode())
    hasher.update(values)
    return hasher.hexdigest()


def _combine(digests: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(sorted(digests)).encode()).hexdigest()


def live_weights_sha256(tensors: Iterable[tuple[str, Any]]) -> str:
    """`Checkpoint.weights_sha256` of a model with these tensors, by name; not of those tied to another."""
    import torch

    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}
    return _combine(
        (name, _digest(names[value.dtype], value.shape, value.cpu().contiguous().view(torch.uint8).numpy().data))
        for name, value in tensors
    )
