"""Many checkpoints, many workers: following a run, sharing it, dying in the middle, several processes as one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, run_ranks
from evaluate_models import documents, tiny_model, tiny_tokenizer, write_checkpoint, write_jsonl
from held import HANG_SECONDS, Hold, wait_until
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from evaluate import claims
from evaluate.__main__ import main
from evaluate.claims import claim
from evaluate.models.checkpoint import Checkpoint, live_weights_sha256
from evaluate.models.live import whole_tensors
from evaluate.resident import ResidentModel
from ladder.errors import UserError
from ladder.files.writing import atomic_directory
from ladder.runs.rundir import RunDirectory
from predict.measured.own_runs import read_runs

STEPS = (10, 20, 30)
Worker = subprocess.Popen[str]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run of three checkpoints, none there yet."""
    made = RunDirectory(tmp_path / "ladder" / "n1-2xC")
    made.path.mkdir(parents=True)
    jsonl = write_jsonl(tmp_path / "pets.jsonl", documents("rc", 40))
    write_jsonl(tmp_path / "letters.jsonl", documents("mc", 40))
    tasks = {"pets": {"rc": str(jsonl), "mc": str(tmp_path / "letters.jsonl")}}
    OmegaConf.save(OmegaConf.create({"suite": {"name": "tiny", "tasks": tasks}}), made.config_file)
    info = {"run": "n1-2xC", "size": "n1", "n": 28_000, "d": 1000, "total_steps": STEPS[-1]}
    made.run_file.write_text(json.dumps(info))
    return made


def write_step(run: RunDirectory, step: int) -> None:
    with atomic_directory(run.checkpoint(step)) as temporary:
        write_checkpoint(temporary, tiny_model(seed=step), tiny_tokenizer())
        info = {"run": "n1-2xC", "size": "n1", "n": 28_000, "d": 1000, "step": step, "tokens": step}
        (temporary / "rung.json").write_text(json.dumps(info))


def worker(run: RunDirectory, *words: str, command: Sequence[str] = (sys.executable, "-m", "evaluate")) -> Worker:
    environment = os.environ | {"MODEL_LADDER_CACHE": str(run.path.parent.parent / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, str(run.path.parent), "--json", *words],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: Worker) -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_workers_follow_a_run_and_one_being_killed_loses_nothing(run: RunDirectory, hold: Hold) -> None:
    write_step(run, 10)
    write_step(run, 20)
    hold.at(run.name, 20)
    doomed = worker(run, "--watch", command=hold.command("evaluate"))
    hold.until_held(run.name, doomed)
    (claimed,) = run.metrics.glob("*.claim")
    before = {path: path.read_bytes() for path in run.metrics.glob("*.json")}
    assert list(before) == [run.metrics_file(10)]
    other = worker(run, "--watch")
    doomed.kill()
    doomed.wait()
    assert claimed.exists()
    wait_until(run.metrics_file(20).exists, other)
    write_step(run, 30)
    shown = finish(other)  # it waited for the last checkpoint
    assert sorted(metrics["step"] for metrics in shown) == list(STEPS)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sorted(read_runs(run.path).step.unique()) == list(STEPS)


def test_a_watch_ends_when_nothing_comes(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_step(run, 10)
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(run.path.parent.parent / "cache"))
    words = [str(run.path.parent), "--json", "--watch", "--runs", "n1-2xC,n9-1xC", "--patience", "0.0003"]
    with pytest.raises(UserError, match=r"^no new checkpoint for 0\.0003 hours; not finished: n1-2xC, n9-1xC$"):
        main(words)
    assert [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()] == [10]


