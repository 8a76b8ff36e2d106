"""The trie scorer gives what one forward pass per request gives, and computes each distinct prefix once."""

from __future__ import annotations

import functools
import itertools
import re
import types
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch._dynamo.utils
import transformers
from evaluate_models import ARCHITECTURES, TEXT, documents, one_by_one, tiny_model, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.scoring.batches import Budget, batches
from evaluate.scoring.head import _compiled_logsumexp, logsumexp
from evaluate.scoring.plan import Plan, make_plan, plan_of_requests
from evaluate.scoring.scorer import Scorer
from evaluate.scoring.trial import trial_requests
from evaluate.tasks.tasks import Document, GoldDocument
from evaluate.tokens.tokenizer import Encoder
from evaluate.tokens.trie import Request, chain_rows, sort_requests, trie_rows
from ladder.errors import UserError

TOLERANCE = 1e-3  # nats, fp32
ENCODER = Encoder(tiny_tokenizer())
SCORER = Scorer(tiny_model(context=40))


def distinct_prefixes(requests: list[Request]) -> set[tuple[int, ...]]:
    return {tuple(r.inputs[: end + 1].tolist()) for r in requests for end in range(len(r.inputs))}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["rc", "mc", "winogrande"])
@pytest.mark.parametrize("tries", [True, False])
def test_equals_one_forward_per_request(architecture: str, kind: str, tries: bool) -> None:
    scorer, made = Scorer(tiny_model(architecture)), documents(kind)
    assert scorer.tries
    scorer.budget = replace(scorer.budget, tokens=300)  # several batches
    plan = make_plan(made, ENCODER, 256, tries)
    expected = one_by_one(scorer.model, ENCODER, made, 256)
    np.testing.assert_allclose(scorer.loglikelihoods(plan), expected, atol=TOLERANCE)
    assert np.ptp(expected) > 1  # the weights do tell the requests apart


@pytest.mark.parametrize(("kind", "context"), [("rc", 32), ("mc", 48), ("winogrande", 28)])
@pytest.mark.parametrize("tries", [True, False])
def test_longer_than_the_context_is_cut_from_the_left(kind: str, context: int, tries: bool) -> None:
    scorer, made = Scorer(tiny_model(context=context)), documents(kind, count=9)
    plan = make_plan(made, ENCODER, context, tries)
    assert 0 < plan.truncated[0] < plan.requests
    np.testing.assert_allclose(
        scorer.loglikelihoods(plan), one_by_one(scorer.model, ENCODER, made, context), atol=TOLERANCE
    )


