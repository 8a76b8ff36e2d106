"""`python -m ladder new|plan|run|status|check|cancel|predict [ladder=NAME] [key=value …]`: from plan to prediction."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.live import Live

from ladder.check.ladder_check import check_ladder
from ladder.check.page import print_page
from ladder.command.running import run_command
from ladder.command.verbs import parse_name, parse_verb, without_verb
from ladder.config.config import load_config, names_suite
from ladder.config.new import new_ladder
from ladder.config.task_files import note_on_spaces
from ladder.errors import UserError
from ladder.jobs.launch import Launch
from ladder.jobs.local import JobsFailed
from ladder.jobs.preflight import note_on_default_suite
from ladder.records.checks import EXIT_LOOK, checks_json, exit_code
from ladder.rungs.sweep import sweep_rungs
from ladder.runs.plan import note_on_budgets, plan_csv, plan_json
from ladder.runs.show import plan_tables, print_table, status_table
from ladder.words import count_of

COMMANDS = {
    "new": "write commented files for a ladder of your own",
    "plan": "what the rungs are and what they cost",
    "run": "train and measure what is missing, then predict; the same command goes on after an interruption",
    "status": "where each run stands; exit code 0: all done, 1: under way, 3: stopped or failed",
    "check": "whether the rungs were trained well; exit code 0: nothing found, 1: worth a look, 3: bad",
    "cancel": "end what runs, saved, and take back what waits",
    "predict": "predict the target, once everything is measured",
}
REFRESH_SECONDS = 5
QUIET_REFRESH_SECONDS = 60


def main(argv: list[str]) -> int:
    if not argv or argv[0] not in COMMANDS:
        without_verb(COMMANDS, argv)
    verb, *rest = argv
    if verb == "new":
        print(new_ladder(parse_name(verb, COMMANDS[verb], rest)))
        return 0
    options, overrides = parse_verb(verb, COMMANDS[verb], rest)
    launch = make_launch(options, overrides)
    return {
        "plan": lambda: show_plan(launch, options),
        "run": lambda: run(launch, options),
        "status": lambda: watch(launch) if options.watch else show_status(launch),
        "check": lambda: check(launch, options),
        "cancel": lambda: launch.cancel(),
        "predict": lambda: launch.predict(),
    }[verb]() or 0


def make_launch(options: argparse.Namespace, overrides: Sequence[str]) -> Launch:
    config = load_config(overrides)
    ladder = config.ladder.build()
    if config.rung and (options.sizes or options.multiples):
        raise UserError("rung= chooses one run; leave out --sizes and --multiples")
    if options.sweep and (config.rung or options.sizes or options.multiples):
        raise UserError("--sweep chooses its own runs; leave out rung=, --sizes and --multiples")
    rungs = [ladder.rung(config.rung)] if config.rung else ladder.select(options.sizes, options.multiples)
    if options.sweep:
        rungs = sweep_rungs(ladder)
    return Launch(config=config, overrides=tuple(overrides), ladder=ladder, rungs=tuple(rungs))


def show_plan(launch: Launch, options: argparse.Namespace) -> None:
    plan = launch.plan(launch.files())
    warn(launch.check_prepared())
    show_notes(launch)
    if options.json:
        print(json.dumps(plan_json(plan), indent=1))
    elif options.csv:
        print(plan_csv(plan), end="")
    else:
        for table in plan_tables(plan):
            print_table(table)


def run(launch: Launch, options: argparse.Namespace) -> None:
    if options.dry_run:
        show_dry_run(launch)
    elif not train(launch):
        print(f"see where they stand: {command(launch, 'status', '--watch')}")


def show_dry_run(launch: Launch) -> None:
    unprepared, lines = launch.check_prepared(), launch.dry_run()
    warn(unprepared)
    show_notes(launch)
    print(lines)


def train(launch: Launch) -> bool:
    """Whether it has ended, and is not in a queue."""
    launch.check_prepared()
    if not launch.directory.path.exists():
        show_notes(launch)
        for table in plan_tables(launch.plan(launch.files())):
            print_table(table)
    launch.check()
    return launch.run(report=lambda line: print(line, flush=True))


def command(launch: Launch, *words: str) -> str:
    return shlex.join(["python", "-m", "ladder", *words, *launch.overrides])


def check(launch: Launch, options: argparse.Namespace) -> int:
    """With `--sweep` its points are trained first; then the ladder's rungs are judged, and what was swept."""
    if launch.config.rung:
        raise UserError("rung= chooses one run, and check holds each against the others; leave it out")
    if options.dry_run and not options.sweep:
        raise UserError("--dry-run belongs to python -m ladder check --sweep, which trains")
    if options.sweep:
        # What is said of the training is no part of the JSON.
        apart = options.json and not options.dry_run
        with contextlib.redirect_stdout(sys.stderr) if apart else contextlib.nullcontext():
            ended = train_sweep(launch, options.dry_run)
        if not ended:
            return 0 if options.dry_run else EXIT_LOOK
        launch = replace(launch, rungs=tuple(launch.ladder.rungs))
    checks = check_ladder(launch.config, launch.directory, launch.rungs, launch.files().runs)
    if options.json:
        print(checks_json(checks))
    else:
        print_page(f"{launch.directory.path}: {count_of(len(launch.rungs), 'rung')}", checks)
    return exit_code(checks)


def train_sweep(launch: Launch, dry_run: bool) -> bool:
    """Shows what the points cost that are missing, and trains them; False where nothing has ended yet."""
    missing = launch.files().to_train
    if missing and (dry_run or launch.directory.path.exists()):  # else `train` shows it
        for table in plan_tables(replace(launch, rungs=tuple(missing)).plan(launch.files())):
            print_table(table)
    if dry_run:
        show_dry_run(launch)
        return False
    try:
        ended = train(launch)
    except JobsFailed as error:  # at a rate that is too high a run may well end so
        warn(str(error))
        ended = True
    if not ended:
        print(f"see where they stand: {command(launch, 'status', '--sweep', '--watch')}")
        print(f"once they have ended, what they show: {command(launch, 'check')}")
    return ended


def show_notes(launch: Launch) -> None:
    warn(note_on_budgets(launch.ladder.recipe, launch.rungs))
    warn(note_on_spaces(launch.config.suite))
    if not names_suite(launch.overrides):
        warn(note_on_default_suite(launch.ladder.recipe.sequence_length))


def warn(line: str) -> None:
    """On standard error; an empty line is none."""
    if line:
        print(f"note: {line}", file=sys.stderr)


def show_status(launch: Launch) -> int:
    status = launch.status()
    print_table(status_table(launch.directory, status))
    return status.exit_code


def watch(launch: Launch) -> int:
    """Shows the table until nothing is under way: on a terminal in place, else once a minute."""
    console = Console()
    if not console.is_terminal:
        while (status := launch.status()).under_way:
            print_table(status_table(launch.directory, status))
            sys.stdout.flush()
            time.sleep(QUIET_REFRESH_SECONDS)
        return show_status(launch)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            status = launch.status()
            live.update(status_table(launch.directory, status, console.width), refresh=True)
            if not status.under_way:
                return status.exit_code
            time.sleep(REFRESH_SECONDS)


if __name__ == "__main__":
    run_command(main)
