"""How far a run had come at each of its checkpoints, as a share of the tokens that it is trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from predict.measured.runs import Curve


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One measured quantity of one run: `values` at `shares` of its training, both (checkpoints,), shares rising."""

    shares: np.ndarray
    values: np.ndarray

    def until(self, share: float) -> Trace:
        """The checkpoints up to that share."""
        return self._where(self.shares <= share * (1 + 1e-9))

    def after(self, share: float) -> Trace:
        """The checkpoints beyond that share."""
        return self._where(self.shares > share * (1 + 1e-9))

    def last(self, count: int) -> Trace:
        return replace(self, shares=self.shares[-count:], values=self.values[-count:])

    def _where(self, kept: np.ndarray) -> Trace:
        return replace(self, shares=self.shares[kept], values=self.values[kept])


def trace(curve: Curve, d: float) -> Trace:
    """The curve over shares of `d` tokens, without checkpoints beyond them."""
    shares = curve.tokens / d
    return Trace(shares=shares, values=curve.values)._where((shares > 0) & (shares <= 1.01))
