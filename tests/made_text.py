"""Documents that are made up, and the settings by which they are prepared."""

from __future__ import annotations

import json
from pathlib import Path

from omegaconf import OmegaConf

from ladder.records.shards import TokenShards

SENTENCES = [
    f"The {noun} of the {place} is {state}."
    for noun in ("state", "army", "treasury", "union")
    for place in ("nation", "people", "republic")
    for state in ("strong", "sound", "prosperous", "at peace")
]


def local_data(tmp_path: Path, documents: list[dict], **changes: object) -> OmegaConf:
    source = tmp_path / "text.jsonl"
    source.write_text("".join(json.dumps(document) + "\n" for document in documents))
    dataset = {"path": "json", "data_files": str(source), "split": "train"}
    base = {"name": "local", "source": {"dataset": dataset}, "heldout_every": 5, "tokenizer": {"train_bpe": 300}}
    return OmegaConf.create(base | changes)


def documents_of(shards: TokenShards) -> int:
    return json.loads((shards.directory / "manifest.json").read_text())["splits"][shards.split]["documents"]
