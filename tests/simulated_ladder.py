"""A ladder whose law is known: measurements computed from given coefficients, with or without noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from predict.fitting.forms import PowerLaw, Sigmoid
from predict.measured.table import table_of

SIZES = {"190M": 190e6, "370M": 370e6, "760M": 760e6, "1.3B": 1.28e9}
MULTIPLES = (1, 2, 5, 10)
LOSS = PowerLaw(A=400.0, alpha=0.34, B=900.0, beta=0.31, E=0.55)
LM_LOSS = PowerLaw(A=500.0, alpha=0.33, B=1500.0, beta=0.31, E=1.8)
ACCURACY = Sigmoid(a=-0.75, k=6.0, L0=0.85, b=1.0)


def rows_of(
    name: str,
    size: str,
    n: float,
    d: float,
    *,
    checkpoints: int = 20,
    task: str = "quiz",
    noise: float = 0.0,
    seed: int = 0,
    shift: float = 0.0,
) -> list[dict[str, object]]:
    """One run: loss by LOSS at the tokens of each checkpoint, accuracy by ACCURACY (plus `shift`)."""
    random = np.random.default_rng([seed, int(n) % 9973, int(d) % 9973])
    rows: list[dict[str, object]] = []
    for step in range(1, checkpoints + 1):
        tokens = d * step / checkpoints
        loss = float(LOSS(n, tokens)) * (1 + noise * random.standard_normal())
        accuracy = float(np.clip(ACCURACY(loss) + shift + noise * random.standard_normal(), 0, 1))
        lm = float(LM_LOSS(n, tokens)) * (1 + noise * random.standard_normal() / 4)
        common = {"run": name, "size": size, "n": n, "d": d, "step": step, "tokens": tokens}
        for metric, value, label in (("rc_bpb", loss, task), ("rc_acc", accuracy, task), ("lm_loss", lm, "text")):
            chance = float("nan") if metric == "lm_loss" else 0.25
            items = 0 if metric == "lm_loss" else 2000
            place = {"task": label, "split": "val", "metric": metric}
            rows.append(common | place | {"value": value, "items": items, "chance": chance})
    return rows


def simulated(noise: float = 0.0, seed: int = 0, checkpoints: int = 20, shift: float = 0.0) -> pd.DataFrame:
    """The checked table of 4 sizes × 4 multiples, and of a target run `7B-20xC`."""
    rows: list[dict[str, object]] = []
    for size, n in SIZES.items():
        for multiple in MULTIPLES:
            name, d = f"{size}-{multiple}xC", 20 * n * multiple
            rows += rows_of(name, size, n, d, checkpoints=checkpoints, noise=noise, seed=seed, shift=shift)
    rows += rows_of("7B-20xC", "7B", 7e9, 2.8e12, checkpoints=checkpoints, shift=shift)
    return table_of(rows, "simulated")


def write(path: Path, frame: pd.DataFrame) -> Path:
    """The table as a CSV file in its own columns."""
    frame.to_csv(path, index=False)
    return path
