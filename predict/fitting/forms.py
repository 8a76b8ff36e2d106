"""The functional forms: power laws for loss, sigmoids from loss to accuracy. Accuracies lie in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ladder.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """L(N, D) = A / N^alpha + B / D^beta + E (equation 1)."""

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

    def formula(self) -> str:
        return f"L(N,D) = {self.A:.4g}/N^{self.alpha:.3f} + {self.B:.4g}/D^{self.beta:.3f} + {self.E:.3f}"


@dataclass(frozen=True, kw_only=True)
class ComputeLaw:
    """L(C) = A / C^alpha + E (equation 4), C in FLOPs."""

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

    a: float
    k: float
    L0: float
    b: float

    def __call__(self, loss: Any) -> Any:
        return self.a * expit(self.k * (np.asarray(loss, dtype=float) - self.L0)) + self.b

    def formula(self) -> str:
        return f"Acc(L) = {self.a:.3f}/(1+exp(-{self.k:.3f}(L-{self.L0:.3f}))) + {self.b:.3f}"


@dataclass(frozen=True, kw_only=True)
class LogSigmoid:
    """Acc(L) = 1 - a log(1 - sigmoid(k (L - L0))) (equation 8), for task cross-entropy; a <= 0."""

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

    chance: float

    def __call__(self, z: Any) -> Any:
        return self.chance + (1.0 - self.chance) * np.exp(-np.asarray(z, dtype=float))

    def formula(self) -> str:
        return f"Acc(z) = {self.chance:.3f} + {1 - self.chance:.3f} exp(-z)"


@dataclass(frozen=True, kw_only=True)
class SingleStep:
    """Acc(N, D) = a sigmoid(A / N^alpha + B / D^beta + E) + b (equation 6)."""

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


Law = PowerLaw | ComputeLaw | Sigmoid | LogSigmoid | Decay | SingleStep
FORMS: dict[str, type[Law]] = {
    form.__name__: form for form in (PowerLaw, ComputeLaw, Sigmoid, LogSigmoid, Decay, SingleStep)
}


def expit(x: Any) -> Any:
    """1 / (1 + exp(-x)) without overflow, and without importing scipy."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def law_to_json(law: Law) -> dict[str, Any]:
    return {"form": type(law).__name__} | {key: float(value) for key, value in asdict(law).items()}


def law_from_json(value: dict[str, Any], source: str) -> Law:
    """Raises UserError where the form is unknown or a coefficient is missing, naming `source`."""
    form = FORMS.get(str(value.get("form")))
    if form is None:
        raise UserError(f"{source}: unknown form {value.get('form')!r}; known: {', '.join(FORMS)}")
    names = [item.name for item in fields(form)]
    for name in names:
        number = value.get(name)
        if not isinstance(number, int | float) or not math.isfinite(number):
            found = f"has {name} = {number}, no finite number" if name in value else f"lacks the number {name}"
            raise UserError(f"{source}: {value['form']} {found}; run: python -m predict fit")
    return form(**{name: float(value[name]) for name in names})
