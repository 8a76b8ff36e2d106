"""`python -m train ladder=nano rung=n1-2xC`: train one rung, continuing where an earlier call stopped."""

from __future__ import annotations

import contextlib
import os

from omegaconf import DictConfig, OmegaConf

from ladder.command.arguments import split_overrides
from ladder.command.running import Parser, run_command
from ladder.config.config import compose, config_of
from ladder.config.data import Mix, check_data, open_data
from ladder.config.settings import Config
from ladder.errors import EXIT_PREEMPTED
from ladder.files.locks import exclusive
from ladder.files.writing import write_text
from ladder.process.cpu import importing, prepare_cpu
from ladder.process.provenance import git_revision
from ladder.process.quiet import quiet_libraries
from ladder.records.run_record import Identity, RunRecord
from ladder.rungs.rung import Rung
from ladder.runs.history import finished, recorded
from ladder.runs.identity import check_identity, run_identity
from ladder.runs.rundir import RunDirectory
from ladder.runs.show import describe

prepare_cpu()
quiet_libraries()


def main(argv: list[str]) -> int:
    parser = Parser(
        prog="python -m train", description=__doc__, epilog="Any configuration value can be given as key=value."
    )
    parser.add_argument("--dry-run", action="store_true", help="print the derived hyper-parameters and stop")
    parser.add_argument("--cfg", action="store_true", help="print the resolved configuration and stop")
    options, words = parser.parse_known_args(argv)
    node = compose(split_overrides(words))
    config = config_of(node)
    if options.cfg:
        print(OmegaConf.to_yaml(node), end="")
        return 0
    rung = config.chosen_rung(config.ladder.build())
    if options.dry_run:
        print(describe(rung))
        return 0
    check_data(config.data, [rung])
    mix = open_data(config.data)
    run = RunDirectory(config.directory / rung.name, config.suite.entries())
    identity = run_identity(config, rung, mix)
    check_identity(run, identity)
    if is_main_process():
        print(describe(rung), flush=True)
    if finished(run, rung.hparams.total_steps):
        if is_main_process():
            if not run.run_file.exists():
                begin(node, rung, run, identity)
            print(f"{run.path} is complete: {rung.hparams.total_steps:,} steps")
        return 0
    with exclusive(run.path, "a trainer") if is_main_process() else contextlib.nullcontext():
        return train(config, node, rung, mix, run, identity)


def train(config: Config, node: DictConfig, rung: Rung, mix: Mix, run: RunDirectory, identity: Identity) -> int:
    # Imported here so that --help, --dry-run and every error above answer at once.
    with importing():
        from train.setup import build_trainer, check_machine, devices

        if config.train.evaluate:
            from evaluate.hook import make_hook

    check_machine(config)
    if is_main_process():
        begin(node, rung, run, identity)
    with recorded(run, devices=devices()) if is_main_process() else contextlib.nullcontext():
        trainer = build_trainer(config, rung, mix, run)
        if config.train.evaluate:
            trainer.on_checkpoint = make_hook(config.suite, trainer.model, trainer.tokenizer)
        ended = trainer.train()
        trainer.accelerator.end_training()  # leaves the group, whose threads may abort a process that ends inside of it
        return 0 if ended else EXIT_PREEMPTED


def begin(node: DictConfig, rung: Rung, run: RunDirectory, identity: Identity) -> None:
    """Writes what the run is, before its first step; a restart leaves it as it was, or writes what was lost.

    The configuration is that of the last start: what is not part of the run's identity, such as its suite, may change.
    """
    write_text(run.config_file, OmegaConf.to_yaml(node))
    if run.run_file.exists():
        return
    record = RunRecord(
        **vars(identity),
        run=rung.name,
        config_hash=identity.sha256(),
        git_revision=git_revision(),
        total_steps=rung.hparams.total_steps,
        checkpoint_steps=tuple(rung.hparams.checkpoint_steps),
    )
    record.dump(run.run_file)


def is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


if __name__ == "__main__":
    run_command(main)
