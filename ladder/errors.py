"""User errors: one line that says what was given, what is allowed and what to do; exit code 2."""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from ladder import completion

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_PREEMPTED = 75  # the state is saved, the same command goes on
LONGEST = 290  # characters of a message: what is quoted in it may be anything
LONGEST_WORD = 70  # where the message is too long

TRAIN_EXTRA = (  # import names of what pyproject.toml's extra of that name brings
    "torch", "transformers", "tokenizers", "safetensors", "accelerate", "datasets", "zstandard", "wandb", "tqdm",
    "submitit",
)  # fmt: skip
OURS = ("ladder", "train", "evaluate", "predict", "model_ladder")


class UserError(Exception):
    """Something the user can mend. Its message is one line and is all that is shown."""

    def __str__(self) -> str:
        text = "".join(letter if letter.isprintable() else " " for letter in super().__str__())
        text = " ".join(text.split())
        if len(text) > LONGEST:  # long paths give way first, which are known by their ends
            text = " ".join(_ending(word) if len(word) > LONGEST_WORD else word for word in text.split())
        return shortened(text, LONGEST)


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


def _ending(word: str) -> str:
    return f"{word[:10]}…{word[len(word) - LONGEST_WORD + 11 :]}"


def shortened(text: str, most: int = 60) -> str:
    """On one line, its middle left out where it is longer than `most` characters: for what is quoted in an error."""
    line = "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))
    if len(line) <= most:
        return line
    return f"{line[: most - most // 3]}…{line[len(line) - most // 3 :]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'did you mean "x"?' for the nearest known word, followed by all of them (at most 20)."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word[:200], names, n=1, cutoff=0.5) or [
        name for name in names if name.lower() == word.lower()
    ]
    listed = shortened(", ".join(shortened(name, 40) for name in names[:20]) + (", …" if len(names) > 20 else ""), 160)
    return (f'did you mean "{near[0]}"? ' if near else "") + f"known: {listed}"


def unknown(kind: str, word: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a list of names."""
    return UserError(f'unknown {kind} "{shortened(word)}"; {did_you_mean(word, known)}')


def run_command(main: Callable[[list[str]], int | None]) -> None:
    """Runs a command's `main(argv)` and ends the process with its exit code, user errors as one line."""
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


def _system_error(error: OSError) -> str:
    if error.filename:
        return shortened(f"{error.filename}: {error.strerror}; check that it is there and may be used", 280)
    if error.errno == errno.ENOSPC:
        return f"the output cannot be written: {error.strerror}"
    return shortened(str(error), 280)


def _missing_package(error: ModuleNotFoundError) -> str:
    """What to install. Raises the error itself where the module is none of another project."""
    name = (error.name or "").partition(".")[0]
    if not name or name in OURS or name in sys.stdlib_module_names:
        raise error
    if name in TRAIN_EXTRA:
        from ladder.provenance import requirement

        return f"{name} is not installed, which this command needs: pip install '{requirement('train')}'"
    return f"{name} is not installed, which this command needs: pip install {name}"
