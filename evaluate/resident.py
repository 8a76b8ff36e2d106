"""One model kept in memory: the weights of the next checkpoint are read while this one is scored, then put into it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from evaluate.models.checkpoint import Checkpoint
from evaluate.models.loading import load_model
from evaluate.results.results import WeightFiles
from evaluate.scoring.scorer import Scorer

State = dict[str, torch.Tensor]


class ResidentModel:
    def __init__(self, dtype: str, device: torch.device, allow_pickle: bool, trust_remote_code: bool) -> None:
        self._how = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code}
        self._dtype, self._device = dtype, str(device)
        self._scorer: Scorer | None = None
        self._architecture: dict[str, Any] = {}
        self._reader = ThreadPoolExecutor(max_workers=1)
        self._next: tuple[Checkpoint, WeightFiles, Future[State]] | None = None

    def prefetch(self, checkpoint: Checkpoint) -> None:
        """Begins to read a checkpoint's weights in the background, if they may fit the resident model."""
        if self._next is None and checkpoint.safetensors and checkpoint.architecture() == self._architecture:
            self._next = checkpoint, checkpoint.weight_stats(), self._reader.submit(_read, checkpoint)

    def scorer(self, checkpoint: Checkpoint) -> Scorer:
        """A scorer with the checkpoint's weights; the one returned before is no longer valid.

        Raises:
            UserError: as `load_model`.
        """
        architecture = checkpoint.architecture()
        state = self._prefetched(checkpoint)
        if self._scorer is not None and architecture == self._architecture and self._put(state or _read(checkpoint)):
            return self._scorer
        self._scorer = None  # two models need not fit
        self._scorer = Scorer(load_model(checkpoint, self._dtype, self._device, **self._how))
        self._architecture = architecture
        return self._scorer

    def _prefetched(self, checkpoint: Checkpoint) -> State | None:
        if self._next is None:
            return None
        (read, files, future), self._next = self._next, None
        return future.result() if read == checkpoint and files == checkpoint.weight_stats() else None

    def _put(self, state: State) -> bool:
        """Whether the weights are exactly the resident model's by name and shape, tied ones once, and now are in it.

        A file may hold both of two that are tied, and they may differ: what is made of them is transformers' to say.
        """
        assert self._scorer is not None
        mine = self._scorer.model.state_dict()
        if not state.keys() <= mine.keys() or any(state[key].shape != mine[key].shape for key in state):
            return False
        filled = [mine[key].data_ptr() for key in state]
        if len(set(filled)) < len(filled) or set(filled) != {value.data_ptr() for value in mine.values()}:
            return False
        with torch.no_grad():
            for key, value in state.items():
                mine[key].copy_(value)
        return True


def _read(checkpoint: Checkpoint) -> State:
    """Empty where a file is damaged: loading it the long way then says what is wrong with it."""
    try:
        return {key: value for file in checkpoint.safetensors for key, value in load_file(file).items()}
    except (SafetensorError, OSError, ValueError):
        return {}
