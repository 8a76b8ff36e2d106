"""What goes wrong on a GPU only, seen without one: waits for the device, graphs compiled again, the static loss."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.nn import functional

from ladder.config.config import ladder_from_config, load_config
from ladder.errors import UserError
from ladder.rungs.memory import largest_micro_batch
from train import micro_batch
from train.loss import IGNORED, largest_divisor, next_token_loss, to_gradient
from train.model import LossModel, build_model, build_optimizer, compile_blocks, model_config
from train.parallel import Sharded

NANO = ladder_from_config(load_config(["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32"]))
RUNG = NANO.make_rung("n1", 1)
CONFIG = model_config(RUNG.shape, NANO.recipe)


def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device does not know of it; ours asks, and so do older releases of transformers."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


@pytest.mark.parametrize("document_end", [None, 0])
def test_no_pass_waits_for_the_device(document_end: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device there are no values, so whatever asks for one fails."""
    no_autocast(monkeypatch)
    with torch.device("meta"):
        model = build_model(CONFIG, RUNG.groups, 0)
        hidden = LossModel(model, 1e-4, document_end).hidden_states(torch.zeros(2, 32, dtype=torch.long))
    assert hidden.shape == (2, 32, RUNG.shape.d_model) and hidden.device.type == "meta"
    with torch.device("meta"), pytest.raises(RuntimeError):  # what it replaces
        model.model(input_ids=torch.zeros(2, 32, dtype=torch.long), use_cache=False)


@pytest.mark.parametrize("learned", [None, 1])
def test_the_static_loss_waits_for_nothing(learned: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    no_autocast(monkeypatch)
    with torch.device("meta"), torch.compiler.set_stance("force_eager"):
        hidden, weight = torch.randn(2, 32, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
        loss, cross_entropy = next_token_loss(hidden, torch.zeros(2, 32).long(), weight, 1e-4, learned, static=True)
        loss.backward()
    assert loss.shape == cross_entropy.shape == ()
    assert (hidden.grad.shape, weight.grad.shape) == (hidden.shape, weight.shape)


def test_cosines_are_computed_once_and_in_fp32() -> None:
    wrapped = LossModel(build_model(CONFIG, RUNG.groups, 0), 1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wrapped.hidden_states(torch.zeros(2, 32, dtype=torch.long))
    cosines, sines = wrapped._angles
    assert cosines.dtype == sines.dtype == torch.float32
    wrapped.hidden_states(torch.zeros(3, 32, dtype=torch.long))
    assert wrapped._angles[0] is cosines


def test_hidden_states_are_those_of_hugging_face() -> None:
    model = build_model(CONFIG, RUNG.groups, 0)
    tokens = torch.randint(0, 512, (3, 32), generator=torch.Generator().manual_seed(0))
    expected = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    assert torch.equal(LossModel(model, 0.0).hidden_states(tokens), expected)


@pytest.mark.parametrize("learned", [None, 3, 0])
def test_static_loss_and_gradients_equal_the_full_logits(learned: int | None) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(4, 32, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(0, 50, (4, 32))
    logits = hidden[:learned, :-1] @ weight.T
    plain = functional.cross_entropy(logits.flatten(0, 1), tokens[:learned, 1:].flatten(), reduction="sum")
    expected = plain + 1e-2 * logits.logsumexp(-1).square().sum()
    expected_gradients = torch.autograd.grad(3 * expected, (hidden, weight))
    with torch.compiler.set_stance("force_eager"):
        loss, cross_entropy = next_token_loss(hidden, tokens, weight, 1e-2, learned, static=True)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert cross_entropy.item() == pytest.approx(plain.item(), rel=1e-6)
    for gradient, reference in zip(torch.autograd.grad(3 * loss, (hidden, weight)), expected_gradients, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=2e-5)


def test_the_static_body_makes_its_gradient_of_the_logits_themselves() -> None:
    logits, labels = torch.randn(6, 50, dtype=torch.bfloat16), torch.tensor([3, IGNORED, 0, 49, 7, IGNORED])
    before = logits.float()
    sums = to_gradient(logits, labels, 0.0)
    assert sums.dtype == torch.float32
    assert (logits[labels == IGNORED] == 0).all()
    kept = labels != IGNORED
    expected = before[kept].softmax(-1) - functional.one_hot(labels[kept], 50)
    torch.testing.assert_close(logits[kept].float(), expected, rtol=1e-2, atol=1e-3)


def test_what_is_tried_compiles_once_and_training_nothing_more() -> None:
    model = build_model(CONFIG, RUNG.groups, 0)
    counter = CompileCounter()
    for block in model.model.layers:  # as on a GPU: train/model.py
        block.compile(backend=counter, dynamic=False, fullgraph=True)
    wrapped, accelerator = LossModel(model, 1e-4), Accelerator(cpu=True)
    assert micro_batch.fits(wrapped, accelerator, 4, 32, copied=True)
    assert counter.frame_count == 1  # every block has the same graph
    for learned in (4, 3, 0):
        wrapped(torch.zeros(4, 32, dtype=torch.long), 1.0, learned)[0].backward()
    assert counter.frame_count == 1


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_a_block_stays_one_graph(kind: str) -> None:
    """DDP would have it cut where its buckets end, FSDP2 gathers weights before it."""
    shape = replace(RUNG.shape, d_model=256, ffn_hidden=1024)  # a block has more than a bucket of DDP's
    model = build_model(model_config(shape, NANO.recipe), RUNG.groups, 0)
    counter, wrapped = CompileCounter(), LossModel(model, 1e-4)
    compile_blocks(model, backend=counter)
    for block in model.model.layers:  # as on a GPU
        block.compile(backend=counter, dynamic=False, fullgraph=True)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        if kind == "ddp":
            module = nn.parallel.DistributedDataParallel(wrapped)
        else:
            build = functools.partial(build_optimizer, recipe=NANO.recipe, rung=RUNG)
            module = Sharded(Accelerator(cpu=True), wrapped, build).module
        for _ in range(2):
            module(torch.zeros(2, 32, dtype=torch.long), 1.0)[0].backward()
    finally:
        dist.destroy_process_group()
    assert counter.frame_count == 1


def test_the_micro_batch_divides_the_share_and_shrinks_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [largest_micro_batch(12, 1.0, room) for room in (100, 11, 5.5, 2.5, 0)] == [12, 6, 4, 2, 1]
    assert [largest_divisor(3 * 4096, 8192), largest_divisor(64 * 256, 8192)] == [6144, 8192]
    tried: list[int] = []
    most = [5]

    def fits(wrapped: object, accelerator: object, size: int, *_: object) -> bool:
        tried.append(size)
        return size <= most[0]

    monkeypatch.setattr(micro_batch, "fits", fits)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (79 * 10**9, 80 * 10**9))
    rung = ladder_from_config(load_config(["ladder=olmo2"])).make_rung("760M", 1)
    wrapped = LossModel(build_model(CONFIG, RUNG.groups, 0), 1e-4, static=True)
    assert micro_batch.what_fits(wrapped, rung.shape, Accelerator(cpu=True), 20, 4096, False) == 5
    assert tried == [10, 5]  # the plan's first
    most[0] = 0
    with pytest.raises(UserError, match="one sequence does not fit"):
        micro_batch.what_fits(wrapped, rung.shape, Accelerator(cpu=True), 20, 4096, False)
