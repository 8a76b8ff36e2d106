"""Training on a CUDA device: what tests/test_train_guards.py cannot see (`pytest -m gpu`)."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import make_trainer
from test_train_options import poison, stop_at
from test_train_run import log_rows
from torch import Tensor
from torch._inductor.utils import run_and_get_code
from torch.nn import functional

from evaluate.scoring.head import logsumexp
from train.loss import next_token_loss, to_gradient

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which is not here"),
]


def away(ours: Tensor, exact: Tensor) -> float:
    return ((ours.double() - exact).norm() / exact.norm()).item()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states (3, 1024, 256), a head over 20,000 ids, tokens; the chunk is 3,072 positions."""
    generator = torch.Generator("cuda").manual_seed(0)
    hidden = torch.randn(3, 1024, 256, device="cuda", generator=generator)
    weight = torch.randn(20_000, 256, device="cuda", generator=generator) / 16
    return hidden, weight, torch.randint(0, 20_000, (3, 1024), device="cuda", generator=generator)


def static(batch: tuple[Tensor, Tensor, Tensor], learned: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, and the gradients of hidden states and head, in bf16 autocast."""
    hidden, weight = (part.detach().clone().requires_grad_() for part in batch[:2])
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss, _ = next_token_loss(hidden, batch[2], weight, 1e-4, learned, static=True)
    return loss.detach(), *torch.autograd.grad(loss, (hidden, weight))


@pytest.mark.parametrize("learned", [None, 2])
def test_the_loss_against_fp64(batch: tuple[Tensor, Tensor, Tensor], learned: int | None) -> None:
    hidden, weight = (part.double().requires_grad_() for part in batch[:2])
    logits, labels = hidden[:learned, :-1] @ weight.T, batch[2][:learned, 1:]
    exact = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    exact = exact + 1e-4 * logits.logsumexp(-1).square().sum()
    loss, *gradients = static(batch, learned)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-3)
    for gradient, reference in zip(gradients, torch.autograd.grad(exact, (hidden, weight)), strict=True):
        assert away(gradient, reference) < 1e-2


def test_the_compiled_loss_equals_the_plain_one(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    compiled = static(batch)
    with torch.compiler.set_stance("force_eager"):
        plain = static(batch)
    for ours, reference in zip(compiled, plain, strict=True):
        assert away(ours, reference.double()) < 1e-3


def test_log_sum_exp_takes_one_pass() -> None:
    """Which depends on a form that the compiler knows."""
    logits, labels = torch.randn(512, 20_000, device="cuda"), torch.zeros(512, dtype=torch.long, device="cuda")
    for compiled, inputs in ((to_gradient, (logits.bfloat16(), labels, 1e-4)), (logsumexp, (logits,))):
        with torch.no_grad():
            _, code = run_and_get_code(torch.compile(compiled, dynamic=False), *inputs)
        assert "prepare_softmax_online" in "".join(code)


def test_an_update_that_is_skipped_leaves_no_trace(corpus: Path, tmp_path: Path) -> None:
    trainer = make_trainer(corpus, tmp_path)
    poison(trainer, range(3, 4))
    for step in (1, 2):
        trainer._update(step)
    tensors = [*trainer.model.parameters(), *(v for s in trainer._optimizer.state.values() for v in s.values())]
    before = [tensor.detach().clone() for tensor in tensors]
    assert math.isnan(trainer._update(3).item())
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))  # weights, moments and step
    assert trainer._meter.read()["skipped"] == 1
    trainer._update(4)
    assert not torch.equal(before[0], tensors[0])


def test_an_update_never_waits_and_compiles_nothing(corpus: Path, tmp_path: Path) -> None:
    trainer = make_trainer(corpus, tmp_path)  # which tried a micro-batch, and so compiled
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in (1, 2):
            trainer._update(step)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for step in (3, 4, 5):
                trainer._update(step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert trainer._meter.read()["steps"] == 5


def test_compiled_gradients_equal_plain_ones(corpus: Path, tmp_path: Path) -> None:
    tokens = torch.randint(0, 512, (4, 32), device="cuda", generator=torch.Generator("cuda").manual_seed(0))

    def gradient(name: str, *words: str) -> Tensor:
        trainer = make_trainer(corpus, tmp_path / name, *words)
        trainer._wrapped(tokens, 1 / tokens.numel())[0].backward()
        return torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])

    exact = gradient("exact", "train.compile=false", "train.precision=fp32").double()
    compiled, plain = (gradient(name, f"train.compile={name}") for name in ("true", "false"))
    assert away(compiled, exact) < 2e-2 and away(compiled, exact) < 2 * away(plain, exact) + 1e-3


def test_a_run_that_is_resumed_sees_the_same_data_from_the_same_state(corpus: Path, tmp_path: Path) -> None:
    """The same bits are the promise of a CPU: on a GPU sums may round otherwise from one start to another."""
    whole, parts = (make_trainer(corpus, tmp_path / name) for name in ("whole", "parts"))
    assert whole.train()
    stop_at(parts, whole.rung.hparams.checkpoint_steps[0] + 3)
    assert not parts.train()
    saved = torch.load(next(parts.run.resume.iterdir()) / "state.pt", weights_only=True)
    again = make_trainer(corpus, tmp_path / "parts")
    again._resume()
    assert again._step == parts._step
    assert all(
        torch.equal(value.cpu(), saved["model"][name]) for name, value in again._parallel.state()["model"].items()
    )
    again = make_trainer(corpus, tmp_path / "parts")
    assert again.train()
    ours, theirs = log_rows(again.run), log_rows(whole.run)
    assert [(row["step"], row["lr"], row["left_out"]) for row in ours] == [
        (row["step"], row["lr"], row["left_out"]) for row in theirs
    ]
    assert ours[-1]["loss"] == pytest.approx(theirs[-1]["loss"], abs=0.02)
