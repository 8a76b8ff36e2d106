"""Where a run stands, from files that are missing, half-written, finished, of a dead process or of another machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ladder.__main__ import main
from ladder.config.config import ladder_from_config, load_config
from ladder.files.locks import exclusive, lock_holder
from ladder.files.writing import write_text
from ladder.process.processes import process_start
from ladder.records.run_log import last_row
from ladder.records.run_record import RunRecord
from ladder.runs.history import read_history, recorded
from ladder.runs.identity import run_identity
from ladder.runs.queue import JobKind, QueuedJob
from ladder.runs.rundir import LadderDirectory, RunDirectory
from ladder.runs.show import duration, status_table
from ladder.runs.status import (
    EXIT_DONE,
    EXIT_STOPPED,
    EXIT_UNDER_WAY,
    LadderStatus,
    ladder_status,
    run_status,
)

RUNG = ladder_from_config(load_config(["ladder=nano"])).rung("n0-1xC")


def write_events(run: RunDirectory, *rows: dict) -> None:
    run.path.mkdir(parents=True, exist_ok=True)
    run.events_file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def start(host: str = "", pid: int = 0) -> dict:
    return {"event": "start", "host": host or socket.gethostname(), "pid": pid or os.getpid()}


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_later_process_of_the_same_number_is_not_the_trainer(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_events(run, start() | {"started": 1})  # this process's number, but another's start
    assert run_status(RUNG, run).state == "stopped"
    write_events(run, start() | {"started": process_start(os.getpid())})
    assert run_status(RUNG, run).state == "running"


def test_damaged_files_do_not_stop_status(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for path in (run.checkpoint(80).with_name("step-foo"), run.metrics):
        path.mkdir(parents=True)
    (run.checkpoints / "step-foo" / "rung.json").touch()
    (run.metrics / "step-foo.json").touch()
    run.events_file.write_bytes(b'[1]\n{"event": "start"}\n\xff\xfe\n')
    run.log_file.write_text('{"step": "x", "loss": []}\n')
    status = run_status(RUNG, run)
    assert (status.state, status.step, status.loss, status.checkpoints) == ("missing", 0, None, 0)


@pytest.mark.parametrize("content", [b"process a on b since c\n", b"\xff\xfe", b"process 1 on here since -1", b""])
def test_a_damaged_lock_is_nobodys(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".lock").write_bytes(content)
    assert lock_holder(tmp_path) is None
    with exclusive(tmp_path, "a test"):
        assert lock_holder(tmp_path) == (os.getpid(), socket.gethostname())


def test_missing_and_half_written(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run_status(RUNG, RunDirectory(tmp_path / "none")).state == "missing"
    run.run_file.write_text("{}")
    assert run_status(RUNG, run).state == "stopped"
    write_events(run, start())
    with run.events_file.open("a") as file:
        file.write('{"event": "en')
    run.log_file.write_text('{"step": 10, "loss": 5.0}\n{"step": 20, "loss": 4.5, "eta_seconds": 9}\n{"step": 3')
    status = run_status(RUNG, run)
    assert (status.state, status.step, status.loss, status.eta_seconds) == ("running", 20, 4.5, 9)
    (run.checkpoints / ".tmp-1-step-0000080").mkdir(parents=True)
    run.checkpoint(80).mkdir()
    assert run_status(RUNG, run).checkpoints == 0  # no rung.json: not a whole checkpoint


@pytest.mark.parametrize(
    ("rows", "state", "error", "restarts"),
    [
        ([start()], "running", "", 0),
        ([start(pid=-1)], "stopped", "it was killed", 0),
        ([start(pid=-1), {"event": "end", "error": None}], "stopped", "", 0),
        ([start(pid=-1), {"event": "end", "error": "UserError: no disk"}], "failed", "UserError: no disk", 0),
        ([start(pid=-1), {"event": "end", "error": "UserError: no disk"}, start()], "running", "", 1),
    ],
)
def test_how_the_last_start_ended(tmp_path: Path, rows: list[dict], state: str, error: str, restarts: int) -> None:
    dead = dead_process()
    run = RunDirectory(tmp_path)
    write_events(run, *(row | {"pid": dead} if row.get("pid") == -1 else row for row in rows))
    status = run_status(RUNG, run)
    assert (status.state, status.error, status.restarts) == (state, error, restarts)


def test_a_run_on_another_machine_runs_while_its_files_grow(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_events(run, start(host="elsewhere", pid=1))
    assert run_status(RUNG, run).state == "running"
    old = time.time() - 1000
    os.utime(run.events_file, (old, old))
    assert run_status(RUNG, run).state == "stopped"
    assert run_status(RUNG, run, QueuedJob(id="7", name="n0-1xC", state="RUNNING", reason="None")).state == "running"


def test_measured_to_the_end_without_weights(tmp_path: Path, command: Callable, corpus: Path) -> None:
    run = RunDirectory(tmp_path / "nano" / RUNG.name)
    run.metrics.mkdir(parents=True)
    for step in RUNG.hparams.checkpoint_steps:
        run.metrics_file(step).write_text("{}")
    run.run_file.touch()
    write_events(run, start())
    assert run_status(RUNG, run).state == "running"
    write_events(run, start("elsewhere", dead_process()), {"event": "end", "error": "KeyboardInterrupt:"})
    assert run_status(RUNG, run).state == "failed"  # between the last measurement and the last weights
    write_events(run, start("elsewhere", dead_process()), {"event": "end", "error": None})
    assert run_status(RUNG, run).state == "done"
    run.metrics_file(RUNG.hparams.checkpoint_steps[0]).unlink()
    assert run_status(RUNG, run).state == "trained"
    run.run_file.unlink()  # lost: the run is not done until it is there again
    assert run_status(RUNG, run).state == "stopped"
    words = (f"runs_dir={tmp_path}", f"rung={RUNG.name}", f"data.directory={corpus}")
    done = command("-m", "train", "ladder=nano", *words)
    assert done.returncode == 0 and "is complete" in done.stdout, done.stderr
    assert not run.checkpoints.exists() and run.record().run == RUNG.name


@pytest.mark.parametrize(
    ("name", "kind"), [("n0-1xC", "train"), ("1.3B-0.5xC", "train"), ("follow-2", "follow"), ("measure", "measure")]
)
def test_the_kind_of_a_job_follows_from_its_name_in_the_queue(name: str, kind: str) -> None:
    assert JobKind.of(name) is JobKind(kind)


def test_the_queue_comes_second(tmp_path: Path) -> None:
    job = QueuedJob(id="7", name="n0-1xC", state="PENDING", reason="Resources")
    status = run_status(RUNG, RunDirectory(tmp_path), job)
    assert (status.state, status.error) == ("queued", "Resources")
    run = RunDirectory(tmp_path)
    write_events(run, start())
    assert run_status(RUNG, run, job).state == "running"


def test_exit_codes(tmp_path: Path) -> None:
    ladder = ladder_from_config(load_config(["ladder=nano"]))
    rungs = ladder.rungs[:2]
    directory = LadderDirectory(tmp_path)
    first = directory.run(rungs[0].name)

    def code(at_work: bool = False) -> int:
        return LadderStatus(runs=ladder_status(directory, rungs), at_work=at_work, note="").exit_code

    assert code() == EXIT_STOPPED  # nothing is there and nothing runs
    assert code(at_work=True) == EXIT_UNDER_WAY  # a launcher, or a job that measures
    write_events(first, start())
    assert code() == EXIT_UNDER_WAY
    write_events(directory.run(rungs[1].name), start(), {"event": "end", "error": "RuntimeError: no"})
    assert code() == EXIT_STOPPED
    for rung in rungs:
        run = directory.run(rung.name)
        for step in rung.hparams.checkpoint_steps:
            run.checkpoint(step).mkdir(parents=True)
            (run.checkpoint(step) / "rung.json").touch()
            run.metrics.mkdir(exist_ok=True)
            run.metrics_file(step).touch()
        run.run_file.touch()
    assert code() == EXIT_DONE
    statuses = ladder_status(directory, rungs)
    assert LadderStatus(runs=statuses, at_work=False, note="no prediction", incomplete=True).exit_code == EXIT_STOPPED


def test_a_run_of_other_settings_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ladder=nano", f"runs_dir={tmp_path}", "ladder.multiples=[1]"]
    config = load_config(words)
    rung = ladder_from_config(config).rungs[0]
    run = LadderDirectory(config.directory).run(rung.name)
    identity, hparams = run_identity(config, rung, None), rung.hparams
    RunRecord(
        **vars(identity), run=rung.name, config_hash=identity.sha256(), git_revision="0",
        total_steps=hparams.total_steps, checkpoint_steps=hparams.checkpoint_steps,
    ).dump(run.run_file)  # fmt: skip
    for step in hparams.checkpoint_steps:
        write_text(run.checkpoint(step) / "rung.json", "{}")
        write_text(run.metrics_file(step), "{}")
    status = ["status", *words, "suite.tasks=null", "suite.lm_loss.sotu.shards=none", "rung=n0-1xC"]
    assert main(status) == EXIT_DONE
    assert f"{hparams.total_steps}/{hparams.total_steps}" in capsys.readouterr().out
    assert main([*status, "ladder.recipe.sequence_length=64"]) == EXIT_STOPPED
    shown = " ".join(capsys.readouterr().out.split())
    assert "0 of 1 runs done" in shown and " other settings " in shown and "%" not in shown
    assert f"{hparams.total_steps:,}/" not in shown
    assert "begun with another configuration (" in shown and "and 4 more);" in shown
    write_events(run, start(socket.gethostname(), os.getpid()))
    assert main([*status, "ladder.recipe.sequence_length=64"]) == EXIT_UNDER_WAY
    assert "running, other settings" in capsys.readouterr().out


def test_history_is_recorded_with_code_and_error(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with recorded(run, devices="1 x CPU"):
        assert read_history(run).alive
    with pytest.raises(ValueError, match="two"), recorded(run):
        raise ValueError("two\nlines")
    history = read_history(run)
    assert (history.starts, history.restarts, history.alive) == (2, 1, False)
    assert history.error == "ValueError: two lines"
    first = json.loads(run.events_file.read_text().splitlines()[0])
    assert first["devices"] == "1 x CPU" and first["pid"] == os.getpid()
    assert first["versions"]["torch"] and first["git_revision"]
    if "git_diff" in first:
        assert (tmp_path / first["git_diff"]).read_text().startswith("diff --git")


def test_the_table_leaves_out_what_is_empty(tmp_path: Path) -> None:
    directory = LadderDirectory(tmp_path)

    def headers() -> set[object]:
        status = LadderStatus(runs=ladder_status(directory, [RUNG]), at_work=False, note="")
        return {column.header for column in status_table(directory, status).columns}

    assert not {"restarts", "last error"} & headers()
    write_events(directory.run(RUNG.name), start(), start(), {"event": "end", "error": "x" * 200})
    assert {"restarts", "last error"} <= headers()


def test_last_row_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": step, "pad": "x" * 100}) + "\n" for step in range(1000)))
    assert (row := last_row(path)) and row.step == 999
    with path.open("a") as file:
        file.write('[]\n{"step": "x"}\n{"step": 1000, "loss": 4')  # damaged, and being written
    assert last_row(path) == row
    assert last_row(tmp_path / "none") is None


def test_duration() -> None:
    assert [duration(s) for s in (4.4, 75, 3700, 100_000)] == ["4s", "1m15s", "1h1m", "1d3h"]
