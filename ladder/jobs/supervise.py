"""Beside a running stage: starts it by name, passes signals on, and says how it ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ladder.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, UserError
from ladder.files.writing import cannot_write

ACCELERATE = "accelerate.commands.launch"  # starts a training's processes on one machine
TERMINATE_SECONDS = 600  # a trainer that is asked to stop finishes its step and saves
_OF_LAUNCHER = re.compile(r"[EWI]\d{4} .*torch/distributed/elastic")
_FAILED = re.compile(_OF_LAUNCHER.pattern + r".*failed \(exitcode: (-?\d+)\) local_rank: (\d+)")
_TAIL_BYTES = 32768  # more than the page that ends a launcher's output


class EndState(StrEnum):
    DONE = "done"
    STOPPED = "stopped"  # by a signal, its state saved: the same command goes on
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class End:
    """How a stage ended; `reason` where that was not well."""

    state: EndState
    reason: str = ""


class Stage:
    """`python WORDS` as a child process, in a session of its own: Ctrl-C reaches only who started it.

    What it prints is appended to `output`, or without `log` goes where this process's own goes.

    Raises:
        UserError: the output's directory cannot be written, or the process not started.
    """

    def __init__(
        self, words: Sequence[str], output: Path, directory: Path, environment: Mapping[str, str], *, log: bool = True
    ) -> None:
        self.words, self.output, self._log = words, output, log
        self._sent: list[int] = []
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with output.open("ab") as file:
                self._begun = file.tell()
                self._process = subprocess.Popen(
                    [sys.executable, *words],
                    cwd=directory,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file if log else None,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise cannot_write(output, error) from None

    def done(self) -> bool:
        return self._process.poll() is not None

    def send(self, number: int) -> None:
        """Passes a signal on; a second SIGTERM kills it with all that it started, but for processes of a launcher, each
        of which is in a session of its own."""
        self._sent.append(number)
        if not self.done():
            kill = self._sent.count(signal.SIGTERM) > 1
            os.killpg(self._process.pid, signal.SIGKILL) if kill else self._process.send_signal(number)

    def end(self) -> End:
        """Waits for it."""
        code = self._process.wait()
        if code == 0:
            return End(state=EndState.DONE)
        hidden = code == 1 and ACCELERATE in self.words  # it hides its workers' exit codes
        lines = tail(self.output, self._begun) if self._log else []
        if ACCELERATE in self.words:
            lines, code = before_launcher(lines, code)
        if code == EXIT_PREEMPTED or (self._sent and (-code in self._sent or hidden)):
            return End(state=EndState.STOPPED, reason="it was stopped by a signal")
        if code < 0:
            return End(state=EndState.FAILED, reason=f"it was killed by {signal.Signals(-code).name}")
        said = f"{self.output} ends with: {lines[-1]}" if lines else f"it ended with exit code {code}"
        return End(state=EndState.FAILED, reason=said)


def run_task(words: Sequence[str], output: str, directory: str, environment: Mapping[str, str]) -> str:
    """In a SLURM job: runs `python WORDS` in `directory`, the first task's output appended to `output`.

    SIGTERM and SIGUSR2 are passed on. A stage that saved its state after SIGUSR2 (SLURM's notice ahead of the time
    limit) is requeued under the same job id, so that dependencies on it hold.

    Returns:
        "done", or "stopped" where a signal ended it.

    Raises:
        UserError: it failed; the message has the signal that killed it, or its last line.
    """
    from submitit import JobEnvironment
    from submitit.helpers import TorchDistributedEnvironment

    job = JobEnvironment()
    if job.num_tasks > 1:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    received: list[int] = []
    stage: Stage | None = None

    def forward(number: int, _: object = None) -> None:
        received.append(number)
        if stage is not None:
            stage.send(number)

    for passed_on in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(passed_on, forward)
    full = {**_threads(), **os.environ, **environment}
    stage = Stage(words, Path(output), Path(directory), full, log=job.global_rank == 0)
    for number in list(received):  # those from before it was there
        stage.send(number)
    end = stage.end()
    if end.state is EndState.FAILED:
        raise UserError(end.reason)
    if end.state is EndState.STOPPED and signal.SIGUSR2 in received and job.global_rank == 0:
        subprocess.run(["scontrol", "requeue", job.job_id], check=True)
    return str(end.state)


def _threads() -> dict[str, str]:
    """For each process of a node, which would take all of the node's cores, and start compilers for all of them."""
    cores = os.environ.get("SLURM_CPUS_PER_TASK")
    return {"OMP_NUM_THREADS": cores, "TORCHINDUCTOR_COMPILE_THREADS": cores} if cores else {}


def before_launcher(lines: list[str], code: int) -> tuple[list[str], int]:
    """What the first process to fail said ahead of the page that ends a launcher's output, and how it ended.

    The others say later that they lost it. Of an error of the user's it is its line, of a traceback what torch marks as
    its own; where it said neither, all that was said.
    """
    for number, line in enumerate(lines):
        if failed := _FAILED.match(line):
            said = [line for line in lines[:number] if not _OF_LAUNCHER.match(line)]
            mark = "error: " if int(failed[1]) == EXIT_USER_ERROR else f"[rank{failed[2]}]: "
            return [line for line in said if line.startswith(mark)] or said, int(failed[1])
    return lines, code


def tail(path: Path, start: int = 0) -> list[str]:
    """The last lines of a job's output, of those from byte `start` on; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(start, path.stat().st_size - _TAIL_BYTES))
            return [line.strip() for line in file.read().decode(errors="replace").strip().splitlines()]
    except OSError:
        return []