@pytest.mark.parametrize("tries", [True, False])
def test_an_answer_longer_than_the_context_is_scored_in_parts(tries: bool) -> None:
    """Parts of half a context, each behind the tokens before it that fit."""
    length, context, answer = 16, "Question: which?\nAnswer:", " the dog" * 30
    scorer = Scorer(tiny_model(context=length))
    made = [GoldDocument(id="long", context=context, answer=answer), GoldDocument(id="b", context="A:", answer=" dog")]
    plan = make_plan(made, ENCODER, length, tries)
    (long, _) = ENCODER.encode_pairs([(one.context, one.answer) for one in made])
    texts = torch.from_numpy(np.concatenate([long.context, long.continuation]).astype(np.int64))
    expected = 0.0
    for start in range(len(long.context), len(texts), length // 2):
        targets = texts[start : start + length // 2]
        inputs = texts[: start + len(targets) - 1][-length:]
        with torch.no_grad():
            logits = scorer.model(input_ids=inputs[None]).logits[0, -len(targets) :]
        expected += float(logits.log_softmax(-1)[range(len(targets)), targets].sum())
    assert scorer.loglikelihoods(plan)[0] == pytest.approx(expected, abs=TOLERANCE)
    assert plan.answer_tokens[0] == len(long.continuation) > 2 * length
    assert (plan.truncated[0], plan.parted[0]) == (1, 1)


def test_begin_of_text_goes_first_where_the_tokenizer_puts_it() -> None:
    encoder = Encoder(tiny_tokenizer(bos=True))
    scorer, made = Scorer(tiny_model("llama")), documents("rc")
    plan = make_plan(made, encoder, 256, True)
    assert encoder.start == [1] and plan.prefix_tokens[0] == 1
    np.testing.assert_allclose(
        scorer.loglikelihoods(plan), one_by_one(scorer.model, encoder, made, 256), atol=TOLERANCE
    )


def test_the_prompt_is_computed_once_and_every_other_prefix_too() -> None:
    plan = make_plan(documents("rc", count=40), ENCODER, 256, True)
    naive = make_plan(documents("rc", count=40), ENCODER, 256, False)
    assert len(plan.prefix_tokens) > 10
    assert plan.limit[0] <= plan.processed_tokens <= 1.03 * plan.limit[0]
    assert naive.limit[0] == plan.limit[0] and naive.processed_tokens > 4 * plan.processed_tokens


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_rows_are_tries_in_depth_first_order(data: st.DataObject) -> None:
    sequences = st.lists(st.integers(0, 2), min_size=2, max_size=9)
    drawn = data.draw(st.lists(sequences, min_size=1, max_size=12))
    requests = []
    for index, tokens in enumerate(drawn):
        targets = data.draw(st.integers(1, len(tokens)))
        inputs = np.array(tokens, dtype=np.int32)
        requests.append(Request(index=index, inputs=inputs, targets=np.arange(targets, dtype=np.int32)))
    ordered, shared = sort_requests(requests)
    assert sum(len(r.inputs) for r in requests) - shared.sum() == len(distinct_prefixes(requests))
    budget = data.draw(st.integers(4, 60))
    for rows in (trie_rows(ordered, shared, budget), chain_rows(ordered, shared)):
        for row in rows:
            index = np.arange(len(row.tokens))
            visible = (index <= index[:, None]) & (index[:, None] < row.ends)
            for node in index:  # what a node sees is its path, in order
                assert row.positions[visible[node]].tolist() == list(range(row.positions[node] + 1))
            for request in np.unique(row.pair_request):
                mine = row.pair_request == request
                last = row.pair_node[mine][-1]
                assert row.tokens[visible[last]].tolist() == drawn[request]
                assert row.positions[row.pair_node[mine]].tolist() == list(
                    range(len(drawn[request]) - mine.sum(), len(drawn[request]))
                )
                assert row.pair_token[mine].tolist() == list(range(mine.sum()))
        assert sorted(np.concatenate([np.unique(row.pair_request) for row in rows])) == list(range(len(requests)))
    for row in trie_rows(ordered, shared, budget):
        assert len(row.tokens) <= max(budget, max(map(len, drawn)))
        index = np.arange(len(row.tokens))
        paths = [tuple(row.tokens[(index <= node) & (node < row.ends)].tolist()) for node in index]
        assert len(set(paths)) == len(paths)  # no prefix twice in a row


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["the", " cat", " sat", "\n", "e"]), min_size=1, max_size=7), min_size=1))
def test_any_documents(words: list[list[str]]) -> None:
    made = [
        Document(id=str(i), contexts=("".join(w),) * 2, choices=(" mat", " cats and dogs"), gold=0)
        for i, w in enumerate(words)
    ]
    scores = SCORER.loglikelihoods(make_plan(made, ENCODER, 40, True))
    np.testing.assert_allclose(scores, one_by_one(SCORER.model, ENCODER, made, 40), atol=TOLERANCE)


def test_bf16_stays_near_fp32() -> None:
    made = documents("rc")
    model = tiny_model()
    expected = one_by_one(model, ENCODER, made, 256)
    scores = Scorer(model.bfloat16()).loglikelihoods(make_plan(made, ENCODER, 256, True))
    assert np.abs(scores - expected).mean() < 0.3
    assert np.abs(scores - expected).max() > 0  # it did run in bf16


def test_log_sum_exp_in_the_form_that_a_gpu_compiles() -> None:
    logits = torch.randn(6, 300) * 30
    logits[0, 0] = -torch.inf
    torch.testing.assert_close(logsumexp(logits[:5]), torch.logsumexp(logits[:5], dim=-1))
    logits[5, 0] = torch.nan
    assert not logsumexp(logits)[5].isfinite()


def test_one_compiled_log_sum_exp_serves_any_number_of_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    counted = torch._dynamo.utils.counters["stats"]
    counted.clear()
    compiled = _compiled_logsumexp.__wrapped__(300, torch.device("cpu"))
    for positions in (9, 2, 5000):
        logits = torch.randn(positions, 300)
        torch.testing.assert_close(compiled(logits), logits.logsumexp(-1))
    assert counted["unique_graphs"] == 1


def test_a_model_that_ignores_the_mask_is_run_on_plain_sequences() -> None:
    model = tiny_model()
    forward = model.model.forward

    def ignoring(*args: object, **kwargs: object) -> object:
        kwargs.pop("attention_mask", None)
        kwargs.pop("position_ids", None)
        return forward(*args, **kwargs)

    model.model.forward = ignoring
    scorer, made = Scorer(model), documents("rc")
    assert not scorer.tries
    plan = make_plan(made, ENCODER, 256, scorer.tries)
    np.testing.assert_allclose(scorer.loglikelihoods(plan), one_by_one(model, ENCODER, made, 256), atol=TOLERANCE)


