"""What a run can do besides the published recipe: skip bad updates, branch, mask, profile, keep less, log elsewhere."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import assert_user_error, make_trainer, run_module
from safetensors.torch import load_file
from test_train_run import log_rows, words

import train.trainer
from evaluate.models.checkpoint import Checkpoint, live_weights_sha256
from ladder.config.config import ladder_from_config, load_config
from ladder.errors import UserError
from ladder.files.writing import write_json
from ladder.records.metrics_file import Origin
from ladder.runs.rundir import RunDirectory
from predict.measured.own_runs import read_runs
from train.checkpoint import HostCopy, Writer, check_disk, save_resume
from train.log import Log, peak_flops
from train.model import LossModel, build_model, model_config

SMALL = ["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32"]


def poison(trainer, steps: range) -> None:
    """Makes the loss of those updates NaN."""
    forward = trainer._wrapped.forward
    calls = {"step": 0}

    def poisoned(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        calls["step"] += 1
        loss, cross_entropy = forward(*arguments)
        return (loss * math.nan, cross_entropy * math.nan) if calls["step"] in steps else (loss, cross_entropy)

    trainer._wrapped.forward = poisoned


def test_updates_that_are_not_finite_are_skipped_and_counted(corpus: Path, tmp_path: Path) -> None:
    trainer = make_trainer(corpus, tmp_path, "train.log_every=1")
    poison(trainer, range(3, 5))
    for step in (1, 2):
        trainer._update(step)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    moments = [state["exp_avg"].clone() for state in trainer._optimizer.state.values()]
    for step in (3, 4):
        trainer._update(step)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    after = [state["exp_avg"] for state in trainer._optimizer.state.values()]
    assert all(torch.equal(a, b) for a, b in zip(moments, after, strict=True))
    trainer._update(5)
    assert not torch.equal(before[0], next(trainer.model.parameters()))
    sums = trainer._meter.read()
    assert (sums["steps"], sums["skipped"], sums["streak"], sums["longest_streak"]) == (3, 2, 0, 2)
    assert math.isfinite(sums["loss_sum"])


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_gradient_accumulation_changes_nothing(corpus: Path, tmp_path: Path, micro_batch: int) -> None:
    repeats = ("ladder.recipe.ngram_max_length=3", "ladder.recipe.ngram_max_repeats=1")
    whole = make_trainer(corpus, tmp_path / "whole", *repeats)
    parts = make_trainer(corpus, tmp_path / "parts", *repeats, f"train.micro_batch={micro_batch}")
    for step in (7, 9):  # a sequence of each is left out
        assert parts._update(step).item() == pytest.approx(whole._update(step).item(), rel=1e-5)
    ours, theirs = parts._meter.read(), whole._meter.read()
    assert ours["loss_sum"] == pytest.approx(theirs["loss_sum"], rel=1e-6)
    assert ours["left_out"] == theirs["left_out"] > 0


def test_a_batch_of_repeats_teaches_nothing(corpus: Path, tmp_path: Path) -> None:
    """Its update is that of weight decay alone, and its loss is none."""
    trainer = make_trainer(corpus, tmp_path, "ladder.recipe.weight_decay=0", "train.log_every=1")
    shape = (trainer.rung.hparams.batch_sequences, 32)
    trainer.order = SimpleNamespace(batch=lambda *_: np.full(shape, 7))
    trainer.recipe = replace(trainer.recipe, ngram_max_repeats=31)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    assert trainer._update(1).item() == 0
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    trainer._step = 1
    rows: list[dict[str, Any]] = []
    trainer._log_row(SimpleNamespace(write=rows.append), torch.zeros(()))
    assert (rows[0]["loss"], rows[0]["left_out"], rows[0]["skipped"]) == (None, 1, 0)
    trainer.recipe = replace(trainer.recipe, ngram_max_length=0)
    assert trainer._update(2).item() > 0


def test_too_many_skipped_updates_stop_the_run(corpus: Path, tmp_path: Path) -> None:
    trainer = make_trainer(corpus, tmp_path, "train.max_skipped=5")
    poison(trainer, range(12, 17))
    with pytest.raises(
        UserError, match="not finite for 5 updates in a row, the last at step 16; look at its sequences"
    ):
        trainer.train()
    start = f"{corpus} at tokens " + ", ".join(map(str, trainer.order.starts(16)[1][:4]))
    trainer = make_trainer(corpus, tmp_path / "b", "train.max_skipped=5")
    poison(trainer, range(12, 17))
    with pytest.raises(UserError, match=start):
        trainer.train()


def test_wsd_schedule() -> None:
    ladder = ladder_from_config(load_config(["ladder=olmo2", "ladder.recipe.schedule=wsd"]))
    short, long = (ladder.rung(name).hparams for name in ("190M-2xC", "190M-10xC"))
    rates = [short.lr_at(step) for step in range(1, short.total_steps + 1)]
    assert rates[: short.decay_start] == [long.lr_at(step) for step in range(1, short.decay_start + 1)]
    assert rates[short.warmup_steps - 1 : short.decay_start] == [short.peak_lr] * (
        short.decay_start - short.warmup_steps + 1
    )
    assert rates[-1] == pytest.approx(0.1 * short.peak_lr)
    assert all(a > b for a, b in zip(rates[short.decay_start :], rates[short.decay_start + 1 : -10], strict=False))
    own = [rung.hparams.total_steps - (0 if rung.multiple == 10 else rung.hparams.decay_start) for rung in ladder.rungs]
    share = sum(own[:4]) / sum(rung.hparams.total_steps for rung in ladder.rungs[:4])
    assert long.save_steps[0] == 1000 and long.checkpoint_steps[0] > long.decay_start
    assert 0.53 < share < 0.61  # of the compute of four cosine runs
    with pytest.raises(UserError, match='did you mean "cosine"'):
        ladder_from_config(load_config(["ladder.recipe.schedule=cosin"]))


def stop_at(trainer, last: int) -> None:
    """A signal comes during that step."""
    update = trainer._update

    def signalled(step: int) -> torch.Tensor:
        if step == last:
            os.kill(os.getpid(), signal.SIGUSR2)
        return update(step)

    trainer._update = signalled


def test_a_stop_at_a_checkpoint_saves_once(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved a second time, a kill between the two renames would leave no state at all."""
    saved = []
    save = train.trainer.save_resume
    monkeypatch.setattr(train.trainer, "save_resume", lambda *words: (saved.append(words[1]), save(*words)))
    trainer = make_trainer(corpus, tmp_path)
    first = trainer.rung.hparams.checkpoint_steps[0]
    stop_at(trainer, first)
    assert not trainer.train()
    assert saved == [first]


