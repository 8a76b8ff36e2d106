"""The parameters of a model in groups that scale alike, and what a recipe says of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class GroupSettings:
    """What one group is given.

    Args:
        lr: times the run's learning rate.
        initial: standard deviation of a matrix's normal distribution; of a norm's gain the value itself.
        weight_decay: AdamW's; a step shrinks weights by this times the group's learning rate.
    """

    lr: float
    initial: float
    weight_decay: float


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The settings of every parameter of an OLMo-2 transformer.

    Args:
        hidden: matrices of the blocks that read `d_model` values: those of attention, gate and up.
        down: those that read the feed-forward's `ffn_hidden` values.
        head: the output head.
        branch_gains: gains of the norms that end a branch, before it is added to the residual stream.
        gains: of all other norms.
        embedding: the input embedding.
    """

    hidden: GroupSettings
    down: GroupSettings
    head: GroupSettings
    branch_gains: GroupSettings
    gains: GroupSettings
    embedding: GroupSettings

    def items(self) -> Iterator[tuple[str, GroupSettings]]:
        for item in fields(self):
            yield item.name, getattr(self, item.name)

    def values(self) -> dict[str, dict[str, float]]:
        """As plain values, of what is written down."""
        return {name: dict(vars(settings)) for name, settings in self.items()}

    def alike(self) -> dict[tuple[float, float], list[str]]:
        """Names of groups by what an optimizer has to know of them: (lr, weight decay)."""
        by_settings: dict[tuple[float, float], list[str]] = {}
        for name, settings in self.items():
            by_settings.setdefault((settings.lr, settings.weight_decay), []).append(name)
        return by_settings


def group_of(parameter: str) -> str:
    """The group of a parameter by its name in `transformers.Olmo2ForCausalLM`."""
    module = parameter.removesuffix(".weight").rpartition(".")[2]
    return _BY_MODULE[module]


_BY_MODULE = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"), "hidden"),
    "down_proj": "down",
    "lm_head": "head",
    **dict.fromkeys(("post_attention_layernorm", "post_feedforward_layernorm"), "branch_gains"),
    **dict.fromkeys(("q_norm", "k_norm", "norm"), "gains"),
    "embed_tokens": "embedding",
}
