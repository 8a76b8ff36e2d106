"""How the processes of a job are started, on which cores and GPUs, and what is said of how they ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from held import wait_until
from launches import jobs_of, launch

from ladder.errors import UserError
from ladder.jobs import local, mps
from ladder.jobs.local import LocalRun
from ladder.jobs.supervise import ACCELERATE, End, EndState, Stage, run_task


def launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: Sequence[str], *words: str, threads: str | None = None
) -> tuple[Any, Any]:
    """(words, environment) of the first training that is started, where OMP_NUM_THREADS is `threads`."""
    one = launch(tmp_path, *words)
    started: list[tuple[Any, Any]] = []

    def start(words: Sequence[str], output: Path, environment: dict[str, str]) -> Any:
        started.append((words, environment))
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "start_stage", start)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    object.__setattr__(one, "devices", list(devices))
    with pytest.raises(KeyboardInterrupt):
        LocalRun(one.directory, one.cluster, one.rungs, devices, report=lambda line: None).run(jobs_of(one))
    return started[0]


@pytest.mark.parametrize("works", [True, False])
def test_trainings_that_share_a_gpu_do_so_under_mps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """As long as they run, where it is there and a first call on the device succeeds."""
    program, called = tmp_path / "nvidia-cuda-mps-control", tmp_path / "called"
    program.write_text(
        f'#!/bin/sh\necho "$@" "$(cat)" "${{CUDA_VISIBLE_DEVICES-all}}" $CUDA_MPS_PIPE_DIRECTORY >>{called}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(mps, "TRY", f"raise SystemExit({int(not works)})")
    _, alone = launched(tmp_path, monkeypatch, ["3"], "cluster.gpus=1")
    assert not called.exists() and mps.PIPES not in alone
    _, environment = launched(tmp_path, monkeypatch, ["3"], "cluster.gpus=1", "cluster.parallel=4")
    started, ended = (line.split() for line in called.read_text().splitlines())
    directory = started[-1]
    assert started == ["-d", "all", directory] and ended == ["quit", "all", directory]
    assert environment.get(mps.PIPES) == (directory if works else None)
    assert environment["CUDA_VISIBLE_DEVICES"] == "3" and not Path(directory).exists()
    monkeypatch.setenv(mps.PIPES, "/own")
    _, environment = launched(tmp_path, monkeypatch, ["3"], "cluster.gpus=1", "cluster.parallel=4")
    assert environment[mps.PIPES] == "/own" and len(called.read_text().splitlines()) == 2


def test_trainings_of_several_gpus_each_have_a_port_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What accelerate makes of the line: a free port, also while another training of this machine has one."""
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    words, _ = launched(tmp_path, monkeypatch, list("0123"), "cluster.gpus=2")
    assert words[:2] == ("-m", "accelerate.commands.launch")
    ports = set()
    with contextlib.ExitStack() as taken:
        for _ in range(3):
            arguments = launch_command_parser().parse_args(list(words[2:]))
            arguments.mixed_precision = arguments.dynamo_backend = "no"
            arguments.num_machines, arguments.gpu_ids = 1, "all"
            prepare_multi_gpu_env(arguments)
            taken.enter_context(socket.create_server(("127.0.0.1", int(arguments.master_port))))
            ports.add(arguments.master_port)
    assert len(ports) == 3 and "29500" not in ports


def test_a_training_is_told_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    _, environment = launched(tmp_path, monkeypatch, list("01234567"), "cluster.parallel=1")
    assert (environment["MODEL_LADDER_GPUS"], environment["CUDA_VISIBLE_DEVICES"]) == ("8", "0,1,2,3,4,5,6,7")
    # Of 64 cores each of 8 processes has 8, for its compilers too.
    assert environment["TORCHINDUCTOR_COMPILE_THREADS"] == environment["OMP_NUM_THREADS"] == "8"
    _, environment = launched(tmp_path, monkeypatch, [])
    assert "MODEL_LADDER_GPUS" not in environment


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to cores")
def test_a_launcher_bound_to_one_core_trains_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        _, environment = launched(tmp_path, monkeypatch, [], "cluster.parallel=1")
    finally:
        os.sched_setaffinity(0, cores)
    assert environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("cores", "words", "processes", "threads"),
    [
        (2, [], 2, 1),
        (64, [], 4, 16),
        (2, ["cluster.parallel=2"], 1, 1),
        (64, ["train.parallel=fsdp2"], 1, 64),
        (64, ["ladder.recipe.reference_batch_tokens=80000"], 3, 21),  # a batch of three sequences
    ],
)
def test_a_training_that_has_several_cores_shares_its_batch_among_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, words: list[str], processes: int, threads: int
) -> None:
    """Of threads each waits for all others several times a layer, and a busy core delays every one of them."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    started, environment = launched(tmp_path, monkeypatch, [], "cluster.parallel=1", *words)
    counts = [word for word in started if word.startswith("--num_processes=")]
    assert counts == ([f"--num_processes={processes}"] if processes > 1 else [])
    assert environment["OMP_NUM_THREADS"] == str(threads)


def test_a_training_without_a_gpu_shares_its_batch_beside_gpus_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2), raising=False)
    words, environment = launched(tmp_path, monkeypatch, ["0"], "cluster.gpus=0")
    assert "--num_processes=2" in words
    assert (environment["MODEL_LADDER_GPUS"], environment["CUDA_VISIBLE_DEVICES"]) == ("0", "")


def test_the_launcher_kills_its_processes_before_it_is_killed_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is in a session of its own, where no signal of ours would reach it any more."""
    _, environment = launched(tmp_path, monkeypatch, ["0", "1"])
    assert 0 < int(environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < local.TERMINATE_SECONDS


def test_what_accelerate_was_once_told_of_the_machine_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.commands import launch as accelerate

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2), raising=False)
    words, _ = launched(tmp_path, monkeypatch, [], "cluster.parallel=1")
    file = tmp_path / "default_config.yaml"
    file.write_text(
        "{compute_environment: LOCAL_MACHINE, distributed_type: 'NO', debug: false, gpu_ids: '0', num_processes: 1, "
        "num_machines: 1, machine_rank: 0, main_training_function: main, mixed_precision: bf16, use_cpu: false, "
        "downcast_bf16: 'no'}"
    )
    arguments = accelerate.launch_command_parser().parse_args([f"--config_file={file}", *words[2:]])
    found, _, _ = accelerate._validate_launch_command(arguments)
    assert (found.gpu_ids, found.mixed_precision, found.num_processes) == ("all", "no", 2)


