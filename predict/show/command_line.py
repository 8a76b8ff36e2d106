"""What the verbs share: options that name a ladder and a target, and how a table is printed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ladder.command.arguments import split_overrides
from ladder.command.running import Parser
from ladder.config.config_files import load_target
from ladder.config.config_files import options as config_options
from ladder.errors import UserError, shortened
from ladder.files.writing import directory_to_write, file_to_write
from ladder.rungs.rung import Target
from predict.measured.counts import counted, short_number
from predict.show.tables import Table
from predict.show.terminal import as_text

if TYPE_CHECKING:
    from predict.measured.ladder import Measured

LONGEST_NAME = 200
LARGEST = 1e30  # parameters, tokens, FLOPs: more is a slip


def parser(command: str, description: str, commands: Iterable[str] = ()) -> argparse.ArgumentParser:
    """`commands` may stand in place of its first word."""
    name = f"python -m predict {command}".strip()
    return Parser(prog=name, description=description, commands=commands)


def add_ladder(options: argparse.ArgumentParser, required: bool = True) -> None:
    """`--ladder` and what narrows it."""
    options.add_argument(
        "--ladder", type=place, required=required, metavar="PATH", help="a directory of runs, or a measurement file"
    )
    add_narrowing(options)
    options.add_argument("--corpus", type=name, help="which ladder of a file that holds several")
    add_mapping(options)


def add_mapping(options: argparse.ArgumentParser) -> None:
    what = "YAML that explains columns in other words (see python -m predict collect --help)"
    options.add_argument("--mapping", type=place, metavar="FILE", help=what)


def add_narrowing(options: argparse.ArgumentParser) -> None:
    options.add_argument("--sizes", type=words, default=[], help="only these sizes, such as 190M,370M")
    options.add_argument(
        "--multiples", type=_numbers, default=[], help="only these Chinchilla multiples, such as 1,2,5"
    )
    options.add_argument("--tasks", type=words, default=[], help="only these tasks, such as mmlu,hellaswag")


def add_target(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--target", type=name, metavar="NAME", help="a target of configs/target, or a rung such as 3B-10xC"
    )
    options.add_argument("--n", type=count, help="parameters of the target, such as 7B or 7e9, instead of --target")
    options.add_argument("--d", type=count, help="training tokens of the target, such as 1.5T")


def add_format(options: argparse.ArgumentParser) -> None:
    group = options.add_mutually_exclusive_group()
    for form in ("json", "csv", "markdown"):
        group.add_argument(f"--{form}", dest="form", action="store_const", const=form, default="text")


def add_plot(options: argparse.ArgumentParser) -> None:
    options.add_argument("--plot", type=file_named(".png"), metavar="FILE", help="also write a PNG")


def file_named(suffix: str) -> Callable[[str], Path]:
    """The type of an option that names a file to write. Raises ArgumentTypeError where it cannot be written."""

    def checked(text: str) -> Path:
        path = Path(text)
        if path.suffix != suffix or text.endswith("/"):
            raise argparse.ArgumentTypeError(f'"{shortened(text)}" must be the name of a {suffix} file')
        return _writable(file_to_write, path)

    return checked


def folder(text: str) -> Path:
    """The type of an option that names a directory to write into. Raises as `file_named`."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give the name of a directory")
    return _writable(directory_to_write, Path(text))


def _writable(check: Callable[[Path], Path], path: Path) -> Path:
    try:
        check(path)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return path


def place(text: str) -> Path:
    """The type of an option that names what is to be read. Raises ArgumentTypeError where it is empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give a path")
    return Path(text)


def name(text: str) -> str:
    """The type of an option that names one thing. Raises ArgumentTypeError where it is empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give a name")
    if len(text) > LONGEST_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(f'"{shortened(text)}" is no name of 1 to {LONGEST_NAME} characters')
    return text


def parse(options: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the key=value words that override the ladder's configuration."""
    given, rest = options.parse_known_args(list(argv))
    return given, split_overrides(rest)


def data_of(options: argparse.Namespace, overrides: Sequence[str]) -> Measured:
    from predict.measured.load import load_ladder

    return load_ladder(
        options.ladder,
        sizes=options.sizes,
        multiples=options.multiples,
        overrides=overrides,
        corpus=options.corpus,
        mapping=options.mapping,
    ).narrowed(options.tasks)


def target_of(options: argparse.Namespace, measured: Measured | None) -> Target:
    """The target that the options name, else the ladder's own.

    Raises:
        UserError: an unknown name, only one of --n and --d, or no target at all.
    """
    if options.n is not None or options.d is not None:
        if options.n is None or options.d is None or options.target:
            raise UserError("a target is either --target NAME or both --n PARAMETERS and --d TOKENS")
        return Target(name=f"{short_number(options.n)} on {short_number(options.d)} tokens", n=options.n, d=options.d)
    if not options.target and measured is not None and measured.ladder is not None and measured.target is not None:
        return measured.target.of(measured.ladder)
    if not options.target:
        raise UserError("which target? --target NAME (python -m predict --help), or --n and --d")
    if measured is not None and measured.ladder is not None:
        return load_target(options.target, measured.ladder)
    if options.target in config_options("target"):  # without Hydra, which takes longer to start than a prediction
        return load_target(options.target)
    from ladder.config.config import ladder_from_config, load_config

    return load_target(options.target, ladder_from_config(load_config()))


def show(form: str, *tables: Table) -> None:
    """Prints tables; as JSON a list of {title, notes, units, rows} with an object per row."""
    if form == "json":
        print(json.dumps([table.to_json() for table in tables], indent=1, ensure_ascii=False))
        return
    write: dict[str, Callable[[Table], str]] = {"text": as_text, "csv": Table.csv, "markdown": Table.markdown}
    print("\n\n".join(write[form](table) for table in tables))


def words(text: str) -> list[str]:
    """`a,b` -> ["a", "b"]. Raises ArgumentTypeError where that is no word at all; argparse adds the option."""
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not names:
        raise argparse.ArgumentTypeError(f'"{shortened(text, 20)}" names nothing; give names separated by commas')
    return names


def _numbers(text: str) -> list[float]:
    try:
        return [float(word.removesuffix("xC")) for word in words(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shortened(text)}: expected numbers such as 1,2,5") from None


def count(text: str) -> float:
    """A number of parameters or tokens, as `positive` or as 7B. Raises as `words`."""
    value = counted(text)
    return positive(text) if value is None else _in_range(value, text)


def positive(text: str) -> float:
    """A number of parameters, tokens or FLOPs. Raises as `words`."""
    try:
        return _in_range(float(text), text)
    except ValueError:
        return _in_range(float("nan"), text)


def _in_range(value: float, text: str) -> float:
    if not 1 <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f'"{shortened(text)}" must be a number from 1 to {LARGEST:g}, such as 7e9')
    return value
