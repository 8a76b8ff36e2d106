"""The language-modelling loss of a target: step 1 of the mean of the texts on which all rungs were measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ladder.rungs.rung import Target
from predict.measured.ladder import Measured
from predict.measured.points import common_lm_losses
from predict.methods.base import Estimate
from predict.methods.loss_fits import LossFit, LossScale, fit_finals


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """The texts, the fit of their mean loss, and how wide its intervals are."""

    texts: tuple[str, ...]
    fit: LossFit
    scale: LossScale

    def predict(self, target: Target) -> Estimate:
        return self.scale.estimate(self.fit.laws, target.n, target.d)


def fit_text_loss(measured: Measured) -> TextLoss | None:
    """None where the rungs have no loss on a text in common."""
    runs, count = measured.rungs, measured.smoothing.final_checkpoints
    texts = common_lm_losses(runs)
    if not texts:
        return None
    fitted = fit_finals(runs, [np.array([run.lm_loss(texts).final(count) for run in runs])])
    return TextLoss(texts=tuple(texts), fit=fitted.fits[0], scale=fitted.scale)
