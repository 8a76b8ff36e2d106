"""The recipe against the paper's Table 1 and the published runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from conftest import SHARED

from ladder.config.config import ladder_from_config, load_config
from ladder.config.config_files import load_target
from ladder.errors import UserError
from ladder.rungs.rung import Ladder, parse_run_name

# The last step of each published run (also the last `_step` of AI2's CSV of that name).
STEPS = {
    "190M": (7272, 14533, 36318, 72625),
    "370M": (9452, 18894, 47219, 94427),
    "760M": (11580, 23150, 57858, 115706),
    "1.3B": (16279, 32547, 81352, 162694),
}


@pytest.fixture(scope="module")
def olmo2() -> Ladder:
    return ladder_from_config(load_config(["ladder=olmo2"]))


@pytest.fixture(scope="module")
def table1() -> dict:
    path = SHARED / "paper" / "tables.json"
    if not path.exists():
        pytest.skip("the paper's tables are not at ../shared/paper/tables.json")
    return json.loads(path.read_text())["table1_models"]


def test_table_1(olmo2: Ladder, table1: dict) -> None:
    for column, size in enumerate(STEPS):
        rung = olmo2.rung(f"{size}-1xC")
        hparams = rung.hparams
        assert rung.n == table1["model_size_N"][column]
        assert 20 * rung.n == table1["1xC_data_size_D"][column]
        assert hparams.batch_sequences == table1["batch_size_sequences"][column]
        assert hparams.batch_tokens == table1["batch_size_tokens"][column]
        assert hparams.total_steps == table1["training_steps_1xC"][column]
        assert hparams.peak_lr == pytest.approx(table1["peak_lr"][column], abs=0.5e-5)
        assert hparams.warmup_steps == table1["warmup_steps"][column]
        assert rung.shape.d_model == table1["dimension"][column]
        assert rung.shape.n_heads == table1["num_heads"][column]
        assert rung.shape.n_layers == table1["num_layers"][column]


def test_target_shapes_have_the_papers_n(olmo2: Ladder, table1: dict) -> None:
    assert olmo2.larger_sizes["7B"].n == table1["model_size_N"][4] == load_target("7B-4T").n
    assert olmo2.larger_sizes["13B"].n == table1["model_size_N"][5] == load_target("13B-5T").n


def test_all_sixteen_step_counts_and_checkpoint_intervals(olmo2: Ladder) -> None:
    assert {size: tuple(olmo2.make_rung(size, m).hparams.total_steps for m in (1, 2, 5, 10)) for size in STEPS} == STEPS
    assert [olmo2.make_rung("190M", m).hparams.checkpoint_every for m in (1, 2, 5, 10)] == [200, 200, 500, 1000]
    assert sum(len(rung.hparams.checkpoint_steps) for rung in olmo2.rungs) == 1566


def test_ladder_costs_what_the_paper_says(olmo2: Ladder) -> None:
    total = sum(rung.flops_6nd for rung in olmo2.rungs)
    assert total == pytest.approx(5.2e21, rel=0.01)
    assert f"{total / load_target('7B-4T').flops_6nd:.1%}" == "3.2%"
    assert f"{total / load_target('13B-5T').flops_6nd:.1%}" == "1.3%"


@pytest.mark.parametrize("size", STEPS)
@pytest.mark.parametrize("multiple", [1, 2, 5, 10])
def test_learning_rate_and_tokens_equal_the_published_columns(
    olmo2: Ladder, shared: Path, size: str, multiple: int
) -> None:
    hparams = olmo2.make_rung(size, multiple).hparams
    published = {"1.3B": "1B"}.get(size, size)
    with (shared / "olmo-ladder" / "runs" / f"{published}-{multiple}xC.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        step = int(row["_step"])
        assert hparams.lr_at(step) == pytest.approx(float(row["optim/learning_rate_group0"]), rel=1e-14)
        assert step * hparams.batch_tokens == int(float(row["throughput/total_tokens"]))
    assert hparams.total_steps == int(rows[-1]["_step"])
    assert hparams.peak_lr == pytest.approx(float(rows[0]["learning_rate_peak"]), rel=1e-14)


def test_nano_ladder_is_the_same_recipe_at_other_sizes() -> None:
    nano = ladder_from_config(load_config(["ladder=nano"]))
    assert [rung.n for rung in nano.rungs[::4]] == [17256, 28140, 39568]
    assert [nano.make_rung(size, 1).hparams.batch_sequences for size in nano.sizes] == [8, 10, 13]
    target = load_target("n5-8xC")
    rung = nano.rung("n5-8xC")
    assert (target.n, target.d) == (rung.n, rung.d)
    olmo2 = ladder_from_config(load_config(["ladder=olmo2"]))
    changed = {key for key, value in vars(nano.recipe).items() if value != vars(olmo2.recipe)[key]}
    assert changed == {
        "sequence_length",
        "peak_lr_divisor",
        "batch_multiple_of",
        "floor_steps",
        "checkpoint_min_steps",
        "checkpoint_steps_per_multiple",
        "rope_theta",
    }


def test_the_peak_rate_falls_with_the_horizon_where_asked_for() -> None:
    words = ["ladder=nano", "ladder.recipe.peak_lr_horizon_exponent=0.5"]
    plain, falling = (ladder_from_config(load_config(each)) for each in (words[:1], words))
    for size, multiple, share in (("n0", 1, 1), ("n0", 4, 1 / 2), ("n2", 8, 1 / 8**0.5)):
        rate = plain.make_rung(size, multiple).hparams.peak_lr
        assert falling.make_rung(size, multiple).hparams.peak_lr == pytest.approx(rate * share)
    assert plain.recipe.constants() == falling.recipe.constants()  # runs of before are the same runs


def test_warmup_starts_above_zero_and_the_floor_is_a_tenth(olmo2: Ladder) -> None:
    hparams = olmo2.rung("190M-1xC").hparams
    rates = [hparams.lr_at(step) for step in range(1, hparams.total_steps + 1)]
    assert rates[0] == hparams.peak_lr / hparams.warmup_steps
    assert max(rates) == hparams.peak_lr == rates[hparams.warmup_steps - 1]
    assert rates[-10:] == [0.1 * hparams.peak_lr] * 10
    assert all(a >= b for a, b in zip(rates[hparams.warmup_steps :], rates[hparams.warmup_steps + 1 :], strict=False))


def test_a_wsd_run_without_a_decay_is_refused() -> None:
    """It would have no checkpoint."""
    ladder = ladder_from_config(
        load_config(["ladder=nano", "ladder.recipe.schedule=wsd", "ladder.recipe.decay_fraction=0.001"])
    )
    with pytest.raises(UserError, match=r"of a run's \d+ steps none decays with.*decay_fraction=0.001"):
        ladder.rung("n0-1xC")
    assert ladder.rung("n0-8xC").hparams.checkpoint_steps


def test_run_names() -> None:
    assert parse_run_name("1.3B-10xC") == ("1.3B", 10.0, "")
    assert parse_run_name("190M-0.5xC-rerun") == ("190M", 0.5, "rerun")
    assert parse_run_name("peteish7") is None


def test_a_new_size_on_the_command_line() -> None:
    words = ["+ladder.sizes.600M={d_model: 1280, n_layers: 16, n_heads: 16, ffn_hidden: 5120}"]
    ladder = ladder_from_config(load_config(words))
    assert ladder.rung("600M-2xC").n == ladder.sizes["600M"].n == 547_964_160


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["ladder=nnano"], ['unknown ladder "nnano"', 'did you mean "nano"?']),
        (["laddr=nano"], ['unknown configuration key "laddr"', 'did you mean "ladder"?']),
        (["ladder.recipe.z_los=1"], ['"ladder.recipe.z_los"', 'did you mean "ladder.recipe.z_loss"?']),
        (["ladder=nano", "ladder.sizes.n0.d_modl=3"], ['did you mean "ladder.sizes.n0.d_model"?']),
        (["ladder.sizes.190M.d_modl=3"], ["ladder.sizes.190M.d_modl = 3: must be a mapping of d_model"]),
        (["target=13B-6T"], ['unknown target "13B-6T"', 'did you mean "13B-5T"?']),
        (["ladder.multiples=[0]"], ["ladder.multiples.0 = 0: must be above 0"]),
        (["ladder.recipe.z_loss=big"], ['ladder.recipe.z_loss = "big": must be a number']),
        (["ladder.sizes.190M.n_heads=7"], ["n_heads=7"]),
        (["+ladder.sizes.9M={d_model: 64, n_layers: 2, n_heads: 2}"], ["ladder.sizes.9M.ffn_hidden is missing"]),
        (
            ["+ladder.sizes.9M={d_model: 64, n_layers: 2, n_heads: 2, ffn_hiden: 8}"],
            ['unknown key "ladder.sizes.9M.ffn_hiden"', 'did you mean "ffn_hidden"?'],
        ),
    ],
)
def test_bad_configuration_is_named(words: list[str], fragments: list[str]) -> None:
    with pytest.raises(UserError) as error:
        _ = ladder_from_config(load_config(words)).rungs
    for fragment in fragments:
        assert fragment in str(error.value)


def test_a_rerun_is_its_rung_under_another_name(olmo2: Ladder) -> None:
    rung, rerun = olmo2.rung("190M-1xC"), olmo2.rung("190M-1xC-rerun2")
    assert rerun.name == "190M-1xC-rerun2"
    assert (rerun.n, rerun.hparams) == (rung.n, rung.hparams)


@pytest.mark.parametrize("name", ["190M-1xD", "190N-1xC", "190M-1xC-again", "190M-1xC-rerun-", ""])
def test_unknown_rung(olmo2: Ladder, name: str) -> None:
    with pytest.raises(UserError, match="unknown rung"):
        olmo2.rung(name)
