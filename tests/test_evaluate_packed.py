"""Packed rows and FlexAttention give what masked rows give: layout, masks and scores, without a GPU."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import torch._dynamo.utils
from evaluate_families import long_requests, reference, tiny_family
from evaluate_models import documents, tiny_model, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.results.report import way_text
from evaluate.scoring.attention import Kind
from evaluate.scoring.packed import BLOCK, Packed, _mask_mod, blocks, pack_length, packs
from evaluate.scoring.plan import Plan, make_plan, plan_of_requests
from evaluate.scoring.scorer import Scorer
from evaluate.tokens.tokenizer import Encoder
from evaluate.tokens.trie import Ints

ENCODER = Encoder(tiny_tokenizer())
TOLERANCE = 1e-4  # nats, fp32
KINDS = [Kind(), Kind(window=150), Kind(chunk=100)]


def plan_of_two_sections(kind: str = "rc") -> Plan:
    made = documents(kind, 30)
    return make_plan([*made, *documents("winogrande", 20)], ENCODER, 256, True)


def packed(scorer: Scorer, compiled=lambda forward: forward, least: int = 256) -> Scorer:  # type: ignore[no-untyped-def]
    assert scorer.kinds is not None
    scorer.packed = Packed(scorer.model, scorer.kinds, least=least, compiled=compiled)
    return scorer


def paths(tokens: Ints, ends: Ints) -> list[list[int]]:
    """The tokens that each node sees."""
    index = np.arange(len(tokens))
    return [tokens[(index <= node) & (node < ends)].tolist() for node in index]


@pytest.mark.parametrize("least", [128, 256, 1024])
def test_every_node_has_its_path_in_its_pack(least: int) -> None:
    plan = plan_of_two_sections()
    length = pack_length(plan, least)
    made = list(packs(plan, length))
    assert [pack.first for pack in made] == [0, *(pack.last for pack in made[:-1])]
    assert made[-1].last == len(plan.row_section) and (least > 256 or len(made) > 2)
    for pack in made:
        assert len(pack.tokens) == length and length % BLOCK == 0
        seen = paths(pack.tokens, pack.ends)
        for row, place in zip(range(pack.first, pack.last), pack.shifts, strict=True):
            nodes = slice(plan.row_offsets[row], plan.row_offsets[row + 1])
            section = plan.row_section[row]
            prefix = plan.prefix_tokens[plan.prefix_offsets[section] : plan.prefix_offsets[section + 1]].tolist()
            alone = paths(plan.tokens[nodes], plan.ends[nodes])
            assert seen[place : place + len(alone)] == [prefix + path for path in alone]
            here = slice(place, place + len(alone))
            assert pack.positions[here].tolist() == [len(prefix) + len(path) - 1 for path in alone]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_blocks_say_what_of_the_mask_is_full_and_what_is_empty(data: st.DataObject) -> None:
    """Against the mask itself, of random forests of random depth."""
    size, rng = BLOCK * 4, np.random.default_rng(data.draw(st.integers(0, 10**6)))
    ends, positions = np.zeros(size, np.int32), np.zeros(size, np.int32)
    open_nodes: list[int] = []
    branching = data.draw(st.sampled_from([0.0, 0.01, 0.2, 0.9]))
    for node in range(size):
        while open_nodes and rng.random() < branching:
            ends[open_nodes.pop()] = node
        positions[node] = len(open_nodes)
        open_nodes.append(node)
    ends[open_nodes] = size
    for kind in KINDS:
        visible = _mask_mod(torch.from_numpy(ends), torch.from_numpy(positions), kind)
        index = torch.arange(size)
        mask = visible(0, 0, index[:, None], index).numpy().reshape(4, BLOCK, 4, BLOCK).transpose(0, 2, 1, 3)
        full, partial = blocks(ends, positions, kind)
        assert not (full & partial).any()
        assert mask[full].all()
        assert not mask[~full & ~partial].any()
        if kind == Kind():
            assert (full == mask.all((2, 3))).all() and (partial == (mask.any((2, 3)) & ~full)).all()


@pytest.mark.parametrize("kind", ["rc", "mc"])
@pytest.mark.parametrize("architecture", ["olmo2", "gpt_neox"])
def test_packed_rows_give_the_scores_of_masked_rows(architecture: str, kind: str) -> None:
    scorer, plan = Scorer(tiny_model(architecture)), plan_of_two_sections(kind)
    expected = scorer.loglikelihoods(plan)
    packed(scorer)
    np.testing.assert_allclose(scorer.loglikelihoods(plan), expected, atol=TOLERANCE)
    parts = [scorer.loglikelihoods(plan, rank, 2) for rank in range(2)]
    np.testing.assert_allclose(sum(parts), expected, atol=TOLERANCE)
    assert all((part == 0).any() for part in parts)
    assert scorer.model.config._attn_implementation == "sdpa"  # put back
    assert "forward" not in vars(scorer.body.layers[0])


@pytest.mark.parametrize("family", ["mistral", "gemma3_text", "cohere2", "llama4_text", "deepseek_v3"])
def test_windows_chunks_and_grouped_heads_packed(family: str) -> None:
    requests, scorer = long_requests(), Scorer(tiny_family(family))
    scores = packed(scorer).loglikelihoods(plan_of_requests(requests, True, 256))
    np.testing.assert_allclose(scores, reference(scorer.model, requests), atol=TOLERANCE)


def test_one_graph_serves_every_layer_pack_and_plan() -> None:
    torch._dynamo.reset()
    scorer = Scorer(tiny_model(num_hidden_layers=3))
    plans = [plan_of_two_sections("rc"), plan_of_two_sections("mc")]
    expected = [scorer.loglikelihoods(plan) for plan in plans]
    packed(scorer, lambda forward: torch.compile(forward, dynamic=False, fullgraph=True, backend="eager"), least=512)
    torch._dynamo.utils.counters.clear()
    np.testing.assert_allclose(scorer.loglikelihoods(plans[0]), expected[0], atol=TOLERANCE)
    first = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    np.testing.assert_allclose(scorer.loglikelihoods(plans[1]), expected[1], atol=TOLERANCE)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == first == 1


def test_models_of_many_sizes_in_one_process() -> None:
    torch._dynamo.reset()
    plan = plan_of_requests(long_requests()[:2], True, 64)
    with torch._dynamo.config.patch(recompile_limit=1):  # of 8: it refuses the second size in place of the ninth
        for width in (8, 16):
            scorer = Scorer(tiny_model(hidden_size=width, num_attention_heads=2, num_hidden_layers=1))
            packed(scorer, lambda forward: torch.compile(forward, dynamic=False, fullgraph=True, backend="eager"), 128)
            assert np.isfinite(scorer.loglikelihoods(plan)).all()


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_the_compiled_kernel_skips_no_block_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductor's kernel leaves out empty blocks and masks no full ones, which the uncompiled one does not."""
    scorer, plan = Scorer(tiny_model(hidden_size=64)), plan_of_two_sections("rc")
    expected = scorer.loglikelihoods(plan)
    packed(scorer, lambda forward: torch.compile(forward, dynamic=False, fullgraph=True), least=512)
    np.testing.assert_allclose(scorer.loglikelihoods(plan), expected, atol=TOLERANCE)
    monkeypatch.setattr("evaluate.scoring.packed.blocks", lambda ends, positions, kind: (np.eye(4) > 1, np.eye(4) > 0))
    assert np.abs(scorer.loglikelihoods(plan) - expected).max() > 0.1


def test_a_model_whose_attention_does_more_goes_on_under_masks() -> None:
    class OnGpu(Scorer):
        """Tries packed rows first, as on a GPU."""

        def _try(self, longest_path: int, widest_row: int) -> None:
            if self.kinds is not None and not hasattr(self, "trial"):
                self.packed = Packed(self.model, self.kinds, least=256, compiled=lambda forward: forward)
            super()._try(longest_path, widest_row)

    taken = OnGpu(tiny_model())
    assert taken.tries and taken.packed is not None and taken.trial.attention == "flex"
    assert "as tries, with FlexAttention: the same" in way_text(taken.trial)
    for family, why in (("gpt_oss", "with s_aux"), ("gemma2", "with softcap"), ("gpt2", "'BlockMask' object has no")):
        scorer = OnGpu(tiny_family(family))
        assert scorer.tries and scorer.packed is None and scorer.trial.attention == "masked"
        assert scorer.trial.without_flex == "refused" and why in way_text(scorer.trial)
