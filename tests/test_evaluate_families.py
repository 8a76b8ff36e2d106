"""Every causal family of transformers is scored as by one forward pass per request, on paths longer than its window."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from evaluate_families import WINDOW, examine, families, table, tiny_family

from evaluate.scoring.attention import SINGLE, Kind, layer_kinds, masks
from evaluate.scoring.head import Head

TOLERANCE = 1e-3  # nats, fp32
TABLE = Path(__file__).with_name("evaluate_families.tsv")
FAST = {
    "bloom": "plain (no_mask)",  # ALiBi
    "cohere": "tries",  # its logits are scaled
    "deepseek_v3": "tries",
    "gemma2": "tries",  # windows in every other layer, its logits are capped
    "gemma3_text": "tries",
    "gpt_neo": "plain (differs)",  # its window counts what lies between
    "gpt_oss": "tries",  # windows, sinks
    "granite": "tries",
    "llama4_text": "tries",  # chunks
    "mamba": "plain (no_mask)",
    "mistral": "tries",
    "phi3": "tries",
    "qwen3_next": "plain (partial_attention)",
}


@pytest.mark.parametrize("family", FAST)
def test_a_family_is_run_the_way_that_it_takes(family: str) -> None:
    examined = examine(family)
    assert examined.way == FAST[family]
    assert examined.difference is not None and examined.difference < TOLERANCE
    assert examined.spread is not None and examined.spread > 0.1  # the weights do tell the requests apart


@pytest.mark.nightly
def test_every_family_is_scored_rightly_and_as_the_table_says() -> None:
    rows = list(table(families()))
    made = [row for row in rows if row.difference is not None]
    assert len(made) > 120
    for row in made:
        assert row.difference is not None and row.difference < TOLERANCE, row
    written = TABLE.read_text().splitlines()
    if written[0] == f"transformers {transformers.__version__}":
        ways = [line.split("\t")[:3] for line in written[2:]]
        assert [[row.family, row.way, row.kinds] for row in rows] == ways, "python tests/evaluate_families.py > TABLE"


def test_the_kinds_of_layers_are_read_from_the_configuration() -> None:
    config = transformers.PretrainedConfig
    assert layer_kinds(config()) == {SINGLE: Kind()}
    assert layer_kinds(config(sliding_window=8)) == {SINGLE: Kind(window=8)}
    assert layer_kinds(config(sliding_window=8, use_sliding_window=False)) == {SINGLE: Kind()}
    assert layer_kinds(config(sliding_window=8, layer_types=["full_attention"])) == {SINGLE: Kind()}
    both = config(sliding_window=8, layer_types=["full_attention", "sliding_attention"])
    assert layer_kinds(both) == {"full_attention": Kind(), "sliding_attention": Kind(window=8)}
    assert layer_kinds(config(layer_types=["full_attention", "linear_attention"])) is None


def test_a_window_counts_the_path_and_not_what_lies_between() -> None:
    """Behind a prefix of 2: nodes 0-1-2, and 3-4 that branch off node 0."""
    ends = torch.tensor([[5, 3, 3, 5, 5]])
    positions = torch.tensor([[2, 3, 4, 3, 4]])
    made = masks({"all": Kind(), "near": Kind(window=3), "chunks": Kind(chunk=3)}, ends, positions, prefix=2)
    last = {name: mask[0, 0, 4].long().tolist() for name, mask in made.items()}
    assert last["all"] == [1, 1, 1, 0, 0, 1, 1]
    assert last["near"] == [0, 0, 1, 0, 0, 1, 1]  # three positions: 2, 3, 4
    assert last["chunks"] == [0, 0, 0, 0, 0, 1, 1]  # positions 3 and 4


def test_a_head_that_scales_is_run_as_the_model_runs_it() -> None:
    tokens = torch.arange(3, 3 + WINDOW)[None]
    for family, direct in (("llama", True), ("granite", False), ("gemma2", False), ("cohere", False)):
        model = tiny_family(family)
        head = Head(model)
        with torch.no_grad():
            states = model.base_model(input_ids=tokens).last_hidden_state[0]
            assert head.direct == direct
            assert torch.allclose(head(states), model(input_ids=tokens).logits[0], atol=1e-5)
            assert direct == torch.allclose(model.get_output_embeddings()(states), head(states), atol=1e-3)
