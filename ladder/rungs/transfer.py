"""How peak rate, initialisation and decay of one run become those of another: by width, depth, batch and tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ladder.files.bind import Name, Share
from ladder.rungs.groups import Groups, GroupSettings
from ladder.rungs.shape import ModelShape


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What of a run the rules below look at. `d`: tokens; `batch_tokens`: of a step."""

    shape: ModelShape
    batch_tokens: int
    d: int


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """The constants of the rules; values and their sources stand in `configs/recipe/transfer.yaml`.

    At the base everything is as the rest of the recipe says.
    """

    base: Name | None
    batch_exponent: Share
    timescale_exponent: Share

    def peak_lr(self, run: Extent, base: Extent, horizon_exponent: float) -> float:
        """Times the base's: ∝ B^b / D^h. With width and depth it does not change: what does is in `groups`."""
        batch, tokens = run.batch_tokens / base.batch_tokens, run.d / base.d
        return float(batch**self.batch_exponent / tokens**horizon_exponent)

    def groups(self, run: Extent, base: Extent, at_base: Groups, peak_lr: float) -> Groups:
        """The base's groups, carried over to a run whose peak rate is `peak_lr` times the base's.

        Width, by fan-in (Yang et al. 2022, Table 3, Adam): a hidden matrix has rate ∝ 1/fan-in and deviation
        ∝ 1/√fan-in, the head both ∝ 1/fan-in, embedding and gains neither.
        Depth (Dey et al. 2025, with residual branches ∝ 1/L): here the norm that ends a branch has the factor in its
        gain, and a gain's rate goes with its size; so a checkpoint is a plain OLMo-2 model.
        Weight decay: so that rate x decay, in steps, gives every group of the run one timescale.
        """
        width = run.shape.d_model / base.shape.d_model
        ffn = run.shape.ffn_hidden / base.shape.ffn_hidden
        depth = run.shape.n_layers / base.shape.n_layers
        decay = self._decay(run, base, peak_lr)
        return Groups(
            hidden=_carried(at_base.hidden, 1 / width, 1 / width**0.5, decay),
            down=_carried(at_base.down, 1 / ffn, 1 / ffn**0.5, decay),
            head=_carried(at_base.head, 1 / width, 1 / width, decay),
            branch_gains=_carried(at_base.branch_gains, 1 / depth, 1 / depth, decay),
            gains=_carried(at_base.gains, 1, 1, decay),
            embedding=_carried(at_base.embedding, 1, 1, decay),
        )

    def _decay(self, run: Extent, base: Extent, peak_lr: float) -> float:
        """Weight decay of a group whose rate is the run's, times the base's.

        AdamW averages updates over 1/(rate x decay) steps; as a part of the run's steps that is τ = B/(η λ D) (Wang and
        Aitchison 2024), and the best τ ∝ (D/N)^-t (Bergsma et al. 2025).
        """
        steps = (run.d / run.batch_tokens) / (base.d / base.batch_tokens)
        tokens_per_parameter = (run.d / run.shape.n) / (base.d / base.shape.n)
        return float(tokens_per_parameter**self.timescale_exponent / (peak_lr * steps))


def _carried(settings: GroupSettings, lr: float, initial: float, decay: float) -> GroupSettings:
    return replace(
        settings,
        lr=settings.lr * lr,
        initial=settings.initial * initial,
        weight_decay=settings.weight_decay * decay / lr,
    )
