"""A sweep of learning rate and batch: its points, their names, and which runs they share."""

from __future__ import annotations

import pytest

from ladder.config.config import load_config
from ladder.errors import UserError
from ladder.rungs.rung import Variation
from ladder.rungs.sweep import sweep_rungs


def test_names_of_the_points_of_a_sweep() -> None:
    ladder = load_config(["ladder=nano"]).ladder.build()
    plain, point = ladder.rung("n0-1xC"), ladder.rung("n0-1xC-batch2-lr0.5")
    assert (point.variation, point.name) == (Variation(batch=2, lr=0.5), "n0-1xC-batch2-lr0.5")
    assert point.hparams.peak_lr == pytest.approx(plain.hparams.peak_lr / 2)
    assert point.hparams.batch_sequences == pytest.approx(2 * plain.hparams.batch_sequences, abs=1)
    assert point.d == pytest.approx(plain.d, rel=0.01)
    for name in ("n0-1xC-lr", "n0-1xC-lr0", "n0-1xC-lr02", "n0-1xC-lr2-batch2", "n0-1xC-batch1"):
        with pytest.raises(UserError, match="unknown rung"):
            ladder.rung(name)


def test_a_sweep_is_of_the_smallest_rung_the_size_above_and_a_longer_run() -> None:
    ladder = load_config(["ladder=nano"]).ladder.build()
    points = sweep_rungs(ladder)
    assert len({rung.name for rung in points}) == len(points) == 27
    assert {(rung.size, rung.multiple) for rung in points} == {("n0", 1), ("n1", 1), ("n0", 4)}
    assert all(ladder.rung(rung.name) == rung for rung in points)
    olmo = load_config(["ladder=olmo2"]).ladder.build()
    assert {(rung.size, rung.multiple) for rung in sweep_rungs(olmo)} == {("190M", 1), ("370M", 1), ("190M", 5)}
    one = load_config(["ladder=nano", "ladder.multiples=[1]", "ladder.recipe.batch_multiple_of=64"]).ladder.build()
    assert {rung.variation.batch for rung in sweep_rungs(one)} == {1.0}  # every batch is rounded to one of 64


def test_points_of_a_wsd_sweep_branch_off_no_other_run() -> None:
    ladder = load_config(["ladder=nano", "ladder.recipe.schedule=wsd"]).ladder.build()
    assert ladder.branches_of(ladder.rung("n0-4xC")) and not ladder.branches_of(ladder.rung("n0-4xC-lr2"))