def test_a_run_does_not_change_its_precision(corpus: Path, tmp_path: Path) -> None:
    trainer = make_trainer(corpus, tmp_path)
    stop_at(trainer, 7)
    assert not trainer.train()
    with pytest.raises(UserError, match=r"trained with train.weights=fp32 up to step 7, now train.weights=bf16"):
        make_trainer(corpus, tmp_path, "train.weights=bf16").train()


def test_a_disk_that_fills_up_is_a_clear_error(corpus: Path, tmp_path: Path) -> None:
    """torch and safetensors have errors of their own for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    trainer = make_trainer(corpus, tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*; free space or choose another directory"):
            trainer._checkpoint()
        with pytest.raises(UserError, match=r"cannot write .*; free space or choose another directory"):
            trainer._save(lambda state: save_resume(trainer.run.resume, 1, state))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not trainer.run.checkpoint_steps() and not list(trainer.run.resume.iterdir())


@pytest.mark.slow
def test_a_wsd_branch_equals_the_run_from_step_1(corpus: Path, tmp_path: Path) -> None:
    wsd = ["ladder.recipe.schedule=wsd", "ladder.multiples=[1,2]"]
    trunk = run_module(*words(corpus, tmp_path / "a", *wsd, "rung=n0-2xC"))
    assert trunk.returncode == 0, trunk.stderr
    for runs in ("a", "b"):  # b has no trunk
        done = run_module(*words(corpus, tmp_path / runs, *wsd))
        assert done.returncode == 0, done.stderr
    branch, alone = (RunDirectory(tmp_path / runs / "nano" / "n0-1xC") for runs in ("a", "b"))
    start = branch.record().hparams["decay_start"]
    assert log_rows(branch)[0]["step"] > start
    assert log_rows(branch)[1:] == log_rows(alone)[-len(log_rows(branch)) + 1 :]
    assert branch.checkpoint_steps() == alone.checkpoint_steps()
    for step in branch.checkpoint_steps():
        ours, theirs = (load_file(run.checkpoint(step) / "model.safetensors") for run in (branch, alone))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_fit_never_mixes_schedules(tmp_path: Path) -> None:
    for name, schedule in (("n0-1xC", "cosine"), ("n0-2xC", "wsd")):
        write_json(tmp_path / name / "run.json", {"hparams": {"schedule": schedule}})
    with pytest.raises(UserError, match=r"mixes learning-rate schedules: cosine .* wsd"):
        read_runs(tmp_path)


def test_document_mask_makes_documents_independent() -> None:
    ladder = ladder_from_config(load_config(SMALL))
    model = build_model(model_config(ladder.larger_sizes["n3"], ladder.recipe), ladder.recipe.groups(), seed=0)
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.randint(1, 512, (1, 9), generator=generator),
        torch.randint(1, 512, (1, 6), generator=generator),
    )
    joined = torch.cat([first, torch.zeros(1, 1, dtype=torch.long), second], dim=1)
    masked, open_ = LossModel(model, 0.0, document_end=0), LossModel(model, 0.0)
    apart = open_(joined[:, :10], 1.0)[0] + open_(second, 1.0)[0]
    hidden = model.model(input_ids=joined[:, 9:10]).last_hidden_state  # the border: one label predicted from the end id
    assert hidden.shape[1] == 1
    with torch.no_grad():
        logits = model(input_ids=joined[:, :10]).logits[0, 9]
        border = torch.nn.functional.cross_entropy(logits[None], joined[:, 10])
        assert masked(joined, 1.0)[0].item() == pytest.approx((apart + border).item(), rel=1e-5)
        assert open_(joined, 1.0)[0].item() != pytest.approx((apart + border).item(), rel=1e-5)


def test_disk_guard(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rung = ladder_from_config(load_config(["ladder=olmo2"])).rung("1.3B-10xC")
    run = RunDirectory(tmp_path / "runs" / "none")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("train.checkpoint.shutil.disk_usage", lambda _: usage._replace(free=500 * 10**9))
    with pytest.raises(UserError, match=r"needs 1,0\d\d\.\d GB more \(163 weights, 2 full states.* 500\.0 GB free"):
        check_disk(rung, run, keep=None)
    check_disk(rung, run, keep=2)
    check_disk(rung, run, keep=20)
    with pytest.raises(UserError, match="2 full states"):
        check_disk(rung, run, keep=90)
    check_disk(rung, run, keep=90, weight_bytes=2)
    check_disk(rung, run, keep=70)
    with pytest.raises(UserError, match="5 full states"):
        check_disk(rung, run, keep=70, branches=(1, 2, 3))


@pytest.mark.slow
def test_weights_are_thinned_out_only_once_measured(corpus: Path, tmp_path: Path) -> None:
    done = run_module(*words(corpus, tmp_path, "train.keep_checkpoints=1"))
    assert done.returncode == 0, done.stderr
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    assert run.checkpoint_steps() == list(run.record().checkpoint_steps)  # nothing is measured: all stay
    done = run_module(*words(corpus, tmp_path / "b", "train.keep_checkpoints=1", "train.evaluate=true"))
    assert done.returncode == 0, done.stderr
    run = RunDirectory(tmp_path / "b" / "nano" / "n0-1xC")
    assert run.checkpoint_steps() == list(run.record().checkpoint_steps[-1:])
    assert run.measured_steps() == list(run.record().checkpoint_steps)


def test_profile_and_wandb_offline(corpus: Path, tmp_path: Path) -> None:
    done = run_module(*words(corpus, tmp_path, "profile=true", "wandb=offline"))
    assert done.returncode == 0, done.stderr
    run = RunDirectory(tmp_path / "nano" / "n0-1xC")
    assert "traceEvents" in json.loads((run.path / "profile.json").read_text())
    assert list(run.path.glob("wandb/offline-run-*/*.wandb"))
    assert_user_error(run_module(*words(corpus, tmp_path / "b", "wandb=on")), "wandb", "offline")


def test_bf16_weights_load_as_bf16(corpus: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    trainer = make_trainer(corpus, tmp_path, "train.weights=bf16")
    trainer._update(1)
    trainer._step = 1
    trainer._checkpoint()
    loaded = AutoModelForCausalLM.from_pretrained(trainer.run.checkpoint(1))
    assert loaded.dtype == torch.bfloat16
    for ours, theirs in zip(trainer.model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours.bfloat16(), theirs)
    state = torch.load(trainer.run.resume / "step-0000001" / "state.pt", weights_only=True)
    assert {value.dtype for value in state["model"].values()} == {torch.float32}


def test_background_writer_keeps_order_and_passes_errors_on() -> None:
    seen: list[int] = []
    writer = Writer(background=True)
    for number in range(5):
        writer.submit(lambda number=number: seen.append(number))
    writer.wait()
    assert seen == list(range(5))

    def fail() -> None:
        raise UserError("disk full")

    writer.submit(fail)
    with pytest.raises(UserError, match="disk full"):
        writer.submit(lambda: None)


def test_copies_of_a_state_reuse_their_memory() -> None:
    copy = HostCopy(pin=False)
    state = {"step": 1, "model": {"a": torch.zeros(3)}, "optimizer": [{"b": torch.ones(2, dtype=torch.float64)}]}
    first = copy.of(state)
    state["model"]["a"] += 1
    assert first["step"] == 1 and (first["model"]["a"] == 0).all() and first["optimizer"][0]["b"].dtype == torch.float64
    second = copy.of(state | {"step": 2})
    assert second["model"]["a"].data_ptr() == first["model"]["a"].data_ptr()
    assert second["step"] == 2 and (second["model"]["a"] == 1).all()
    assert copy.of({"model": {"a": torch.zeros(5)}})["model"]["a"].shape == (5,)


def test_background_saves_give_the_same_files(corpus: Path, tmp_path: Path) -> None:
    """And give whoever measured a checkpoint its weights, to be hashed beside training."""
    runs, hashes = [], {}
    for background in (False, True):
        trainer = make_trainer(corpus, tmp_path / str(background))
        object.__setattr__(trainer.settings, "background", background)
        trainer._writer = Writer(background)

        def measure(origin: Origin, run: RunDirectory) -> Callable[[Mapping[str, torch.Tensor]], None]:
            def write(weights: Mapping[str, torch.Tensor]) -> None:
                beside = threading.current_thread() is not threading.main_thread()
                hashes[run.checkpoint(origin.step)] = beside, live_weights_sha256(weights.items())

            return write

        trainer.on_checkpoint = measure
        assert trainer.train()
        runs.append(trainer.run)
    for path, found in hashes.items():
        assert found == (path.is_relative_to(tmp_path / "True"), Checkpoint(path).weights_sha256())
    assert len(hashes) == 2 * len(runs[0].checkpoint_steps())
    for step in runs[0].checkpoint_steps():
        ours, theirs = (load_file(run.checkpoint(step) / "model.safetensors") for run in runs)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [path.name for path in runs[1].resume.iterdir()] == [path.name for path in runs[0].resume.iterdir()]


@pytest.mark.parametrize(
    ("device", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", None),
        ("NVIDIA GB200", 2500),
    ],
)
def test_mfu_is_of_the_device_that_is_meant(device: str, tera: float | None) -> None:
    assert peak_flops(device) == (None if tera is None else tera * 1e12)


@pytest.mark.parametrize("end", [b'{"step": 3', b"\xff\xfe\n", b"[]\n", b'{"step": "3"}\n', b"[" * 100_000])
def test_a_log_goes_on_after_its_last_whole_row(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "log.jsonl"
    rows = b'{"step": 1}\n{"step": 2}\n'
    path.write_bytes(rows + end)
    Log(path, name="a", total_steps=9, resumed_step=5).close()
    assert path.read_bytes() == rows


def test_a_log_keeps_the_rows_after_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 4.25}\n\xff\n{"step": 2, "more": [1]}\n{"step": 3}\n')
    Log(path, name="a", total_steps=9, resumed_step=2).close()
    assert path.read_bytes() == b'{"step": 1, "loss": 4.25}\n{"step": 2, "more": [1]}\n'


def test_a_log_on_a_full_disk_is_named(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl", name="a", total_steps=9, resumed_step=0)
    log._file = Path("/dev/full").open("a", buffering=1)  # noqa: SIM115 (the log closes it)
    with pytest.raises(UserError, match=r"cannot write .*log\.jsonl: No space left on device"):
        log.write({"step": 1})
    log.close()