def test_two_processes_give_the_numbers_of_one_to_the_last_bit(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in STEPS:
        write_step(run, step)
    monkeypatch.setenv("MODEL_LADDER_CACHE", str(run.path.parent.parent / "cache"))
    # As accelerate starts them on GPUs; of `--cpu --num_processes=2` without MPI it makes a single process.
    done, other = run_ranks(2, "-m", "evaluate", str(run.path.parent), "--json", "--output", str(run.path / "two"))
    assert (done.returncode, other.returncode, other.stdout) == (0, 0, ""), done.stderr + other.stderr
    two = [json.loads(line) for line in done.stdout.splitlines()]
    assert torch.get_num_threads() == 1  # as in the two; sums depend on it
    assert main([str(run.path), "--json", "--output", str(run.path / "one")]) == 0
    one = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [m["step"] for m in one] == list(STEPS)
    assert one == two
    for step in STEPS:
        name = f"n1-2xC_step-{step:07d}.npz"
        alone, shared = np.load(run.path / "one" / name), np.load(run.path / "two" / name)
        for key in ("pets.rc", "pets.mc"):
            np.testing.assert_array_equal(alone[key], shared[key])


def test_a_claim_is_exclusive_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "step.claim"
    with claim(path) as mine:
        assert mine
        with claim(path) as second:
            assert not second
        assert path.exists()
    assert not path.exists()


def test_a_dead_workers_claim_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "step.claim"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    import socket

    path.write_text(json.dumps({"token": "x", "host": socket.gethostname(), "pid": dead.pid}))
    with claim(path) as mine:
        assert mine  # on this machine a dead process is known at once
    path.write_text(json.dumps({"token": "x", "host": "elsewhere", "pid": 1}))
    with claim(path) as mine:
        assert not mine
    os.utime(path, (time.time() - 1000,) * 2)
    with claim(path) as mine:
        assert mine
    path.write_text("")  # cut short while it was written
    os.utime(path, (time.time() - 1000,) * 2)
    with claim(path) as mine:
        assert mine
    assert list(tmp_path.iterdir()) == []


def test_a_heart_beat_keeps_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(claims, "process_lives", lambda pid: True)
    path = tmp_path / "step.claim"
    with claim(path):
        long_ago = time.time() - 1000
        os.utime(path, (long_ago, long_ago))
        wait_until(lambda: path.stat().st_mtime > long_ago + 1)
        with claim(path) as second:
            assert not second


def test_of_many_workers_one_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "step.claim"
    path.write_text(json.dumps({"token": "x", "host": "elsewhere", "pid": 1}))
    os.utime(path, (time.time() - 1000,) * 2)
    (start, end), won = (threading.Barrier(8, timeout=HANG_SECONDS) for _ in range(2)), []

    def work() -> None:
        start.wait()
        with claim(path) as mine:
            won.append(mine)
            end.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == 1


def test_the_resident_model_takes_each_checkpoints_weights(tmp_path: Path) -> None:
    def resident_model() -> ResidentModel:
        return ResidentModel("fp32", torch.device("cpu"), allow_pickle=False, trust_remote_code=False)

    made = [Checkpoint(write_checkpoint(tmp_path / str(seed), tiny_model(seed=seed))) for seed in (1, 2)]
    made.append(Checkpoint(write_checkpoint(tmp_path / "llama", tiny_model("llama", tie_word_embeddings=True))))
    made.append(Checkpoint(write_checkpoint(tmp_path / "llama2", tiny_model("llama", 3, tie_word_embeddings=True))))
    resident, tokens = resident_model(), torch.arange(20)[None]
    models = []
    for checkpoint, following in zip(made, [*made[1:], None], strict=True):
        model = resident.scorer(checkpoint).model
        models.append(model)
        if following:
            resident.prefetch(following)
        expected = resident_model().scorer(checkpoint).model
        torch.testing.assert_close(model(tokens).logits, expected(tokens).logits, rtol=0, atol=0)
    resident.scorer(made[0])
    resident.prefetch(made[1])
    tiny_model(seed=9).save_pretrained(made[1].path)  # before its turn comes
    logits = resident.scorer(made[1]).model(tokens).logits
    torch.testing.assert_close(logits, tiny_model(seed=9)(tokens).logits, rtol=0, atol=0)
    assert models[0] is models[1] and models[2] is models[3] and models[1] is not models[2]


def test_a_checkpoint_that_stores_both_of_two_tied_tensors_is_what_it_is_alone(tmp_path: Path) -> None:
    tied = [tiny_model("llama", seed, tie_word_embeddings=True) for seed in (1, 2)]
    first, second = (Checkpoint(write_checkpoint(tmp_path / str(n), model)) for n, model in enumerate(tied))
    (file,) = second.safetensors
    stored = load_file(file)
    save_file(stored | {"lm_head.weight": stored["model.embed_tokens.weight"].flip(0)}, file, {"format": "pt"})
    resident, alone = (ResidentModel("fp32", torch.device("cpu"), False, False) for _ in range(2))
    resident.scorer(first)
    tokens = torch.arange(20)[None]
    logits = [one.scorer(second).model(tokens).logits for one in (resident, alone)]
    torch.testing.assert_close(*logits, rtol=0, atol=0)


def test_a_watch_of_nothing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluate.session.time.sleep", lambda seconds: None)
    with pytest.raises(UserError, match=rf"^no new checkpoint for 0 hours in {tmp_path}$"):
        main([str(tmp_path), "--watch", "--patience", "0"])


@pytest.mark.usefixtures("private_cache")
def test_a_worker_that_waits_for_another_reads_no_weights_again(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_step(run, 10)
    hashed: list[Checkpoint] = []
    waits: list[float] = []
    own = Checkpoint.weights_sha256

    def hashing(self: Checkpoint) -> str:
        hashed.append(self)
        return own(self)

    monkeypatch.setattr(Checkpoint, "weights_sha256", hashing)
    with contextlib.ExitStack() as another:
        another.enter_context(claim(run.metrics / "step-0000010.claim"))

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                another.close()

        monkeypatch.setattr("evaluate.session.time.sleep", wait)
        assert main([str(run.path), "--json"]) == 0
    assert len(waits) == 3 and len(hashed) == 1


def test_the_weights_hash_is_of_the_content(tmp_path: Path) -> None:
    for architecture, changes in (("olmo2", {}), ("llama", {"tie_word_embeddings": True})):
        model = tiny_model(architecture, **changes)
        model.save_pretrained(tmp_path / "whole")
        model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
        assert len(Checkpoint(tmp_path / "sharded").safetensors) > 1
        whole = Checkpoint(tmp_path / "whole").weights_sha256()
        assert whole == Checkpoint(tmp_path / "sharded").weights_sha256() == live_weights_sha256(whole_tensors(model))
        with torch.no_grad():
            next(model.parameters())[0, 0] += 1e-6
        assert live_weights_sha256(whole_tensors(model)) != whole
        for path in (tmp_path / "sharded").iterdir():
            path.unlink()
