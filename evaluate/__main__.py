"""`python -m evaluate PATH`: measure a checkpoint, the checkpoints of a run, or those of a whole ladder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from evaluate.checkpoint import find_checkpoints
from ladder.config import load_config, split_overrides
from ladder.cpu import importing, prepare_cpu
from ladder.errors import Parser, UserError, run_command

prepare_cpu()


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m evaluate", description=__doc__, epilog="Any configuration value can be given as key=value."
    )
    parser.add_argument("path", type=Path, help="a checkpoint, a run, a ladder, or a directory of checkpoints")
    parser.add_argument("--tasks", type=_words, default=[], help="only these, separated by commas")
    parser.add_argument("--formats", type=_words, default=[], help="only rc or only mc")
    parser.add_argument("--limit", type=_count, help="the first K documents of each task")
    parser.add_argument(
        "--output", type=Path, help="directory for the metrics files (default: in each run, or RUNS_DIR/evaluated)"
    )
    parser.add_argument("--dtype", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 on a GPU")
    parser.add_argument("--force", action="store_true", help="measure again what is measured already")
    parser.add_argument("--json", action="store_true", help="print a JSON object per checkpoint instead of a table")
    parser.add_argument("--watch", action="store_true", help="go on until every run's last checkpoint is measured")
    parser.add_argument("--runs", type=_words, default=[], help="of a ladder only these; --watch waits for all of them")
    parser.add_argument("--patience", type=float, metavar="HOURS", help="end --watch when so long nothing was new")
    parser.add_argument("--log-samples", action="store_true", help="also write every document with its likelihoods")
    parser.add_argument("--results-json", action="store_true", help="also write results.json as lm-eval does")
    parser.add_argument("--allow-pickle", action="store_true", help="read weights that are not safetensors")
    parser.add_argument("--trust-remote-code", action="store_true", help="run model code that the checkpoint brings")
    options, words = parser.parse_known_args(list(argv))
    overrides = split_overrides(words)
    config = load_config([word for word in overrides if not _of_suite(word)])
    find_checkpoints(options.path, options.runs, waiting=options.watch)
    if options.limit is not None and options.output is None and (options.log_samples or options.results_json):
        raise UserError("--limit measures a part only, which is not kept with the run; name a directory with --output")
    with importing():  # torch among others, so only now that the command line is known to be right
        from evaluate.session import Session

    Session(options=options, config=config, suite_node=lambda run: suite_node(overrides, run)).run()
    return 0


def suite_node(overrides: Sequence[str], run_config: Path | None) -> Any:
    """The suite's configuration; `suite.key=value` changes whichever it is.

    `suite=FILE.yaml` or `suite=NAME` on the command line, else the suite of the run, else the default one.
    """
    named = next((word.removeprefix("suite=") for word in overrides if word.startswith("suite=")), "")
    from_file = Path(named) if named.endswith(".yaml") else None
    if from_file is None and (named or run_config is None or not run_config.exists()):
        return load_config(overrides).suite
    base = _read_yaml(from_file) if from_file else OmegaConf.load(run_config).suite  # type: ignore[arg-type]
    changes = OmegaConf.from_dotlist(
        [word.lstrip("+").removeprefix("suite.") for word in overrides if word.lstrip("+").startswith("suite.")]
    )
    return OmegaConf.merge(base, changes)


def _read_yaml(path: Path) -> DictConfig:
    try:
        node = OmegaConf.load(path)
    except (OSError, YAMLError) as error:
        raise UserError(f"suite={path} cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(node, DictConfig):
        raise UserError(f"suite={path} must hold name: and tasks:")
    return OmegaConf.create({"name": path.stem} | dict(node))


def _of_suite(word: str) -> bool:
    """Whether the override belongs to the suite in use, which may be a run's own and not the default one."""
    return word.lstrip("+").startswith("suite.") or (word.startswith("suite=") and word.endswith(".yaml"))


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    run_command(main)