def test_whoever_says_how_many_threads_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2), raising=False)
    words, environment = launched(tmp_path, monkeypatch, [], "cluster.parallel=1", threads="2")
    assert words[:2] == ("-m", "train") and environment["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("rank", "ends", "state", "reason"),
    [
        (0, "print('error: a reason', flush=True); sys.exit(2)", EndState.FAILED, "ends with: error: a reason"),
        (1, "sys.exit('[rank1]: ValueError: a reason')", EndState.FAILED, "ends with: [rank1]: ValueError: a reason"),
        (0, "os.kill(os.getpid(), 9)", EndState.FAILED, "it was killed by SIGKILL"),
        (1, "sys.exit(75)", EndState.STOPPED, "it was stopped by a signal"),
    ],
)
def test_the_first_process_to_fail_under_the_launcher_says_why(
    tmp_path: Path, rank: int, ends: str, state: EndState, reason: str
) -> None:
    """The other one complains that it lost it, and the launcher ends with code 1 and a page of its own."""
    script, output, ready = tmp_path / "script.py", tmp_path / "output.txt", tmp_path / "ready"
    script.write_text(
        "import os, pathlib, signal, sys, time\n"
        f"ready, rank = pathlib.Path({str(ready)!r}), int(os.environ['RANK'])\n"
        f"if rank == {rank}:\n"
        "    while not ready.exists():\n        time.sleep(0.01)\n"
        f"    {ends}\n"
        "lost = f'[rank{rank}]: RuntimeError: Connection closed by peer'\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(lost))\n"
        "ready.touch()\n"
        "time.sleep(600)\n"
    )
    output.write_text(
        "E1129 10:00 torch/distributed/elastic] failed (exitcode: -11) local_rank: 0\n"
    )  # of another start
    words = ["-m", ACCELERATE, "--multi_gpu", "--num_processes=2", "--main_process_port=0", str(script)]
    end = Stage(words, output, tmp_path, os.environ).end()
    assert end.state is state and end.reason.endswith(reason)


@pytest.mark.parametrize(("log", "before"), [(True, "an earlier start\n"), (False, "")])
def test_what_others_said_is_no_reason(tmp_path: Path, log: bool, before: str) -> None:
    """Of a job's tasks the first one alone writes that file."""
    output = tmp_path / "output.txt"
    output.write_text(before)
    stage = Stage(["-c", "raise SystemExit(3)"], output, tmp_path, os.environ, log=log)
    if not log:
        output.write_text("step 10 of the first task\n")
    assert stage.end() == End(state=EndState.FAILED, reason="it ended with exit code 3")


@pytest.mark.parametrize(("module", "outcome"), [("accelerate.commands.launch", "stopped"), ("other", None)])
def test_a_launcher_that_was_stopped_did_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, outcome: str | None
) -> None:
    """It ends with code 1 whatever its processes ended with; of any other program that is a failure."""
    path = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    for package in path.relative_to(tmp_path).parents:
        (tmp_path / package / "__init__.py").touch()
    path.write_text(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        "print('ready', flush=True)\ntime.sleep(600)\n"
    )
    environment = SimpleNamespace(num_tasks=1, global_rank=0, name=lambda: "local")
    monkeypatch.setattr("submitit.JobEnvironment", lambda: environment)
    output = tmp_path / "output.txt"

    def stop() -> None:
        wait_until(lambda: output.exists() and "ready" in output.read_text())
        os.kill(os.getpid(), signal.SIGTERM)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    threading.Thread(target=stop, daemon=True).start()
    try:
        if outcome:
            assert run_task(["-m", module], str(output), str(tmp_path), {}) == outcome
        else:
            with pytest.raises(UserError, match="ends with"):
                run_task(["-m", module], str(output), str(tmp_path), {})
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
