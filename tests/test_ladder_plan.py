"""What a ladder costs, and a cluster's configuration: numbers, other shapes, bad values."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, assert_user_error

from ladder.__main__ import main
from ladder.config.config import ladder_from_config, load_config
from ladder.errors import UserError


def plan(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["plan", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("target", "share"), [("7B-4T", "3.2%"), ("13B-5T", "1.3%")])
def test_the_papers_share_of_the_target(capsys: pytest.CaptureFixture[str], target: str, share: str) -> None:
    assert f"{plan(capsys, f'target={target}')['total']['share_of_target']:.1%}" == share


def test_the_numbers_of_one_rung_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    out = plan(capsys, "rung=190M-1xC", "cluster.gpus=4", "cluster.gpu.peak_flops=1e15", "cluster.gpu.mfu=0.5")
    (rung,) = out["rungs"]
    n, d, parameters = 190_354_176, 7_272 * 128 * 4096, 190_354_176 + 768 * 100_352
    flops = (6 * n + 12 * 12 * 768 * 4096) * d
    assert (rung["n"], rung["d"], rung["steps"], rung["checkpoints"]) == (n, d, 7_272, 37)
    assert rung["flops_6nd"] == 6 * n * d
    assert rung["gpu_hours"] == pytest.approx(flops / 0.5e15 / 3600)
    assert rung["wall_hours"] == pytest.approx(rung["gpu_hours"] / 4)
    assert rung["dollars"] == pytest.approx(rung["gpu_hours"] * 2.5)
    assert rung["weights_bytes"] == 37 * 4 * parameters
    assert rung["resume_bytes"] == 2 * 12 * parameters
    assert rung["evaluation_gpu_hours"] == pytest.approx(2 * n * 6.54e6 * 37 / 0.5e15 / 3600)
    assert rung["micro_batch"] * rung["accumulation"] * 4 == 128


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["ladder.multiples=[1,2]"], "n0-1xC, n0-2xC"),  # one batch and ten at the floor: the same D
        (["ladder.multiples=[1]"], "n0-1xC"),
        (["ladder.multiples=[1,2]", "ladder.recipe.sequence_length=64", "ladder.recipe.floor_steps=0"], ""),
    ],
)
@pytest.mark.parametrize("command", [("plan",), ("run", "--dry-run")])
def test_a_budget_that_whole_batches_decide_is_noted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: tuple[str, ...], words: list[str], named: str
) -> None:
    paper = ["sequence_length=4096", "batch_multiple_of=64", "floor_steps=10", "warmup_tokens_per_parameter=0"]
    recipe = [f"ladder.recipe.{word}" for word in paper]
    main([*command, "ladder=nano", f"runs_dir={tmp_path}", f"data.directory={tmp_path}", "--sizes=n0", *recipe, *words])
    notes = [line for line in capsys.readouterr().err.splitlines() if "ladder.recipe" in line]
    assert len(notes) == bool(named)
    assert all(f"for {named}: lower ladder.recipe.sequence_length=4096" in note for note in notes)


def test_micro_batches_shrink_with_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [
        plan(capsys, "rung=1.3B-1xC", f"cluster.gpu.memory_gb={memory}")["rungs"][0]["micro_batch"]
        for memory in (40, 80, 192, 10_000)
    ]
    assert sizes == sorted(sizes) and sizes[0] == 1 and sizes[-1] == 384


def test_a_sharded_model_takes_one_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    """As the trainer does, which tries no sizes with fsdp2."""
    words = ("rung=3B-1xC", "cluster.gpus=8", "train.parallel=fsdp2")
    assert plan(capsys, *words)["rungs"][0]["micro_batch"] == 1
    assert plan(capsys, *words, "train.micro_batch=4")["rungs"][0]["micro_batch"] == 4


def test_less_disk_with_fewer_and_smaller_checkpoints(capsys: pytest.CaptureFixture[str]) -> None:
    full = plan(capsys, "rung=190M-1xC")["rungs"][0]["weights_bytes"]
    assert plan(capsys, "rung=190M-1xC", "train.weights=bf16")["rungs"][0]["weights_bytes"] == full / 2
    assert plan(capsys, "rung=190M-1xC", "train.keep_checkpoints=2")["rungs"][0]["weights_bytes"] == full * 3 / 37


def test_other_shapes_multiples_and_tokens_per_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    shape = "+ladder.sizes.600M={d_model: 1280, n_layers: 16, n_heads: 16, ffn_hidden: 5120}"
    out = plan(capsys, shape, "ladder.multiples=[0.5,3]", "ladder.recipe.tokens_per_parameter=40")
    rungs = {rung["rung"]: rung for rung in out["rungs"]}
    assert len(rungs) == 10
    rung = rungs["600M-0.5xC"]
    assert rung["d"] == pytest.approx(0.5 * 40 * rung["n"], rel=0.01)


def test_csv_has_a_row_for_each_rung(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 16
    assert sum(float(row["flops_6nd"]) for row in rows) == pytest.approx(5.154e21, rel=1e-3)


def test_a_measured_mfu_replaces_the_configured_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = tmp_path / "olmo2" / "190M-1xC" / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"step": 10, "loss": 9.0, "tokens_per_second": 1e5, "mfu": 0.25}\n')
    out = plan(capsys, "--sizes", "190M,370M", f"runs_dir={tmp_path}")
    assert {rung["rung"]: rung["mfu"] for rung in out["rungs"]}["190M-10xC"] == 0.25
    assert {rung["rung"]: rung["mfu_measured"] for rung in out["rungs"]}["370M-1xC"] is False


@pytest.mark.parametrize("command", ["plan", "status"])
def test_neither_imports_torch_nor_submitit(command: str, tmp_path: Path) -> None:
    code = (
        f"import sys; from ladder.__main__ import main; main([{command!r}, 'runs_dir={tmp_path}'])\n"
        "print({'torch', 'pandas', 'submitit'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


@pytest.mark.parametrize(
    ("word", "fragment"),
    [
        ("cluster=slrum", 'did you mean "slurm"'),
        ("cluster.evaluator=4", 'did you mean "cluster.evaluators"'),
        ("+cluster.evaluator=4", 'unknown key "cluster.evaluator"; did you mean "evaluators"'),
        ("cluster.gpus={190m: 4}", 'unknown size in cluster.gpus "190m"; did you mean "190M"'),
        ("cluster.gpus={190M: 4}", "no number for 370M"),
        ("cluster.gpus=half", "auto or a whole number"),
        ("cluster.evaluators=-1", "at least 0"),
        ("cluster.gpu=null", "cluster.gpu = null: must be a mapping of name, memory_gb"),
        ("cluster.gpu.mfu=1.4", "at most 1"),
        ("cluster.gpu.peak_flops=fast", "must be a number"),
        ("cluster.slurm={gpus_per_node: 8}", "cluster.slurm.cpus_per_task is missing"),
        ("rung=191M-1xC", 'did you mean "190M-1xC"'),
    ],
)
def test_bad_values_are_named(command: Callable, word: str, fragment: str) -> None:
    assert_user_error(command("-m", "ladder", "plan", word), fragment)


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["cluster.gpus=12"], "12 GPUs do not fill whole nodes of 8"),
        (["cluster.gpus=auto"], "auto is for one machine"),
        (["cluster.slurm.max_hours=0.05"], "signal_seconds must be less"),
        (["cluster.slurm.cpus_per_task=0"], "at least 1"),
    ],
)
def test_bad_slurm_values_are_named(words: list[str], fragment: str) -> None:
    with pytest.raises(UserError, match=fragment):
        load_config(["cluster=slurm", *words])


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["target.name=mine", "target.n=-1", "target.d=1"], "target.n = -1"),
        (["target.name=mine", "target.n=7e10"], "target.d is missing"),
        (["target.n=7e10", "target.d=1e13"], "target.name is missing"),
    ],
)
def test_a_target_of_ones_own_is_whole(words: list[str], fragment: str) -> None:
    with pytest.raises(UserError, match=fragment):
        main(["plan", *words])


def test_a_cluster_serves_any_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    """Its numbers of GPUs for the sizes of other ladders are passed over."""
    (rung,) = plan(capsys, "ladder=nano", "cluster=slurm", "rung=n0-1xC")["rungs"]
    assert rung["gpus"] == 8


def test_what_is_not_known_is_not_shown_as_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "rung=190M-1xC", "suite.forward_tokens=null"]) == 0
    out = capsys.readouterr().out
    assert "unknown" in out and "an unknown number of evaluation" in out


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (("ladder", "paln"), 'did you mean "plan"'),
        (("ladder",), "arguments are required: VERB"),
        (("evaluate", "x", "--dtype", "fp3"), "invalid choice: 'fp3'"),
        (("train", "--cfg=1"), "ignored explicit argument"),
        (("predict", "--laws", str(ROOT)), f"{ROOT} cannot be read: Is a directory"),
    ],
)
def test_bad_words_are_one_line(command: Callable, words: tuple[str, ...], fragment: str) -> None:
    assert_user_error(command("-m", *words), fragment)


def test_gpus_by_size() -> None:
    config = load_config(["cluster=slurm", "cluster.gpus={190M: 4, 1.3B: 32, default: 8}"])
    ladder = ladder_from_config(config)
    cluster = config.cluster
    assert [cluster.gpus_of(ladder.rung(name), 1) for name in ("190M-1xC", "370M-1xC", "1.3B-1xC")] == [4, 8, 32]
    assert [cluster.nodes_of(gpus) for gpus in (0, 4, 8, 32)] == [1, 1, 1, 4]
