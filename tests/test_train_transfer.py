"""A recipe's groups in the trainer: initial sizes, rates, decay; activations that do not grow with width; resume."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from conftest import make_trainer
from test_train_options import stop_at

from ladder.config.config import load_config
from ladder.rungs.groups import group_of
from train.model import LossModel, build_model, build_optimizer, model_config, set_rate

WIDTHS = (16, 64, 256)
TRUNCATED = math.sqrt(1 - 6 * math.exp(-4.5) / math.sqrt(2 * math.pi) / math.erf(3 / math.sqrt(2)))  # at 3 deviations


def small_ladder(recipe: str):
    shapes = (f"w{w}: {{d_model: {w}, n_layers: 2, n_heads: {w // 16}, ffn_hidden: {3 * w}}}" for w in WIDTHS)
    words = ["ladder=nano", f"recipe={recipe}", "ladder.vocab_size=128", f"++ladder.sizes={{{', '.join(shapes)}}}"]
    return load_config([*words, *(["ladder.recipe.transfer.base=w16"] * (recipe == "transfer"))]).ladder.build()


def test_every_parameter_has_the_size_rate_and_decay_of_its_group() -> None:
    ladder = small_ladder("transfer")
    rung = ladder.rung("w256-1xC")
    model = build_model(model_config(rung.shape, ladder.recipe), rung.groups, seed=0)
    for name, parameter in model.named_parameters():
        initial = getattr(rung.groups, group_of(name)).initial
        found = parameter.std().item() / TRUNCATED if parameter.ndim == 2 else parameter.unique().item()
        assert found == pytest.approx(initial, rel=2e-2), name
    optimizer = build_optimizer(model, ladder.recipe, rung)
    set_rate(optimizer, rung.groups, 0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names.pop(id(parameter))
            seen[group_of(name)] = (group["lr"], group["weight_decay"])
    assert not names
    assert seen == {name: (0.5 * one.lr, one.weight_decay) for name, one in rung.groups.items()}


def growth(recipe: str) -> dict[str, float]:
    """How much larger each activation is in the widest model than in the narrowest, after four updates."""
    ladder, sizes = small_ladder(recipe), []
    tokens = torch.randint(0, 128, (8, 32), generator=torch.Generator().manual_seed(0))
    for rung in (ladder.make_rung(f"w{width}", 1) for width in WIDTHS):
        model = build_model(model_config(rung.shape, ladder.recipe), rung.groups, seed=0)
        wrapped, optimizer = LossModel(model, 0.0), build_optimizer(model, ladder.recipe, rung)
        for _ in range(4):
            wrapped(tokens, 1 / tokens.numel())[0].backward()
            set_rate(optimizer, rung.groups, rung.hparams.peak_lr)
            optimizer.step()
            optimizer.zero_grad()
        sizes.append(activations(wrapped, tokens))
    return {name: sizes[-1][name] / sizes[0][name] for name in sizes[0]}


@torch.no_grad()
def activations(wrapped: LossModel, tokens: torch.Tensor) -> dict[str, float]:
    """Root mean squares of what the last block's branches say before their norms, and of the logits."""
    sizes: dict[str, float] = {}
    block = wrapped.model.model.layers[-1]
    for name, module in (("attention", block.self_attn.o_proj), ("feed-forward", block.mlp.down_proj)):
        module.register_forward_hook(
            lambda _, __, out, name=name: sizes.__setitem__(name, out.square().mean().sqrt().item())
        )
    sizes["logits"] = wrapped.model.lm_head(wrapped.hidden_states(tokens)).square().mean().sqrt().item()
    return sizes


def test_activations_do_not_grow_with_width() -> None:
    """The coordinate check of Yang et al. 2022 (appendix D.1), over 16 times the width."""
    carried = growth("transfer")
    assert max(carried.values()) < 1.2
    assert carried["logits"] > 0.8  # nor does the model cease to learn
    assert min(growth("paper").values()) > 1.25  # though its rate falls with N


def test_a_resumed_run_of_carried_groups_equals_an_uninterrupted_one(corpus: Path, tmp_path: Path) -> None:
    words = ("recipe=transfer", "ladder.recipe.transfer.base=n3", "ladder.recipe.tokens_per_parameter=5")
    whole = make_trainer(corpus, tmp_path / "whole", *words)
    assert whole.train()
    hparams, groups = whole.rung.hparams, whole.rung.groups
    last = hparams.peak_lr * hparams.final_lr_fraction
    rates = {group["lr"] for group in whole._optimizer.param_groups}
    assert rates == {last * settings.lr for _, settings in groups.items()} and len(rates) > 2
    parts = make_trainer(corpus, tmp_path / "parts", *words)
    stop_at(parts, 30)
    assert not parts.train()
    parts = make_trainer(corpus, tmp_path / "parts", *words)
    assert parts.train()
    for ours, theirs in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
