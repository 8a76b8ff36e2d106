"""`recipe=transfer`: the numbers it gives to known shapes, and what of it is written down of a run."""

from __future__ import annotations

import csv
import io
import json

import pytest

from ladder.__main__ import main
from ladder.config.config import load_config
from ladder.errors import UserError
from ladder.rungs.groups import GroupSettings
from ladder.rungs.rung import Ladder
from ladder.runs.identity import run_identity


def ladder_of(*words: str) -> Ladder:
    return load_config(words).ladder.build()


@pytest.fixture(scope="module")
def olmo2() -> Ladder:
    return ladder_of("ladder=olmo2", "recipe=transfer")


def test_the_smallest_rung_is_the_papers(olmo2: Ladder) -> None:
    assert olmo2.base == olmo2.rung("190M-1xC") == ladder_of("ladder=olmo2").rung("190M-1xC")
    assert ladder_of("ladder=olmo2").base is None


def test_groups_of_a_wider_deeper_model_by_hand(olmo2: Ladder) -> None:
    """1.3B against 190M at 20N tokens: 8/3 the width and feed-forward, 4/3 the layers, 3 times the batch."""
    rung, width, depth, batch = olmo2.rung("1.3B-1xC"), 8 / 3, 4 / 3, 3
    steps = 16_279 / 7_272
    rate = batch**0.5 / (batch * steps) ** 0.32
    assert rung.hparams.peak_lr == pytest.approx(olmo2.rung("190M-1xC").hparams.peak_lr * rate)
    per_n = batch * steps / (1_279_395_840 / 190_354_176)
    decay = 0.1 * per_n**0.527 / (rate * steps)
    expected = {
        "hidden": (1 / width, 0.02 / width**0.5, decay * width),
        "down": (1 / width, 0.02 / width**0.5, decay * width),
        "head": (1 / width, 0.02 / width, decay * width),
        "branch_gains": (1 / depth, 1 / depth, decay * depth),
        "gains": (1, 1, decay),
        "embedding": (1, 0.02, 0),
    }
    for name, settings in rung.groups.items():
        assert tuple(vars(settings).values()) == pytest.approx(expected[name]), name


def test_a_matrix_goes_by_its_own_fan_in() -> None:
    groups = ladder_of("ladder=nano", "recipe=transfer").rung("n2-1xC").groups  # d_model 8 to 16, ffn_hidden 24 to 48
    assert groups.hidden == groups.down
    groups = ladder_of("ladder=nano", "recipe=transfer").rung("n3-1xC").groups  # 8 to 24, 24 to 64
    assert (groups.hidden.lr, groups.down.lr) == pytest.approx((1 / 3, 3 / 8))


def test_the_recipe_says_how_the_rate_falls_with_tokens() -> None:
    ladder = ladder_of("ladder=nano", "recipe=transfer", "ladder.recipe.peak_lr_horizon_exponent=0.8")
    short, long = ladder.rung("n0-1xC"), ladder.rung("n0-8xC")
    assert long.hparams.peak_lr == pytest.approx(short.hparams.peak_lr * (long.d / short.d) ** -0.8)


def test_more_tokens_lower_rate_and_decay_but_no_initial_size(olmo2: Ladder) -> None:
    short, long = olmo2.rung("190M-1xC"), olmo2.rung("190M-10xC")
    tokens = long.d / short.d
    assert long.hparams.peak_lr == pytest.approx(short.hparams.peak_lr * tokens**-0.32)
    # The timescale in steps, 1/(rate x decay), grows with the run, and as a part of it shrinks.
    scale = [
        1 / (one.hparams.peak_lr * one.groups.gains.weight_decay) / one.hparams.total_steps for one in (short, long)
    ]
    assert scale[1] / scale[0] == pytest.approx(tokens**-0.527)
    assert long.groups.hidden.initial == short.groups.hidden.initial


def test_every_group_of_a_run_has_one_timescale(olmo2: Ladder) -> None:
    groups = [settings for name, settings in olmo2.rung("13B-5xC").groups.items() if name != "embedding"]
    assert [one.lr * one.weight_decay for one in groups] == pytest.approx([groups[0].lr * groups[0].weight_decay] * 5)


def test_a_rate_tuned_on_the_base_moves_all_rungs() -> None:
    words = ("ladder=nano", "recipe=transfer")
    pairs = zip(ladder_of(*words).rungs, ladder_of(*words, "ladder.recipe.peak_lr_divisor=1").rungs, strict=True)
    assert [b.hparams.peak_lr / a.hparams.peak_lr for a, b in pairs] == pytest.approx([2.0] * 12)


def test_another_base() -> None:
    ladder = ladder_of("ladder=nano", "recipe=transfer", "ladder.recipe.transfer.base=n2")
    assert ladder.rung("n2-1xC") == ladder_of("ladder=nano").rung("n2-1xC")
    assert ladder.rung("n0-1xC").groups.hidden.lr == 2
    with pytest.raises(UserError, match='unknown size of ladder nano "n9"; did you mean'):
        _ = ladder_of("ladder=nano", "recipe=transfer", "ladder.recipe.transfer.base=n9").rungs


def test_no_branches_where_the_rate_depends_on_the_tokens() -> None:
    words = ("ladder=nano", "ladder.recipe.schedule=wsd")
    assert len(ladder_of(*words).branches_of(ladder_of(*words).rung("n0-8xC"))) == 3
    carried = ladder_of(*words, "recipe=transfer")
    assert carried.branches_of(carried.rung("n0-8xC")) == []


def test_a_papers_run_is_written_down_as_ever() -> None:
    """The hash of version 0.1.0, which resume, W&B and lost run.json files go by."""
    config = load_config(["ladder=nano"])
    identity = run_identity(config, config.ladder.build().rung("n1-2xC"), None)
    assert identity.sha256() == "cf7a730233432431da1f35c9ce4d61785b3be9f6aee63786406d5b1ff37927fd"


def test_what_is_carried_is_part_of_what_a_run_is() -> None:
    plain, config = load_config(["ladder=nano"]), load_config(["ladder=nano", "recipe=transfer"])
    ladder = config.ladder.build()
    assert run_identity(config, ladder.rung("n0-1xC"), None) == run_identity(plain, ladder.rung("n0-1xC"), None)
    identity = run_identity(config, ladder.rung("n3-2xC"), None)
    assert identity.groups == ladder.rung("n3-2xC").groups.values()
    assert identity.sha256() != run_identity(plain, plain.ladder.build().rung("n3-2xC"), None).sha256()


def test_the_plan_shows_what_is_carried(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "ladder=nano", "--sizes=n2", "--multiples=1"]
    main(words)
    assert "carried" not in capsys.readouterr().out
    main([*words, "recipe=transfer"])
    out = capsys.readouterr().out
    assert "carried from n0-1xC" in out and "0.0212  0.0141  0.15" in out
    main([*words, "recipe=transfer", "--json"])
    plan = json.loads(capsys.readouterr().out)
    assert plan["base"] == "n0-1xC"
    assert GroupSettings(**plan["rungs"][0]["groups"]["head"]).initial == 0.01
    main([*words, "recipe=transfer", "--csv"])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(row["groups.head.lr"]) == 0.5


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(UserError, match='unknown recipe "trasfer"; did you mean "transfer"'):
        load_config(["recipe=trasfer"])
