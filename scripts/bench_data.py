"""Preparing and reading data: tokenising beside `datasets.map` with the same tokenizer, and what a batch costs.

    python scripts/bench_data.py [--output benchmarks/data-cpu.json]

Needs the prepared nano text (`python scripts/prepare_data.py data=sotu`). Figures are CPU seconds of this process on
one thread; the two ways take turns.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import datasets
import numpy as np
from prepare_data import encode, read_documents
from transformers import AutoTokenizer

from ladder.config import compose, ladder_from_config, load_config
from ladder.data import open_data
from ladder.errors import Parser, run_command
from ladder.provenance import git_revision, versions
from ladder.shard_writer import ShardWriter
from ladder.shards import token_dtype
from ladder.writing import write_json
from train.order import BatchOrder


def cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/bench_data.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    config, node = load_config(["ladder=nano"]), compose(["ladder=nano"])
    mix = open_data(config.data)
    tokenizer = AutoTokenizer.from_pretrained(mix.tokenizer_directory)
    texts = [document.text for document in read_documents(node.data)]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    rows = datasets.Dataset.from_dict({"text": texts})
    datasets.disable_progress_bars()

    def ours() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            writer = ShardWriter(Path(scratch), "train", token_dtype(len(tokenizer)))
            writer.add(encode(tokenizer, texts), texts)
            writer.manifest()

    def peer() -> None:
        rows.map(
            lambda batch: {"ids": tokenizer(batch["text"])["input_ids"]},
            batched=True,
            remove_columns=["text"],
            load_from_cache_file=False,
        )

    seconds = {"ours": [], "datasets.map": []}  # type: dict[str, list[float]]
    for _ in range(options.rounds):
        seconds["ours"].append(cpu_seconds(ours))
        seconds["datasets.map"].append(cpu_seconds(peer))
    speed = {name: megabytes / min(values) for name, values in seconds.items()}
    print(
        f"tokenising {megabytes:.1f} MB: ours {speed['ours']:.2f} MB/s per core, with shards and checksums; "
        f"datasets.map {speed['datasets.map']:.2f} MB/s; ratio {speed['ours'] / speed['datasets.map']:.2f}"
    )
    rung = ladder_from_config(config).rung("n3-8xC")
    order = BatchOrder(mix, rung.hparams.sequence_length, rung.hparams.batch_sequences, seed=0)
    steps = 640
    per_batch = min(cpu_seconds(lambda: [order.batch(s) for s in range(1, steps + 1)]) for _ in range(3)) / steps
    tokens = rung.hparams.batch_tokens / per_batch
    print(f"reading a batch of {rung.name}: {per_batch * 1e6:.0f} µs, {tokens / 1e6:,.0f} million tokens/s")
    if options.output:
        result = {
            "date": time.strftime("%Y-%m-%d"),
            "cores": os.cpu_count(),
            "git_revision": git_revision(),
            "versions": versions("tokenizers", "datasets", "numpy"),
            "tokenise_megabytes_per_cpu_second": speed,
            "batch_microseconds": per_batch * 1e6,
            "batch_rung": rung.name,
            "mean_document_bytes": float(np.mean([len(text.encode()) for text in texts])),
        }
        write_json(options.output, result)
    return 0


if __name__ == "__main__":
    run_command(main)
