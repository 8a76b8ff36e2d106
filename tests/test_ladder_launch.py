"""The launcher on this machine: what it refuses to start, what it starts, what it says of failures."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import assert_user_error

from ladder.__main__ import main
from ladder.config.config import ladder_from_config, load_config
from ladder.errors import UserError
from ladder.files.locks import exclusive
from ladder.jobs.preflight import check_affordable
from ladder.runs.rundir import RunDirectory

LADDER = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32"]


def test_the_papers_ladder_is_not_started_on_a_cpu(command: Callable, tmp_path: Path) -> None:
    done = command("-m", "ladder", "run", "ladder=olmo2", f"runs_dir={tmp_path / 'runs'}")
    assert_user_error(done, "no GPU", "make demo")
    assert "16 rungs" in done.stdout  # the plan and its cost come first
    assert "GPU-hours of training" in done.stdout
    assert not list(tmp_path.iterdir())
    rungs = ladder_from_config(load_config(["ladder=olmo2"])).rungs
    check_affordable(rungs, gpus=8)
    with pytest.raises(UserError):
        check_affordable(rungs, gpus=0)


def test_data_is_checked_once_before_anything_starts(command: Callable, tmp_path: Path) -> None:
    done = command("-m", "ladder", "run", *LADDER, f"data.directory={tmp_path / 'none'}", f"runs_dir={tmp_path}")
    assert_user_error(done, "no prepared data")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_failed_rung_is_named_with_its_reason(command: Callable, corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}"]
    for name in ("n0-1xC", "n0-2xC"):
        (tmp_path / "nano" / name).mkdir(parents=True)
        (tmp_path / "nano" / name / "checkpoints").write_text("in the way")
    done = command("-m", "ladder", "run", *words, "--sizes", "n0", "--multiples", "1,2")
    assert_user_error(done, "n0-1xC", "n0-2xC", "output.txt ends with", "cannot write", "checkpoints")


@pytest.mark.slow
def test_two_at_once_on_one_directory(command: Callable, corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    with exclusive(tmp_path / "nano", "python -m ladder run"):
        assert_user_error(command("-m", "ladder", "run", *words), "python -m ladder run is at work", f"{os.getpid()}")
    with exclusive(tmp_path / "nano" / "n0-1xC", "a trainer"):
        assert_user_error(command("-m", "train", *words), "a trainer is at work there already", f"{os.getpid()}")
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
def test_a_run_trained_by_hand_is_measured_by_the_launcher(command: Callable, corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    assert command("-m", "train", *words).returncode == 0
    assert run.checkpoint_steps() and not run.measured_steps()
    done = command("-m", "ladder", "run", *words)
    assert done.returncode == 0, done.stderr
    assert run.measured_steps() == run.checkpoint_steps()
    assert command("-m", "ladder", "status", *words).returncode == 0


def test_the_prediction_waits_for_every_point(command: Callable, corpus: Path, tmp_path: Path) -> None:
    words = [*LADDER, "ladder.multiples=[1]", f"data.directory={corpus}", f"runs_dir={tmp_path}"]
    done = command("-m", "train", *words, "rung=n0-1xC", "train.evaluate=true")
    assert done.returncode == 0, done.stderr
    refused = command("-m", "ladder", "predict", *words)
    assert_user_error(refused, "cannot predict n5-8xC yet, missing: n1-1xC (not trained); n2-1xC (not")
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    first, *_ = run.metrics_files()
    first.unlink()
    step = run.checkpoint_steps()[0]
    assert_user_error(command("-m", "ladder", "predict", *words), f"n0-1xC (1 of 3 steps: {step})")
    assert command("-m", "ladder", "status", *words, "rung=n0-1xC").returncode == 3


def test_dry_run_prints_scripts_and_lines_and_writes_nothing(command: Callable, tmp_path: Path) -> None:
    words = ["ladder=olmo2", "cluster=slurm", f"runs_dir={tmp_path / 'runs'}", "--sizes", "1.3B", "--multiples", "1"]
    done = command("-m", "ladder", "run", "--dry-run", *words, "+cluster.slurm.options.partition=gpu")
    assert done.returncode == 0, done.stderr
    for line in (
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --mem=122GB",
        "#SBATCH --nodes=4",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --partition=gpu",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@300",
        "#SBATCH --dependency='after:<1.3B-1xC>'",
        "#SBATCH --dependency='afterany:<1.3B-1xC>,afterany:<follow-1>,afterany:<follow-2>'",
    ):
        assert line in done.stdout
    minutes = int(re.findall(r"--time=(\d+)", done.stdout)[0])
    assert minutes == pytest.approx(60 * (1.3 * 167 / 32 + 0.5), rel=0.01)
    assert "MODEL_LADDER_GPUS=8 " in done.stdout
    assert "accelerate launch --multi_gpu --num_processes=32 --num_machines=4" in done.stdout
    assert not list(tmp_path.iterdir())


def test_what_run_would_refuse_plan_and_dry_run_refuse_too(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "ladder.multiples=[1]", "data.max_epochs=20"]
    for changed in (
        ["data.max_epochs=0.01"],
        [f"suite.tasks.word.rc={tmp_path / 'none.jsonl'}"],
        ["suite.lm_loss.sotu.tokens=1000000"],
        ["+suite.tasks.word.olmes=piqa"],
        ["target=n2-1xC"],
    ):
        said = set()
        for command in (["plan"], ["run", "--dry-run"], ["run"]):
            with pytest.raises(UserError) as caught:
                main([*command, *words, *changed])
            said.add(str(caught.value))
        assert len(said) == 1, said
    assert main(["plan", *words]) == 0 and "not prepared" not in capsys.readouterr().err
    assert main(["plan", "ladder=nano", f"data.directory={tmp_path / 'none'}"]) == 0  # before the text is prepared
    assert f"{tmp_path / 'none'} is not prepared yet" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100_000))
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    with pytest.raises(UserError, match=r"needs 3\d\d kB for checkpoints .* 100 kB free; .*train.keep_checkpoints"):
        main(["run", *words])
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written(command: Callable, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path / 'file'}", "rung=n0-1xC"]
    assert_user_error(command("-m", "ladder", "run", *words), "runs_dir=", "file is no directory")


def test_a_changed_configuration_is_refused_with_the_difference(
    command: Callable, corpus: Path, tmp_path: Path
) -> None:
    words = [*LADDER, f"data.directory={corpus}", f"runs_dir={tmp_path}", "rung=n0-1xC"]
    assert command("-m", "train", *words, "train.evaluate=true").returncode == 0
    for changed in (command("-m", "ladder", "run", *words, "seed=5"), command("-m", "train", *words, "seed=5")):
        assert_user_error(changed, "begun with another configuration (seed: 0 there, 5 now)")
    assert "seed: 0 there" in command("-m", "ladder", "status", *words, "seed=5").stdout

    run = RunDirectory(tmp_path / "nano" / "n0-1xC")  # measured no more, and thinned out: nothing can make it again
    shutil.rmtree(run.checkpoint(run.checkpoint_steps()[0]))
    run.metrics_files()[0].unlink()
    assert_user_error(command("-m", "ladder", "run", *words), "cannot be made: n0-1xC (1 of 3 steps: 80)")


@pytest.mark.parametrize(
    ("word", "fragment"),
    [
        ("ladder.multiples=[nan]", "ladder.multiples.0 = NaN: must be a finite number"),
        ("ladder.multiples=[1,1]", "twice"),
        ("ladder.multiples=3", "must be a list"),
        ("ladder.recipe.sequence_length=0", "ladder.recipe.sequence_length = 0: must be at least 1"),
        ("train.weights=fp8", 'unknown train.weights "fp8"; did you mean "fp32"'),
        ("train.micro_batch=-3", "train.micro_batch = -3"),
        ("suite.forward_tokens=abc", "suite.forward_tokens = "),
        ("runs_dir=null", "runs_dir = null: must be text"),
        ("cluster.gpus=4096", "more than its batch's"),
        ("target.n=70e9", "target.d, target.name is missing"),
        ("target.name=../../../x", 'target.name = "../../../x": must be a name'),
        ("ladder.name=../outside", 'ladder.name = "../outside": must be a name'),
        ("data.max_epochs=nan", "data.max_epochs = NaN: must be a finite number"),
        ("data.max_epochs=-1", "data.max_epochs = -1: must be above 0"),
        ("ladder.nmae=x", 'did you mean "ladder.name"?'),
        ("+ladder.nmae=x", 'unknown key "ladder.nmae"; did you mean "name"?'),
        ("ladder=../ladder/nano", 'unknown ladder "../ladder/nano"'),
        ("ladder.target=7B-4T", "on the command line it is target=NAME"),
        ("ladder.recipe.tokens_per_parameter=1e19", "would train on"),
        ("wandb=sometimes", 'unknown wandb "sometimes"'),
        ("--sizes=", 'argument --sizes: "" must be names'),
        ("--multiples=1,,2", "argument --multiples"),
        ("--multiples=x", "argument --multiples: x must be numbers"),
        ("=5", '"=5" is neither an option nor key=value'),
        ("+=5", '"+=5" is neither'),
        ("runs_dir=README.md", "runs_dir=README.md: README.md is no directory"),
        ("runs_dir=README.md/there", "README.md is no directory"),
        ("runs_dir='a\0b'", "runs_dir = "),
        ("suite.tasks.word.rc='a\0b'", "suite.tasks.word.rc = "),
        (
            "ladder.sizes.n0={d_model: 9, n_layers: 1, n_heads: 2, ffn_hidden: 8}",
            "ladder.sizes.n0 = a mapping: must give an even, whole head size, d_model=9 over n_heads=2 does not",
        ),
    ],
)
def test_values_are_checked_before_anything_else(word: str, fragment: str) -> None:
    with pytest.raises(UserError) as error:
        main(["plan", "ladder=nano", word])
    assert fragment in str(error.value)
