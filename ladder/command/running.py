"""A command's parser, and its `main` run as a process: user errors as one line, an exit code each."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from ladder.command import completion
from ladder.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError, shortened
from ladder.process.provenance import requirement

TRAIN_EXTRA = (  # import names of what pyproject.toml's extra of that name brings
    "torch", "transformers", "tokenizers", "safetensors", "accelerate", "datasets", "zstandard", "wandb", "tqdm",
    "submitit",
)  # fmt: skip
OURS = ("ladder", "train", "evaluate", "predict", "model_ladder")


class Parser(argparse.ArgumentParser):
    """Reports its errors as every other user error, takes no option for another that begins like it, and completes.

    `commands` are words that may come first, for completion only.
    """

    def __init__(self, *, commands: Iterable[str] = (), **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False} | settings)
        self._commands, self._answering = commands, False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if completion.ASKED in os.environ and not self._answering:
            self._answering = True  # which parses again
            completion.answer(self, self._commands)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def run_command(main: Callable[[list[str]], int | None]) -> None:
    """Runs a command's `main(argv)` and ends the process with its exit code, user errors as one line."""
    _mend_streams()
    try:
        code = main(sys.argv[1:]) or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_USER_ERROR
    except BrokenPipeError:  # the reader (head, less) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except ModuleNotFoundError as error:
        print(f"error: {_missing_package(error)}", file=sys.stderr)
        code = EXIT_USER_ERROR
    except OSError as error:
        print(f"error: {_system_error(error)}", file=sys.stderr)
        code = EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _mend_streams() -> None:
    """A closed output swallows what is written, and one that cannot write a letter gets a question mark for it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _system_error(error: OSError) -> str:
    if error.filename:
        return f"{shortened(str(error.filename), 200)}: {error.strerror}; check that it is there and may be used"
    if error.errno == errno.ENOENT and _adrift():
        return "the current directory is gone; change to one that is there"
    if error.errno == errno.ENOSPC:
        return f"the output cannot be written: {error.strerror}"
    return shortened(str(error), 280)


def _adrift() -> bool:
    """Whether the current directory was removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _missing_package(error: ModuleNotFoundError) -> str:
    """What to install. Raises the error itself where the module is none of another project."""
    name = (error.name or "").partition(".")[0]
    if not name or name in OURS or name in sys.stdlib_module_names:
        raise error
    if name in TRAIN_EXTRA:
        return f"{name} is not installed, which this command needs: pip install '{requirement('train')}'"
    return f"{name} is not installed, which this command needs: pip install {name}"