def test_the_cache_goes_by_the_name_that_the_installed_transformers_takes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a deprecated name is one
        assert Scorer(tiny_model()).tries
    model, forward = tiny_model(), type(tiny_model().model).forward

    def older(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None, **rest):  # type: ignore[no-untyped-def]
        return forward(self, input_ids, attention_mask, position_ids, past_key_values, use_cache=use_cache)

    model.model.forward = types.MethodType(older, model.model)
    scorer, made = Scorer(model), documents("rc")
    assert scorer.tries and scorer.masked.cache_argument == "past_key_values"
    scores = scorer.loglikelihoods(make_plan(made, ENCODER, 256, True))
    np.testing.assert_allclose(scores, one_by_one(tiny_model(), ENCODER, made, 256), atol=TOLERANCE)


LLAMA_LIKE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
GPT2_LIKE = {"n_layer": 2, "n_head": 4}
OTHERS = {
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_positions": 256} | GPT2_LIKE, True),
    "qwen3": ("Qwen3ForCausalLM", {"num_key_value_heads": 2, "head_dim": 8} | LLAMA_LIKE, True),
    "eager": ("LlamaForCausalLM", {"attn_implementation": "eager"} | LLAMA_LIKE, True),
    "alibi": ("BloomForCausalLM", {"hidden_size": 32} | GPT2_LIKE, False),
    "window": ("MistralForCausalLM", {"num_key_value_heads": 2, "sliding_window": 16} | LLAMA_LIKE, True),
    "capped logits": ("Gemma2ForCausalLM", {"num_key_value_heads": 2, "head_dim": 8} | LLAMA_LIKE, True),
    "scaled logits": ("GraniteForCausalLM", {"num_key_value_heads": 2, "logits_scaling": 2.0} | LLAMA_LIKE, True),
    "recurrent": ("MambaForCausalLM", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}, False),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_are_run_the_way_they_take(name: str) -> None:
    """Tries where they give the same as plain sequences, which is tried and not looked up; else plain sequences."""
    class_name, values, tries = OTHERS[name]
    model_class = getattr(transformers, class_name)
    config = {"vocab_size": 400, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 0} | values
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.ndim > 1 else 1)
    scorer, made = Scorer(model), documents("rc")
    assert scorer.tries == tries
    plan = make_plan(made, ENCODER, 256, scorer.tries)
    np.testing.assert_allclose(scorer.loglikelihoods(plan), one_by_one(model, ENCODER, made, 256), atol=TOLERANCE)


def gpt_neo(window: int) -> object:
    torch.manual_seed(0)
    config = transformers.GPTNeoConfig(
        vocab_size=400, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]],
        window_size=window, max_position_embeddings=512, eos_token_id=0, bos_token_id=None,
    )  # fmt: skip
    model = transformers.GPTNeoForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.ndim > 1 else 1)
    return model


def test_a_window_that_stands_in_no_key_is_found_at_the_length_of_the_plan() -> None:
    """GPT-Neo counts the tokens of a row, siblings included: what lies in the row matters, not only how long it is."""
    made = documents("rc", 40)
    tries = make_plan(made, ENCODER, 256, True)
    for window, outcome in ((80, "differs"), (500, "same")):
        scorer = Scorer(gpt_neo(window))
        expected = one_by_one(scorer.model, ENCODER, made, 256)
        assert scorer.tries  # on a short trie
        wrong = np.abs(scorer.loglikelihoods(tries) - expected).max()
        assert (wrong > 0.1) == (outcome == "differs") and tries.longest_path < 80
        scorer.try_at(tries.longest_path, tries.widest_row)
        assert (scorer.trial.outcome, scorer.trial.tokens) == (outcome, tries.longest_path)
        plan = make_plan(made, ENCODER, 256, scorer.tries)
        np.testing.assert_allclose(scorer.loglikelihoods(plan), expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("a mask of two dimensions"), "refused"),
        (RuntimeError("The size of tensor a (40) must match"), "refused"),
        (torch.OutOfMemoryError("CUDA out of memory"), None),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), None),
        (TypeError("forward() got an unexpected keyword argument 'past_key_values'"), None),
        (AttributeError("a mistake"), None),
    ],
)
def test_a_refusal_is_said_and_other_errors_are_not_swallowed(error: Exception, outcome: str | None) -> None:
    model = tiny_model()
    forward = model.model.forward

    def raising(input_ids=None, attention_mask=None, position_ids=None, **kwargs):  # type: ignore[no-untyped-def]
        if attention_mask is not None:
            raise error
        return forward(input_ids, position_ids=position_ids, **kwargs)

    model.model.forward = raising
    if outcome is None:
        with pytest.raises(type(error), match=re.escape(str(error))):
            Scorer(model)
    else:
        trial = Scorer(model).trial
        assert (trial.outcome, trial.tries) == (outcome, False) and str(error) in str(trial.error)


