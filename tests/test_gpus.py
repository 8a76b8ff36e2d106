"""A job that was given GPUs never computes on a CPU without a word; no GPU is needed for these tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import assert_user_error
from test_train_run import words

import train.setup
from ladder.config.config import load_config
from ladder.errors import UserError
from ladder.process.gpus import check_gpus, given_gpus, visible_gpus

TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)


def fake_torch(seen: int = 0, build: str | None = "13.0", failure: str = "", nvml: int | None = None) -> Any:
    def init() -> None:
        raise RuntimeError(failure)

    cuda = SimpleNamespace(
        is_available=lambda: seen > 0, device_count=lambda: seen if nvml is None else nvml, init=init
    )
    return SimpleNamespace(cuda=cuda, version=SimpleNamespace(cuda=build, hip=None), __version__="2.13.0")


def machine(directory: Path, monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    """Programs that answer as those of a machine with so many GPUs do."""
    listing = "\n".join(f"GPU {index}: NVIDIA H100 80GB HBM3 (UUID: GPU-{index})" for index in range(gpus))
    program = directory / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<END\n{listing}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("MODEL_LADDER_GPUS", raising=False)


def test_which_gpus_may_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, monkeypatch, 4)
    assert visible_gpus() == ["0", "1", "2", "3"] and given_gpus() == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert visible_gpus() == ["2", "3"] and given_gpus() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert given_gpus() == 0
    monkeypatch.setenv("MODEL_LADDER_GPUS", "8")
    assert given_gpus() == 8
    monkeypatch.setenv("MODEL_LADDER_GPUS", "all")
    with pytest.raises(UserError, match='MODEL_LADDER_GPUS="all" must be the number'):
        given_gpus()


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (fake_torch(build=None), "given 2 GPUs and torch sees 0: torch 2.13.0 is built without CUDA; .* TORCH=cuda"),
        (fake_torch(failure=TOO_OLD), r"the driver is too old for torch 2.13.0 \(CUDA 13.0\)"),
        (fake_torch(failure=TOO_OLD, nvml=2), "torch sees 0: the driver is too old"),  # NVML counts them all the same
        (fake_torch(failure="No CUDA GPUs are available"), "torch sees 0: No CUDA GPUs are available"),
        (fake_torch(seen=1), "given 2 GPUs and torch sees 1: see CUDA_VISIBLE_DEVICES"),
    ],
)
def test_a_job_that_sees_less_than_it_was_given(monkeypatch: pytest.MonkeyPatch, there: Any, message: str) -> None:
    monkeypatch.setenv("MODEL_LADDER_GPUS", "2")
    with pytest.raises(UserError, match=message):
        check_gpus(there)
    check_gpus(fake_torch(seen=2))
    monkeypatch.setenv("MODEL_LADDER_GPUS", "0")
    check_gpus(there)


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_LADDER_GPUS", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UserError, match="4 processes were started here, where 2 GPUs are"):
        check_gpus(fake_torch(seen=2))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU that torch sees")
def test_train_and_evaluate_refuse(
    command: Callable, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "nano" / "n0-1xC" / "checkpoints" / "step-0000001"
    monkeypatch.setenv("MODEL_LADDER_GPUS", "1")
    assert_user_error(command(*words(corpus, tmp_path)), "this job was given 1 GPUs and torch sees 0")
    assert not list(tmp_path.iterdir()) or not (tmp_path / "nano" / "n0-1xC" / "run.json").exists()
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text("{}")
    done = command("-m", "evaluate", str(checkpoint), "suite=nano")
    assert_user_error(done, "this job was given 1 GPUs and torch sees 0")


def test_a_missing_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    assert "a C compiler (cc, gcc, clang or CC)" in train.setup.missing_compiler(cuda=True)
    with pytest.raises(UserError, match=r"torch.compile needs a C\+\+ compiler .*; .*train.compile=false|lacks"):
        train.setup.check_machine(load_config(["ladder=nano", "train.compile=true"]))
    train.setup.check_machine(load_config(["ladder=nano", "train.compile=false"]))
    (tmp_path / "mycc").write_text("#!/bin/sh\n")
    (tmp_path / "mycc").chmod(0o755)
    monkeypatch.setenv("CXX", "mycc")
    train.setup.check_machine(load_config(["ladder=nano", "train.compile=true"]))
    monkeypatch.setenv("CC", "mycc")
    monkeypatch.setattr(train.setup.sysconfig, "get_path", lambda _: str(tmp_path))
    assert "headers of Python" in train.setup.missing_compiler(cuda=True)


def test_a_network_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise torch.distributed.DistNetworkError("failed to connect to node-2:29500")

    monkeypatch.setattr(train.setup, "Accelerator", fail)
    with pytest.raises(UserError, match=r"do not reach each other \(failed to connect.*NCCL_SOCKET_IFNAME=ib0"):
        train.setup._accelerator(load_config(["ladder=nano"]))
