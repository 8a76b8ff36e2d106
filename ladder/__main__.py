"""`python -m ladder plan|run|status [ladder=NAME] [key=value …]`: plan a ladder, run what is missing, see its state."""

from __future__ import annotations

import argparse

from ladder.config import (
    ladder_directory,
    ladder_from_config,
    load_config,
    load_target,
    parse_multiples,
    split_list,
    split_overrides,
)
from ladder.data import check_data
from ladder.errors import run_command
from ladder.files import exclusive
from ladder.launch import check_affordable, count_gpus, run_rungs
from ladder.plan import plan_table, print_table
from ladder.status import ladder_status, status_table


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ladder", description=__doc__, epilog="Any configuration value can be given as key=value."
    )
    parser.add_argument("command", choices=["plan", "run", "status"])
    parser.add_argument("--sizes", help="only these sizes, such as 190M,370M")
    parser.add_argument("--multiples", help="only these Chinchilla multiples, such as 1,2")
    options, words = parser.parse_known_args(argv)
    overrides = split_overrides(words)
    config = load_config(overrides)
    ladder = ladder_from_config(config)
    if config.rung:
        rungs = [ladder.rung(str(config.rung))]
    else:
        rungs = ladder.select(split_list(options.sizes), parse_multiples(options.multiples))
    directory = ladder_directory(config)
    if options.command == "plan":
        print_table(plan_table(ladder.name, rungs, load_target(config.target.name, ladder), config.cluster.gpu))
    elif options.command == "run":
        if not directory.exists():
            print_table(plan_table(ladder.name, rungs, load_target(config.target.name, ladder), config.cluster.gpu))
        check_affordable(rungs, count_gpus())
        check_data(config.data, rungs)  # one clear error instead of one per rung
        with exclusive(directory, "python -m ladder run"):
            run_rungs(config, overrides, rungs, report=lambda line: print(line, flush=True))
    else:
        statuses = ladder_status(directory, rungs)
        print_table(status_table(directory, statuses))
        return 0 if all(status.state == "done" for status in statuses) else 1
    return 0


if __name__ == "__main__":
    run_command(main)