@pytest.mark.parametrize(("longest", "widest"), [(1, 1), (2, 2), (3, 9), (32, 32), (100, 1024), (200, 90)])
def test_a_trial_is_as_long_and_as_wide_as_asked(longest: int, widest: int) -> None:
    requests = trial_requests(400, longest, widest)
    plan = plan_of_requests(requests, True, widest)
    assert plan.longest_path == longest
    assert widest <= plan.widest_row + longest // 4 and plan.widest_row <= max(widest, longest) + longest // 2


def test_training_mode_and_gradients_are_left_alone() -> None:
    model = tiny_model(attention_dropout=0.5).train()
    plan = make_plan(documents("mc"), ENCODER, 256, True)
    scorer = Scorer(model)
    first, second = scorer.loglikelihoods(plan), scorer.loglikelihoods(plan)
    np.testing.assert_array_equal(first, second)  # no dropout
    assert model.training and torch.is_grad_enabled()
    model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()


def test_ranks_add_up_to_one_process_exactly() -> None:
    plan = make_plan(documents("rc", 40), ENCODER, 256, True)
    scorer = Scorer(tiny_model())
    scorer.budget = replace(scorer.budget, tokens=200)
    alone = scorer.loglikelihoods(plan)
    parts = [scorer.loglikelihoods(plan, rank, 3) for rank in range(3)]
    np.testing.assert_array_equal(sum(parts), alone)
    assert all((part == 0).any() for part in parts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=7), st.integers(0, 30), st.integers(40, 200))
def test_rows_run_together_where_padding_and_batches_cost_least(widths: list[int], cost: int, tokens: int) -> None:
    widths = sorted(widths, reverse=True)
    requests = [
        Request(index=row, inputs=np.full(width, row, dtype=np.int32), targets=np.ones(1, dtype=np.int32))
        for row, width in enumerate(widths)
    ]
    plan = plan_of_requests(requests, False, 1)
    budget = Budget(tokens=tokens, mask_elements=10**9, logit_elements=10**9, batch_cost=cost)
    made = [(batch.first, batch.last) for batch in batches(plan, budget, 500)]
    assert [start for start, _ in made] == [0, *(stop for _, stop in made[:-1])] and made[-1][1] == len(widths)

    def total(spans: list[tuple[int, int]]) -> float:
        sizes = [(stop - start) * widths[start] for start, stop in spans]
        return sum(sizes) + cost * len(spans) if max(sizes) <= tokens else float("inf")

    cuts = itertools.product((False, True), repeat=len(widths) - 1)
    ways = [[0, *(place for place, cut in enumerate(way, 1) if cut), len(widths)] for way in cuts]
    assert total(made) == min(total(list(itertools.pairwise(way))) for way in ways)


def test_bad_models() -> None:
    plan: Plan = make_plan(documents("rc"), ENCODER, 256, True)
    with pytest.raises(UserError, match="embedding has 300 rows"):
        Scorer(tiny_model(vocab_size=300)).loglikelihoods(plan)
    broken = tiny_model()
    scorer = Scorer(broken)
    broken.lm_head.weight.data[5] = float("nan")
    assert not np.isfinite(scorer.loglikelihoods(plan)).any()


def documents_of_two_prompts(count: int) -> list[Document]:
    """Documents behind one of two long prompts in turn, and one behind a prompt that nobody else has."""
    prompts = [f"{start} {TEXT * 2}\n\n" for start in ("The cat sat.", "Sarah was.", "Which of these?")]
    made = [
        Document(id=str(n), contexts=(f"{prompts[n % 2]}{n} dogs\nAnswer:",) * 2, choices=(" cat", " the moon"), gold=0)
        for n in range(count)
    ]
    return [*made, Document(id="alone", contexts=(f"{prompts[2]}Answer:",) * 2, choices=(" cat", " cow"), gold=1)]


def test_prompts_that_several_documents_share_are_computed_once_each() -> None:
    model, encoder, made = tiny_model(context=512), Encoder(tiny_tokenizer()), documents_of_two_prompts(40)
    plan = make_plan(made, encoder, 512, True)
    assert (np.diff(plan.prefix_offsets) > 60).tolist() == [True] * 3  # one a prompt
    assert plan.processed_tokens <= 1.03 * plan.limit[0]
    requests = [
        (*encoder.encode([context])[0].tolist(), *encoder.encode([choice])[0][:-1].tolist())
        for document in made
        for context, choice in zip(document.contexts, document.choices, strict=True)
    ]
    assert plan.limit[0] == len({request[:end] for request in requests for end in range(1, len(request) + 1)})
    assert np.abs(Scorer(model).loglikelihoods(plan) - one_by_one(model, encoder, made, 512)).max() < 1e-3


def test_one_prompt_is_one_section() -> None:
    assert len(make_plan(documents("rc"), Encoder(tiny_tokenizer()), 256, True).prefix_offsets) == 2
