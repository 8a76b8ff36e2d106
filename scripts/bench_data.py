"""Preparing and reading data: tokenising beside `datasets.map` with the same tokenizer, and what a batch costs.

    python scripts/bench_data.py [--output benchmarks/data-cpu.json]

Needs the prepared nano text (`python scripts/prepare_data.py data=sotu`). Figures are CPU seconds of this process on
one thread; the two ways take turns.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import datasets
import numpy as np
from harness import best, result, save, timed
from preparing.documents import read_documents
from preparing.tokenizer import encode
from transformers import AutoTokenizer

from ladder.command.running import Parser, run_command
from ladder.config.config import compose, ladder_from_config, load_config
from ladder.config.data import open_data
from ladder.records.shard_writer import ShardWriter
from ladder.records.shards import token_dtype
from train.order import BatchOrder

STEPS = 640  # batches read


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/bench_data.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    config, node = load_config(["ladder=nano"]), compose(["ladder=nano"])
    mix = open_data(config.data)
    texts = [document.text for document in read_documents(node.data)]
    speed = tokenising(AutoTokenizer.from_pretrained(mix.tokenizer_directory), texts, options.rounds)
    rung = ladder_from_config(config).rung("n3-8xC")
    order = BatchOrder(mix, rung.hparams.sequence_length, rung.hparams.batch_sequences, seed=0)
    per_batch = best(3, lambda: timed(lambda: [order.batch(s) for s in range(1, STEPS + 1)])).cpu / STEPS
    tokens = rung.hparams.batch_tokens / per_batch
    print(f"reading a batch of {rung.name}: {per_batch * 1e6:.0f} µs, {tokens / 1e6:,.0f} million tokens/s")
    measured = result(
        ["tokenizers", "datasets", "numpy"],
        tokenise_megabytes_per_cpu_second=speed,
        batch_microseconds=per_batch * 1e6,
        batch_rung=rung.name,
        mean_document_bytes=float(np.mean([len(text.encode()) for text in texts])),
    )
    save(options.output, measured)
    return 0


def tokenising(tokenizer: Any, texts: list[str], rounds: int) -> dict[str, float]:
    """Megabytes per CPU second, ours with shards and checksums; the two take turns."""
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

    turns = [(timed(ours).cpu, timed(peer).cpu) for _ in range(rounds)]
    mine, theirs = (megabytes / min(seconds) for seconds in zip(*turns, strict=True))
    print(
        f"tokenising {megabytes:.1f} MB: ours {mine:.2f} MB/s per core, with shards and checksums; "
        f"datasets.map {theirs:.2f} MB/s; ratio {mine / theirs:.2f}"
    )
    return {"ours": mine, "datasets.map": theirs}


if __name__ == "__main__":
    run_command(main)
