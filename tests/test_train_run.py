"""Whole runs of `python -m train` as subprocesses: killed, resumed, shared by two processes, refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from conftest import ROOT, assert_user_error, make_trainer, run_module, run_ranks
from held import HANG_SECONDS, Hold
from safetensors.torch import load_file

from ladder.errors import UserError
from ladder.runs.rundir import RunDirectory
from train.__main__ import main
from train.checkpoint import load_resume, save_resume

LADDER = [
    "ladder=nano",
    "ladder.vocab_size=512",
    "ladder.recipe.sequence_length=32",
    "ladder.recipe.batch_multiple_of=2",
    "ladder.recipe.ngram_max_length=3",  # so that some sequences are left out of the loss
    "ladder.recipe.ngram_max_repeats=1",
]


def words(corpus: Path, runs: Path, *more: str) -> list[str]:
    return ["-m", "train", *LADDER, "rung=n0-1xC", f"data.directory={corpus}", f"runs_dir={runs}", *more]


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def log_rows(run: RunDirectory) -> list[dict]:
    rows = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    return [{key: row[key] for key in ("step", "tokens", "loss", "left_out", "lr", "grad_norm")} for row in rows]


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """An undisturbed run."""
    runs = tmp_path_factory.mktemp("finished")
    done = run_module(*words(corpus, runs))
    assert done.returncode == 0, done.stderr
    return RunDirectory(runs / "nano" / "n0-1xC")


def test_what_a_run_leaves(finished: RunDirectory) -> None:
    record = finished.record()
    assert finished.checkpoint_steps() == list(record.checkpoint_steps)
    rows = log_rows(finished)
    assert [row["step"] for row in rows] == [*range(10, record.total_steps, 10), record.total_steps]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.3
    assert all(0 < row["left_out"] < 0.2 for row in rows)
    rung = json.loads((finished.checkpoint(record.total_steps) / "rung.json").read_text())
    assert (rung["n"], rung["d"], rung["step"]) == (record.n, record.d, record.total_steps)
    assert rung["tokens"] == rung["d"]
    assert len(list(finished.resume.iterdir())) == 1
    assert not list(finished.path.rglob(".tmp-*"))


def test_checkpoint_loads_as_it_lies(finished: RunDirectory) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = finished.checkpoint(finished.checkpoint_steps()[-1])
    model = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert type(model).__name__ == "Olmo2ForCausalLM"
    ids = tokenizer("w5 w17", return_tensors="pt").input_ids
    assert ids.tolist() == [[5, 17]]
    assert model(ids).logits.shape == (1, 2, 512)


def test_a_finished_run_is_left_alone(finished: RunDirectory, corpus: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    done = run_module(*words(corpus, finished.path.parent.parent))
    assert done.returncode == 0
    assert "is complete" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


def test_a_lost_run_file_is_written_again(finished: RunDirectory, corpus: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished.path.parent.parent, runs)
    run = RunDirectory(runs / "nano" / "n0-1xC")
    run.run_file.unlink()
    other = run_module(*words(corpus, runs, "seed=7"))
    assert_user_error(other, "has no run.json", "is of another configuration")
    done = run_module(*words(corpus, runs))
    assert done.returncode == 0 and "is complete" in done.stdout, done.stderr
    assert run.record() == finished.record()
    run.run_file.unlink()
    shutil.rmtree(run.checkpoints)
    nothing_says = run_module(*words(corpus, runs, "seed=7"))
    assert_user_error(nothing_says, "has a state to resume from, but no run.json")


def test_a_run_from_before_sequences_were_left_out(finished: RunDirectory, corpus: Path, tmp_path: Path) -> None:
    """Its recipe lacks the keys: it is the same run as one that leaves nothing out."""
    runs = tmp_path / "runs"
    shutil.copytree(finished.path.parent.parent, runs)
    run = RunDirectory(runs / "nano" / "n0-1xC")
    info = json.loads(run.run_file.read_text())
    del info["schema"]
    for key in ("ngram_max_length", "ngram_max_repeats"):
        del info["recipe"][key]
    run.run_file.write_text(json.dumps(info))
    assert_user_error(run_module(*words(corpus, runs)), "recipe.ngram_max_length: 0 there, 3 now")
    done = run_module(*words(corpus, runs, "ladder.recipe.ngram_max_length=0"))
    assert done.returncode == 0 and "is complete" in done.stdout, done.stderr


def test_stopped_and_restarted_it_ends_the_same(
    finished: RunDirectory, corpus: Path, tmp_path: Path, hold: Hold
) -> None:
    """By SIGTERM, with the exit code that launchers understand; SIGKILL has tests/test_train_kill.py."""
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    last = finished.checkpoint_steps()[1] + 5
    hold.at(run.name, last)
    process = start(hold.command(*words(corpus, tmp_path)[1:]))
    hold.until_held(run.name, process)
    process.terminate()
    assert process.wait(HANG_SECONDS) == 75
    assert [path.name for path in run.resume.iterdir()] == [f"step-{last:07d}"]
    done = run_module(*words(corpus, tmp_path))
    assert done.returncode == 0, done.stderr
    assert log_rows(run) == log_rows(finished)
    assert run.checkpoint_steps() == finished.checkpoint_steps()
    for step in run.checkpoint_steps():
        ours, theirs = (load_file(r.checkpoint(step) / "model.safetensors") for r in (run, finished))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_three_processes_stopped_and_restarted_end_the_same(corpus: Path, tmp_path: Path) -> None:
    """Of three, unlike of two, the sum depends on the order."""
    done = run_ranks(3, "-m", "started_again", str(corpus), str(tmp_path))
    assert not any(one.returncode for one in done), "".join(one.stderr for one in done)
    assert json.loads(done[0].stdout.splitlines()[-1]) == {"moved": True, "same": True}


@pytest.mark.parametrize(("seconds", "asked"), [(0.01, [1, 10, 20]), (40.0, list(range(1, 26)))])
def test_a_signal_is_asked_for_at_every_step_that_is_long(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, asked: list[int]
) -> None:
    """Ten steps of 40 seconds would take longer than SLURM waits."""
    trainer, steps = make_trainer(corpus, tmp_path), []

    def reduce(told: torch.Tensor, how: str) -> torch.Tensor:
        steps.append(trainer._step)
        return 2 * told

    monkeypatch.setattr("train.trainer.time", SimpleNamespace(perf_counter=lambda: seconds * trainer._step))
    trainer.accelerator, trainer._asked = SimpleNamespace(num_processes=2, device="cpu", reduce=reduce), 0.0
    for step in range(1, 26):
        trainer._step = step
        assert not trainer._should_stop()
    assert steps == asked
    trainer._step, trainer._stop = 30, True
    assert trainer._should_stop()


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp2", marks=pytest.mark.slow)])
def test_two_processes_see_the_same_losses(finished: RunDirectory, corpus: Path, tmp_path: Path, kind: str) -> None:
    more = ("train.micro_batch=6", "train.log_every=1", f"train.parallel={kind}", "train.evaluate=true")
    done, other = run_ranks(2, *words(corpus, tmp_path, *more))
    assert done.returncode == other.returncode == 0, done.stderr + other.stderr
    assert f"2 processes ({kind}), micro-batch 6 sequences" in done.stdout
    assert RunDirectory(tmp_path / "nano" / "n0-1xC").checkpoint_steps() == finished.checkpoint_steps()
    rows = log_rows(RunDirectory(tmp_path / "nano" / "n0-1xC"))
    one = make_trainer(corpus, tmp_path / "one")
    for row in rows[:3]:  # later, rounding is amplified by the updates
        assert row["grad_norm"] == pytest.approx(one._update(row["step"]).item(), rel=1e-4)
        assert row["loss"] == pytest.approx(one._meter.read()["loss_sum"] * 32 / 31, rel=1e-5)
    for row in log_rows(finished)[1:]:
        ours = [other["loss"] for other in rows if row["step"] - 10 < other["step"] <= row["step"]]
        assert sum(ours) / len(ours) == pytest.approx(row["loss"], rel=3e-2)
    assert_measured_as_from_disk(RunDirectory(tmp_path / "nano" / "n0-1xC"))


def assert_measured_as_from_disk(run: RunDirectory) -> None:
    """What the processes measured together in the loop is what one process measures on the last checkpoint."""
    assert run.measured_steps() == run.checkpoint_steps()
    last = run.metrics_file(run.checkpoint_steps()[-1])
    live, losses = dict(np.load(last.with_suffix(".npz"))), json.loads(last.read_text())["lm_loss"]
    done = run_module("-m", "evaluate", str(run.checkpoint(run.checkpoint_steps()[-1])), "--force")
    assert done.returncode == 0, done.stderr
    assert json.loads(last.read_text())["lm_loss"] == losses
    stored = dict(np.load(last.with_suffix(".npz")))
    ours, theirs = (json.loads(str(arrays.pop("provenance"))) for arrays in (live, stored))
    assert ours == theirs | {"config": None}  # of a file, which training has not written by then
    assert live.keys() == stored.keys()
    for key, likelihoods in stored.items():
        np.testing.assert_array_equal(likelihoods, live[key])


@pytest.mark.slow
def test_a_run_goes_on_with_other_processes_and_another_kind(corpus: Path, tmp_path: Path, hold: Hold) -> None:
    """Killed on two sharded processes, finished on one."""
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    hold.at(run.name, 95)  # of 239, with states at 80 and 160
    python, *held = hold.command(*words(corpus, tmp_path, "train.parallel=fsdp2")[1:])
    started = start([python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *held])
    hold.until_held(run.name, started)
    workers = psutil.Process(started.pid).children(recursive=True)  # each in a session of its own
    for process in (started, *workers):
        process.kill()
    started.wait()
    psutil.wait_procs(workers)
    before, resumed = log_rows(run), max(int(path.name[5:]) for path in run.resume.glob("step-*"))
    done = run_module(*words(corpus, tmp_path))
    assert done.returncode == 0, done.stderr
    rows = log_rows(run)
    kept = [row for row in before if row["step"] <= resumed]
    assert kept and rows[: len(kept)] == kept
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    assert rows[-1]["loss"] < rows[len(kept) - 1]["loss"]


def test_a_changed_configuration_is_refused_with_the_difference(finished: RunDirectory, corpus: Path) -> None:
    done = run_module(*words(corpus, finished.path.parent.parent, "seed=1", "ladder.recipe.weight_decay=0.2"))
    assert_user_error(done, "another configuration", "seed: 0 there, 1 now", "recipe.weight_decay: 0.1 there, 0.2 now")


def test_bad_input(corpus: Path, tmp_path: Path, command: Callable) -> None:
    assert_user_error(command(*words(corpus, tmp_path, "rung=n9-1xC")), 'unknown rung "n9-1xC"', "did you mean")
    whole = (
        (["ladder=nano"], "rung=NAME"),
        (["nano"], '"nano" is neither an option nor key=value'),
        (
            words(tmp_path / "none", tmp_path)[2:],
            "none (no manifest.json); run: python scripts/prepare_data.py",
        ),
    )
    changed = (
        ("ladder.vocab_size=100", "token ids up to 511, the model's vocabulary is 100"),
        ("train.precision=fp8", 'unknown train.precision "fp8"'),
        ("train.log_every=0", "train.log_every = 0: must be at least 1"),
        ("train.micro_batch=-1", "train.micro_batch = -1: must be at least 1"),
        ("seed=abc", 'seed = "abc": must be a whole number'),
        ("data.max_epochs=abc", 'data.max_epochs = "abc": must be a number'),
        ("+data.mix={w: {directory: x}}", "data.mix.w.weight is missing"),
        ("+data.mix={w: {directory: x, weight: high}}", 'data.mix.w.weight = "high": must be a number'),
        ("+data.mix={}", "data.mix = a mapping: must have at least 1"),
        ("data.directory=null", "data.directory is missing"),
        ("train.document_mask=off", 'train.document_mask = "off": must be true or false'),
        ("train.compile=1", "train.compile = 1: must be auto or true or false"),
        ("ladder.recipe.floor_steps=0.5", "ladder.recipe.floor_steps = 0.5: must be a whole number"),
        ("ladder.recipe.adam_beta1=1.5", "ladder.recipe.adam_beta1 = 1.5: must be below 1"),
        ("ladder.recipe.warmup_tokens_per_parameter=30", "would end inside its warmup of"),
    )
    for arguments, fragment in (*whole, *((words(corpus, tmp_path, word)[2:], told) for word, told in changed)):
        with pytest.raises(UserError) as error:
            main(arguments)
        assert fragment in str(error.value)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_removed_beside_a_state_ends_no_training(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()  # as a desktop leaves it; NFS keeps a file that a process has open
    for step in (1, 2):
        save_resume(tmp_path, step, {"step": step})
    assert load_resume(tmp_path) == {"step": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".DS_Store", "step-0000002"]


def test_damaged_resume_state(finished: RunDirectory, corpus: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    state = run.resume / "step-0000080" / "state.pt"
    state.parent.mkdir(parents=True)
    shutil.copy(finished.run_file, run.run_file)
    source = next(finished.resume.glob("*/state.pt"))
    content = source.read_bytes()
    state.write_bytes(content[: len(content) // 2])
    done = run_module(*words(corpus, tmp_path))
    assert_user_error(done, "step-0000080 cannot be read", "remove it")
    state.write_bytes(b"")
    assert_user_error(run_module(*words(corpus, tmp_path)), "step-0000080 cannot be read", "remove it")


def test_dry_run_and_cfg_print_and_stop(command: Callable, tmp_path: Path) -> None:
    done = command("-m", "train", "ladder=olmo2", "rung=190M-1xC", f"runs_dir={tmp_path}", "--dry-run")
    assert done.returncode == 0
    for number in ("190,354,176", "524,288 tokens (128 x 4,096)", "9.7273e-04", "7,272 (warmup 363, cosine to 7,262)"):
        assert number in done.stdout
    done = command("-m", "train", "ladder=nano", "seed=7", "--cfg")
    assert "seed: 7" in done.stdout
    assert not list(tmp_path.iterdir())
