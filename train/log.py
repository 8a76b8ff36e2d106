"""What a run tells: rows in `log.jsonl`, a progress bar or plain lines, and W&B where asked for."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ladder.files.writing import cannot_write, write_text
from ladder.records.run_log import read_rows

_SECONDS_BETWEEN_LINES = 10  # every row is a line where steps take long; small models do not flood their output
# Dense bf16 peak, TFLOP/s, by words of what CUDA calls the device; the most specific names first. Unknown: no MFU.
_PEAK_TFLOPS = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.4,
    "H200 NVL": 835.0,
    "H200": 989.4,
    "GH200": 989.4,
    "GB200": 2500.0,
    "B200": 2250.0,
    "A100": 312.0,
    "A800": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10G": 70.0,
    "RTX 4090": 165.2,
}


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 FLOP/s of a GPU, None where it is not known."""
    matching = (tera * 1e12 for name, tera in _PEAK_TFLOPS.items() if re.search(rf"\b{name}\b", device_name))
    return next(matching, None)


class Log:
    """Appends to `log.jsonl`; on a resume, rows after the resumed step and lines that are no rows are dropped first."""

    def __init__(self, path: Path, *, name: str, total_steps: int, resumed_step: int, wandb_run: Any = None) -> None:
        kept = "".join(f"{row.line}\n" for row in read_rows(path) if row.step <= resumed_step)
        if path.exists() and path.read_bytes() != kept.encode():
            write_text(path, kept)
        self._path, self._file = path, path.open("a", encoding="utf-8", buffering=1)
        self._wandb = wandb_run
        self._bar = tqdm(
            total=total_steps, initial=resumed_step, desc=name, unit="step", disable=not sys.stderr.isatty(), leave=True
        )
        self._name, self._total, self._next_line = name, total_steps, 0.0

    def write(self, row: dict[str, Any]) -> None:
        """One row: `step` and any numbers. Raises UserError where the disk is full."""
        try:
            self._file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise cannot_write(self._path, error) from None
        if self._wandb is not None:
            self._wandb.log(row, step=row["step"])
        shown = {key: row[key] for key in ("loss", "lr", "grad_norm") if row[key] is not None}
        self._bar.set_postfix({key: f"{value:.4g}" for key, value in shown.items()}, refresh=False)
        self._bar.update(row["step"] - self._bar.n)
        if self._bar.disable and (time.monotonic() >= self._next_line or row["step"] == self._total):
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
            print(_line(self._name, self._total, row), flush=True)

    def close(self) -> None:
        self._bar.close()
        with contextlib.suppress(OSError):  # what `write` could not write
            self._file.close()
        if self._wandb is not None:
            self._wandb.finish()


def _line(name: str, total: int, row: dict[str, Any]) -> str:
    loss = f"{row['loss']:.3f}" if row["loss"] is not None else "none (updates skipped or left out)"
    norm = f"{row['grad_norm']:.2f}" if row["grad_norm"] is not None else "not finite"
    mfu = f"{row['mfu']:.1%}" if row["mfu"] is not None else "n/a"
    return (
        f"{name} step {row['step']:,}/{total:,} loss {loss} lr {row['lr']:.2e} "
        f"grad norm {norm} {row['tokens_per_second']:,.0f} tokens/s MFU {mfu} "
        f"ETA {row['eta_seconds']:.0f} s"
    )
