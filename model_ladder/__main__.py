"""The command `model-ladder VERB …`: a verb for each stage, which takes the words of `python -m VERB` in a checkout."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from pathlib import Path
from types import ModuleType

from ladder.command.completion import ASKED, words_so_far
from ladder.command.running import Parser, run_command
from ladder.errors import unknown
from ladder.process import stages

CHECKOUT = Path(__file__).resolve().parent.parent
VERBS = {
    "ladder": "plan, run, watch and cancel a ladder of models, and predict its target",
    "train": "train one rung",
    "evaluate": "measure checkpoints",
    "predict": "predict a model, and the analyses around it",
    "prepare": "turn text into the tokens that a ladder trains on",
    "completion": "print the completion for bash, zsh or fish, to be sourced where the shell starts",
}


def main() -> None:
    if ASKED in os.environ:
        sys.argv[1:] = words_so_far()
    run_command(dispatch)


def dispatch(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        return _no_verb(argv)
    verb, *rest = argv
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    if verb == "completion":
        return _completion(rest)
    module = _module(verb)
    sys.argv[1:] = rest
    return int(module.main(rest) or 0)


def _no_verb(argv: list[str]) -> int:
    verbs = "; ".join(f"{name}: {what}" for name, what in VERBS.items())
    parser = Parser(
        prog="model-ladder", description=verbs, epilog="model-ladder VERB --help says more.", commands=VERBS
    )
    parser.add_argument("--version", action="version", version=importlib.metadata.version("model-ladder"))
    parser.add_argument("command", metavar="VERB", help=", ".join(VERBS))
    parser.parse_args(argv)
    return 0


def _completion(argv: list[str]) -> int:
    parser = Parser(prog="model-ladder completion", description='eval "$(model-ladder completion bash)"')
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    shell = parser.parse_args(argv).shell
    from argcomplete import shellcode

    print(shellcode(["model-ladder"], shell=shell))
    return 0


def _module(verb: str) -> ModuleType:
    packages = stages.__name__.removesuffix("ladder.process.stages")  # where they lie in a wheel; empty in a checkout
    if not stages.INSTALLED:  # ahead of another project's `evaluate` in the environment
        sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "scripts")]
    return importlib.import_module(f"{packages}prepare_data" if verb == "prepare" else f"{packages}{verb}.__main__")


if __name__ == "__main__":
    main()
