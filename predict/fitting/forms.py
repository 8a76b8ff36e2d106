"""The functional forms: power laws for loss, sigmoids from loss to accuracy. Accuracies lie in [0, 1].

`form` is the name under which a law file keeps one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """L(N, D) = A / N^alpha + B / D^beta + E (equation 1)."""

    form: Literal["PowerLaw"] = "PowerLaw"
    A: float
    alpha: float
    B: float
    beta: float
    E: float

    def __call__(self, n: Any, d: Any) -> Any:
        return (
            self.A / np.asarray(n, dtype=float) ** self.alpha
            + self.B / np.asarray(d, dtype=float) ** self.beta
            + self.E
        )

    def formula(self, symbol: str = "L") -> str:
        return f"{symbol}(N,D) = {self.A:.4g}/N^{self.alpha:.3f} + {self.B:.4g}/D^{self.beta:.3f} + {self.E:.3f}"


@dataclass(frozen=True, kw_only=True)
class ComputeLaw:
    """L(C) = A / C^alpha + E (equation 4), C in FLOPs."""

    form: Literal["ComputeLaw"] = "ComputeLaw"
    A: float
    alpha: float
    E: float

    def __call__(self, compute: Any) -> Any:
        return self.A / np.asarray(compute, dtype=float) ** self.alpha + self.E

    def formula(self) -> str:
        return f"L(C) = {self.A:.4g}/C^{self.alpha:.3f} + {self.E:.3f}"


@dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """Acc(L) = a / (1 + exp(-k (L - L0))) + b (equation 2)."""

    form: Literal["Sigmoid"] = "Sigmoid"
    a: float
    k: float
    L0: float
    b: float

    def __call__(self, loss: Any) -> Any:
        return self.a * expit(self.k * (np.asarray(loss, dtype=float) - self.L0)) + self.b

    def formula(self) -> str:
        return f"Acc(L) = {self.a:.3f}/(1+exp({-self.k:.3f}(L-{self.L0:.3f}))) + {self.b:.3f}"


@dataclass(frozen=True, kw_only=True)
class LogSigmoid:
    """Acc(L) = 1 - a log(1 - sigmoid(k (L - L0))) (equation 8), for task cross-entropy; a <= 0."""

    form: Literal["LogSigmoid"] = "LogSigmoid"
    a: float
    k: float
    L0: float

    def __call__(self, loss: Any) -> Any:
        return 1.0 + self.a * np.logaddexp(0.0, self.k * (np.asarray(loss, dtype=float) - self.L0))

    def formula(self) -> str:
        return f"Acc(L) = 1 - {self.a:.4f} log sigmoid(-{self.k:.3f}(L-{self.L0:.3f}))"


@dataclass(frozen=True, kw_only=True)
class Decay:
    """Acc(z) = chance + (1 - chance) exp(-z), for z a sum of power laws (form of arXiv 2512.08894)."""

    form: Literal["Decay"] = "Decay"
    chance: float

    def __call__(self, z: Any) -> Any:
        return self.chance + (1.0 - self.chance) * np.exp(-np.asarray(z, dtype=float))

    def formula(self) -> str:
        return f"Acc(z) = {self.chance:.3f} + {1 - self.chance:.3f} exp(-z)"


@dataclass(frozen=True, kw_only=True)
class SingleStep:
    """Acc(N, D) = a sigmoid(A / N^alpha + B / D^beta + E) + b (equation 6)."""

    form: Literal["SingleStep"] = "SingleStep"
    A: float
    alpha: float
    B: float
    beta: float
    E: float
    a: float
    b: float

    def __call__(self, n: Any, d: Any) -> Any:
        n, d = np.asarray(n, dtype=float), np.asarray(d, dtype=float)
        return self.a * expit(self.A / n**self.alpha + self.B / d**self.beta + self.E) + self.b

    def formula(self) -> str:
        return (
            f"Acc(N,D) = {self.a:.3f}/(1+exp(-({self.A:.4g}/N^{self.alpha:.3f} + {self.B:.4g}/D^{self.beta:.3f} "
            f"+ {self.E:.3f}))) + {self.b:.3f}"
        )


FeatureForm = Annotated[PowerLaw | ComputeLaw, Field(discriminator="form")]
AccuracyForm = Annotated[Sigmoid | LogSigmoid | Decay | SingleStep, Field(discriminator="form")]


def expit(x: Any) -> Any:
    """1 / (1 + exp(-x)) without overflow, and without importing scipy."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))
