"""The first training steps against a plain reference, and the model against the recipe."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ladder.config.config import ladder_from_config, load_config
from train.loss import linear_cross_entropy
from train.model import LossModel, build_model, build_optimizer, model_config

OLMO2 = ladder_from_config(load_config(["ladder=olmo2"]))
NANO = ladder_from_config(load_config(["ladder=nano", "ladder.vocab_size=512"]))


@pytest.mark.parametrize("size", [*OLMO2.sizes, *OLMO2.larger_sizes])
def test_parameter_counts_of_the_real_model(size: str) -> None:
    from transformers import Olmo2ForCausalLM

    shape = OLMO2.make_rung(size, 1).shape
    with torch.device("meta"):
        model = Olmo2ForCausalLM(model_config(shape, OLMO2.recipe))
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == shape.total_parameters
    assert total - model.get_input_embeddings().weight.numel() == shape.n


def test_architecture_is_the_papers() -> None:
    config = model_config(OLMO2.sizes["190M"], OLMO2.recipe)
    assert config.rope_parameters["rope_theta"] == 500_000
    assert config.rms_norm_eps == 1e-6
    assert not config.tie_word_embeddings
    assert config.max_position_embeddings == 4096


def test_initialisation() -> None:
    rung = NANO.make_rung("n6", 1)
    model = build_model(model_config(rung.shape, NANO.recipe), rung.groups, seed=1)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    values = torch.cat([matrix.detach().flatten() for matrix in matrices])
    assert values.abs().max() <= 0.06
    assert values.mean().abs() < 2e-4
    truncated_std = 0.02 * math.sqrt(1 - 6 * math.exp(-4.5) / math.sqrt(2 * math.pi) / math.erf(3 / math.sqrt(2)))
    assert values.std().item() == pytest.approx(truncated_std, rel=5e-3)
    assert all((parameter == 1).all() for parameter in model.parameters() if parameter.ndim == 1)
    again = build_model(model_config(rung.shape, NANO.recipe), rung.groups, seed=1)
    other = build_model(model_config(rung.shape, NANO.recipe), rung.groups, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_weight_decay_groups() -> None:
    rung = NANO.make_rung("n1", 1)
    model = build_model(model_config(rung.shape, NANO.recipe), rung.groups, seed=0)
    optimizer = build_optimizer(model, NANO.recipe, rung)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {group["weight_decay"]: {names[id(p)] for p in group["params"]} for group in optimizer.param_groups}
    assert groups[0.0] == {"model.embed_tokens.weight"}
    assert groups[0.1] == set(names.values()) - groups[0.0]


@pytest.mark.parametrize("chunk", [3, 16, 1000])
def test_loss_and_gradients_equal_the_full_logits(chunk: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(30, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 30, (50,))
    logits = hidden @ weight.T
    plain = functional.cross_entropy(logits, labels, reduction="sum")
    expected = plain + 1e-2 * logits.logsumexp(-1).square().sum()
    expected_gradients = torch.autograd.grad(3 * expected, (hidden, weight))
    loss, cross_entropy = linear_cross_entropy(hidden, weight, labels, z_weight=1e-2, chunk=chunk)
    gradients = torch.autograd.grad(3 * loss, (hidden, weight))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert cross_entropy.item() == pytest.approx(plain.item(), rel=1e-6)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-6)


def test_loss_keeps_no_full_logits() -> None:
    hidden = torch.randn(4096, 8, requires_grad=True)
    weight = torch.randn(5000, 8, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        linear_cross_entropy(hidden, weight, torch.zeros(4096, dtype=torch.long))
    assert max(saved) <= max(hidden.numel(), weight.numel())


def test_first_updates_equal_a_plain_reference() -> None:
    """Three updates against Hugging Face's own loss, an explicit z-loss, torch's plain AdamW and clipping."""
    rung = NANO.make_rung("n3", 1)
    recipe, hparams = NANO.recipe, rung.hparams
    config = model_config(rung.shape, recipe)
    ours, reference = build_model(config, rung.groups, seed=0), build_model(config, rung.groups, seed=0)
    wrapped = LossModel(ours, recipe.z_loss)
    optimizer = build_optimizer(ours, recipe, rung)
    embedding = reference.get_input_embeddings().weight
    plain = torch.optim.AdamW(
        [
            {"params": [p for p in reference.parameters() if p is not embedding], "weight_decay": 0.1},
            {"params": [embedding], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        eps=1e-8,
        foreach=False,
    )
    generator = torch.Generator().manual_seed(0)
    for step in (1, 2, 3):
        tokens = torch.randint(0, 512, (4, 32), generator=generator)
        loss, cross_entropy = wrapped(tokens, 1 / tokens.numel())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(ours.parameters(), recipe.gradient_clip)
        out = reference(input_ids=tokens, labels=tokens)
        z_loss = 1e-4 * out.logits[:, :-1].logsumexp(-1).square().sum()
        expected = (out.loss * 4 * 31 + z_loss) / tokens.numel()
        expected.backward()
        expected_norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        assert cross_entropy.item() == pytest.approx(out.loss.item() * 31 / 32, rel=1e-5)
        assert norm.item() == pytest.approx(expected_norm.item(), rel=1e-5)
        pairs = [(name, p, q) for (name, p), q in zip(ours.named_parameters(), reference.parameters(), strict=True)]
        if step == 1:  # later, rounding is amplified by the updates
            before = {name: p.detach().clone() for name, p, _ in pairs}
            gradients = {name: q.grad.clone() for name, _, q in pairs}
            for name, p, q in pairs:
                torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-5 * q.grad.abs().max().item(), msg=name)
        for update in (optimizer, plain):
            for group in update.param_groups:
                group["lr"] = hparams.lr_at(step)
            update.step()
            update.zero_grad()
        if step == 1:
            # Adam divides by the gradient's own size, so a gradient at rounding level moves by up to the step size.
            for name, p, q in pairs:
                clear = gradients[name].abs() > 1e-3 * gradients[name].abs().max()
                moves = [(after - before[name])[clear] for after in (p.detach(), q.detach())]
                torch.testing.assert_close(*moves, rtol=1e-5, atol=2e-7, msg=name)


def test_sequences_left_out_equal_ignored_labels() -> None:
    """The published runs mask the labels of such sequences; the divisor stays the whole batch."""
    rung = NANO.make_rung("n3", 1)
    config = model_config(rung.shape, NANO.recipe)
    ours, reference = build_model(config, rung.groups, seed=0), build_model(config, rung.groups, seed=0)
    tokens = torch.randint(0, 512, (4, 32), generator=torch.Generator().manual_seed(0))
    loss, cross_entropy = LossModel(ours, NANO.recipe.z_loss)(tokens, 1 / tokens.numel(), 2)
    loss.backward()
    labels = tokens.clone()
    labels[2:] = -100
    out = reference(input_ids=tokens, labels=labels)
    kept = out.logits[:2, :-1]
    expected = (out.loss * 2 * 31 + 1e-4 * kept.logsumexp(-1).square().sum()) / tokens.numel()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert cross_entropy.item() == pytest.approx(out.loss.item() * 2 * 31 / tokens.numel(), rel=1e-5)
    for p, q in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-5 * q.grad.abs().max().item())


def test_bf16_autocast_keeps_fp32_gradients_and_loss() -> None:
    rung = NANO.make_rung("n1", 1)
    model = LossModel(build_model(model_config(rung.shape, NANO.recipe), rung.groups, seed=0), 1e-4)
    tokens = torch.randint(0, 512, (2, 32), generator=torch.Generator().manual_seed(0))
    exact = model(tokens, 1.0)[0].item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = model(tokens, 1.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert model.model.lm_head.weight.grad.dtype == torch.float32
    assert loss.item() == pytest.approx(exact, rel=2e-3)
