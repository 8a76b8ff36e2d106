"""`python -m evaluate PATH`: measure a checkpoint, the checkpoints of a run, or those of a whole ladder."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from evaluate.models.checkpoint import CONFIG_FILE, find_checkpoints
from evaluate.models.hub import fetch_model, is_hub_name
from evaluate.tasks.asked_suite import AskedSuite
from evaluate.tasks.listing import listing
from ladder.command.arguments import names, split_overrides
from ladder.command.running import Parser, run_command
from ladder.config.config import load_config
from ladder.errors import UserError, shortened
from ladder.process.cpu import importing, prepare_cpu
from ladder.process.quiet import quiet_libraries

prepare_cpu()
quiet_libraries()


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m evaluate", description=__doc__, epilog="Any configuration value can be given as key=value."
    )
    _add_what(parser)
    _add_how(parser)
    options, words = parser.parse_known_args(list(argv))
    overrides = split_overrides(words)
    if options.list_tasks:
        print(listing())
        return 0
    if options.path is None:
        raise UserError("name a checkpoint, a run or a ladder; see python -m evaluate --help")
    suite = AskedSuite(words=overrides)
    config = load_config(suite.others)
    paths = _places(options)
    _check(options, paths)
    with importing():  # torch among others, so only now that the command line is known to be right
        from evaluate.session import Session

    Session(options=options, paths=paths, config=config, suite=suite).run()
    return 0


def _check(options: argparse.Namespace, paths: Sequence[Path]) -> None:
    """Raises UserError for paths that hold nothing to measure, and for options that do not go together."""
    for path in paths:
        find_checkpoints(path, options.runs, waiting=options.watch)
        if options.watch and (path / CONFIG_FILE).exists():
            raise UserError(f"--watch follows runs of a ladder, and {path} is one checkpoint; leave that option out")
    if options.patience is not None and not options.watch:
        raise UserError("--patience ends --watch; give both or none")
    if options.limit is not None and options.output is None and (options.log_samples or options.results_json):
        raise UserError("--limit measures a part only, which is not kept with the run; name a directory with --output")


def _add_what(parser: argparse.ArgumentParser) -> None:
    """Options that say which models are measured, and on what."""
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        help="a checkpoint, a run, a ladder, a directory of checkpoints, or a name on the Hugging Face hub such as "
        "owner/name@revision",
    )
    parser.add_argument("--runs", type=names, default=[], help="of a ladder only these; --watch waits for all of them")
    revisions = "of a name on the hub these, such as step1000,step2000"
    parser.add_argument("--revisions", type=names, default=[], help=revisions)
    parser.add_argument("--list-tasks", action="store_true", help="what there is beside your own tasks, and end")
    parser.add_argument(
        "--tasks",
        type=names,
        default=[],
        help="only these, separated by commas: of the suite, or any of --list-tasks (arc_easy:val, arc_easy:0shot), "
        "also by lm-evaluation-harness's names",
    )
    parser.add_argument("--formats", type=names, default=[], help="only rc, mc or gold")
    parser.add_argument("--limit", type=_count, help="the first K documents of each task, and of each subject of MMLU")


def _add_how(parser: argparse.ArgumentParser) -> None:
    """Options that say how, and what is written."""
    parser.add_argument(
        "--output", type=_folder, help="directory for the metrics files (default: in each run, or RUNS_DIR/evaluated)"
    )
    parser.add_argument("--dtype", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 on a GPU")
    parser.add_argument("--force", action="store_true", help="measure again what is measured already")
    parser.add_argument("--changed", action="store_true", help="also measure anew what the suite now says otherwise")
    parser.add_argument("--json", action="store_true", help="print a JSON object per checkpoint instead of a table")
    parser.add_argument("--watch", action="store_true", help="go on until every run's last checkpoint is measured")
    parser.add_argument("--patience", type=_hours, metavar="HOURS", help="end --watch when so long nothing was new")
    parser.add_argument("--log-samples", action="store_true", help="also write every document with its likelihoods")
    parser.add_argument("--results-json", action="store_true", help="also write results.json as lm-eval does")
    parser.add_argument("--allow-pickle", action="store_true", help="read weights that are not safetensors")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that the checkpoint brings")


def _places(options: argparse.Namespace) -> list[Path]:
    """Where the models are that are asked for, those of the hub once they are fetched.

    Raises:
        UserError: revisions of what is no name on the hub, or a model that it does not have.
    """
    name, trusted = str(options.path), (options.allow_pickle, options.trust_remote_code)
    if options.revisions and (not is_hub_name(name) or "@" in name or options.watch):
        raise UserError(f"{name}: --revisions is for a name on the Hugging Face hub such as owner/name")
    if options.revisions:
        return [fetch_model(f"{name}@{revision}", *trusted) for revision in options.revisions]
    if is_hub_name(name) and not options.watch:
        return [fetch_model(name, *trusted)]
    return [options.path]


def _folder(text: str) -> Path:
    path = Path(text)
    if not text or "\0" in text or (path.exists() and not path.is_dir()):
        raise argparse.ArgumentTypeError(f'"{shortened(text, 120)}" must name a directory for the metrics files')
    return path


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shortened(text)} is not a whole number of at least 1")
    return int(text)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 <= hours < math.inf:
        raise argparse.ArgumentTypeError(f"{shortened(text)} is not a number of hours of at least 0")
    return hours


if __name__ == "__main__":
    run_command(main)
