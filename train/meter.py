"""Running sums of a run that live on the device, so that no step waits for the host."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Meter:
    """Loss and skipped updates since the last `read`, kept as tensors.

    An update whose gradient norm is not finite is skipped; `add` counts it and remembers where the streak ended.
    """

    def __init__(self, device: torch.device) -> None:
        self._state = {
            "loss_sum": torch.zeros((), dtype=torch.float64, device=device),
            "left_out": torch.zeros((), dtype=torch.float64, device=device),
            "steps": torch.zeros((), dtype=torch.int64, device=device),
            "skipped": torch.zeros((), dtype=torch.int64, device=device),  # of the whole run
            "streak": torch.zeros((), dtype=torch.int64, device=device),
            "longest_streak": torch.zeros((), dtype=torch.int64, device=device),
            "last_skipped": torch.zeros((), dtype=torch.int64, device=device),
        }

    def add(self, loss: Tensor, finite: Tensor, step: int, left_out: float = 0.0) -> None:
        """Counts update `step`, of which this process has a share; the mean over processes is the whole batch's.

        Args:
            loss: cross-entropy of its labels, summed, times processes / positions of the batch.
            finite: whether the update was applied.
            left_out: its sequences that are left out of the loss, times processes / sequences of the batch.
        """
        state = self._state
        state["loss_sum"] += torch.where(finite, loss, 0.0)
        if left_out:
            state["left_out"] += left_out * finite.double()
        state["steps"] += finite
        state["skipped"] += ~finite
        state["streak"].add_(1).mul_(~finite)
        torch.maximum(state["longest_streak"], state["streak"], out=state["longest_streak"])
        state["last_skipped"].copy_(torch.where(finite, state["last_skipped"], step))

    def read(self) -> dict[str, float]:
        """The sums as numbers (the one wait for the device); starts new ones but for the skipped updates."""
        names = list(self._state)
        values = torch.stack([value.double() for value in self._state.values()]).tolist()
        for name in ("loss_sum", "left_out", "steps", "longest_streak"):
            self._state[name].zero_()
        return dict(zip(names, values, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {name: value.clone() for name, value in self._state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            self._state[name].copy_(value)
