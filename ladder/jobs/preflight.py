"""What is checked before a ladder is started: devices, disk, the suite, and that its runs are of this configuration."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from ladder.config.cluster import Cluster
from ladder.config.data import Mix
from ladder.config.olmes_manifest import entries_of
from ladder.config.settings import Config
from ladder.config.suite_settings import SuiteSettings
from ladder.errors import UserError
from ladder.files.reading import read, read_text
from ladder.records.metrics_file import FORMATS
from ladder.records.shards import MANIFEST, Manifest
from ladder.rungs.benchmarks import BENCHMARKS, LONGEST_PROMPT
from ladder.rungs.rung import Rung, Target
from ladder.runs.identity import check_identity, run_identity
from ladder.runs.plan import CPU_FLOPS_LIMIT, Plan
from ladder.runs.rundir import LadderDirectory
from ladder.runs.show import size
from ladder.words import count_of


def check_affordable(rungs: Sequence[Rung], gpus: int) -> None:
    """Raises UserError where the rungs need a GPU and this machine has none."""
    flops = sum(rung.flops_6nd for rung in rungs)
    if gpus == 0 and flops > CPU_FLOPS_LIMIT:
        there = "no GPU; it has SLURM: cluster=slurm submits there" if shutil.which("sbatch") else "no GPU and no SLURM"
        raise UserError(
            f"this machine has {there}; the ladder needs {flops:.1e} FLOPs (6ND) and was not started. To see the whole "
            "pipeline on this machine: make demo"
        )


def check_devices(cluster: Cluster, rungs: Sequence[Rung], gpus: int) -> None:
    """Raises UserError where this machine's GPUs do not suffice for what `cluster` gives a training."""
    if not gpus:
        return
    if cluster.evaluators >= gpus:
        raise UserError(
            f"cluster.evaluators={cluster.evaluators} leaves no GPU of this machine's {gpus} "
            "for training; set it to 0 and trainings measure their own checkpoints"
        )
    left = gpus - cluster.evaluators
    for rung in rungs:
        asked = cluster.gpus_of(rung, left)
        if asked > left:
            raise UserError(f"cluster.gpus: {rung.name} is to have {count_of(asked, 'GPU')}, training has {left} here")
        if asked > 1 and isinstance(cluster.parallel, int) and cluster.parallel > gpus:
            raise UserError(
                f"cluster.parallel={cluster.parallel} shares {gpus} GPUs, and {rung.name} is to "
                f"have {asked} of its own: set cluster.gpus=1 or a lower cluster.parallel"
            )


def check_disk(directory: LadderDirectory, plan: Plan, rungs: Sequence[Rung]) -> None:
    """Refuses rungs whose checkpoints do not fit, before hours are spent on the part that does."""
    missing = {rung.name for rung in rungs}
    needed = sum(rung.weights_bytes + rung.resume_bytes for rung in plan.rungs if rung.rung in missing)
    written = sum(_bytes_in(directory.run(name).path) for name in missing)
    place = directory.path.absolute()
    free = shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free
    if needed - written > free:
        raise UserError(
            f"{directory.path} needs {size(needed - written)} for checkpoints and resume states, its disk has "
            f"{size(free)} free; free space, choose another runs_dir, or set train.keep_checkpoints=2 or "
            "train.weights=bf16"
        )


def check_target(target: Target, rungs: Sequence[Rung]) -> None:
    """Raises UserError where the target is one of the rungs: it would be predicted from itself."""
    for rung in rungs:
        if (rung.n, rung.d) == (target.n, target.d):
            raise UserError(
                f"target {target.name} is a rung of the ladder itself ({rung.name}): name a larger one as target=NAME, "
                "or leave target out of the ladder's file for ten times its largest rung"
            )


def check_context(suite: SuiteSettings, sequence_length: int) -> None:
    """Refuses benchmarks with an answer that the models cannot take whole: `evaluate` would score it in parts, and that
    of the target perhaps not.

    By OLMo 2's tokenizer: a smaller one makes more tokens of an answer, which only `evaluate` sees. Of a task that is
    cut to some documents nothing is known.
    """
    context = min(sequence_length, suite.max_length or sequence_length)
    longest = {
        name: BENCHMARKS[task.olmes].longest_answer
        for name, task in (suite.tasks or {}).items()
        if task.olmes in BENCHMARKS and task.limit is None and "rc" in (task.formats or FORMATS)
    }
    if long := {name: tokens for name, tokens in longest.items() if tokens > context}:
        raise UserError(
            f"suite {suite.name}: answers of {', '.join(long)} have up to {max(long.values())} tokens, the models take "
            f"{context} (ladder.recipe.sequence_length): name another suite as suite: in the ladder's file or "
            f"suite=NAME, leave them out (~suite.tasks.{next(iter(long))}), or raise that length"
        )


def note_on_default_suite(sequence_length: int) -> str:
    """For a ladder whose file names no suite; empty where its sequences hold what is then measured."""
    if sequence_length >= LONGEST_PROMPT:
        return ""
    return (
        f"no suite is named, so that olmes is measured, whose prompts have up to {LONGEST_PROMPT:,} tokens: sequences "
        f"of {sequence_length:,} hold only their ends; name another as suite: in the ladder's file"
    )


def check_names(suite: SuiteSettings) -> None:
    """Refuses tasks that OLMES does not have, and those that it has in none of the formats asked for."""
    for name, task in (suite.tasks or {}).items():
        if task.olmes is not None:
            try:
                entries_of(task.olmes, task.formats or FORMATS)
            except UserError as error:
                raise UserError(f"suite {suite.name}, task {name}: {error}") from None


def check_suite(suite: SuiteSettings) -> None:
    """Refuses a suite whose documents or held-out tokens are not there, before anything is trained for it.

    What is in the documents `evaluate` checks.
    """
    for name, task in (suite.tasks or {}).items():
        for path in map(Path, task.files.values()):
            if not (path.is_file() and path.stat().st_size):
                raise UserError(
                    f"suite {suite.name}, task {name}: {path} does not exist or is empty; put the questions there"
                )
    for name, loss in (suite.lm_loss or {}).items():
        where = f"suite {suite.name}, lm_loss {name}"
        if loss.shards is None:
            read_text(Path(loss.text or ""))
        elif (file := Path(loss.shards) / MANIFEST).is_file():
            held_out = read(Manifest, file).splits.get(loss.split)
            if held_out is None or held_out.tokens < loss.tokens:
                there = f"has {held_out.tokens} tokens" if held_out else "is not there"
                asked = f"{where}: tokens={loss.tokens}"
                raise UserError(f"{asked}, but split {loss.split} of {file.parent} {there}; ask for fewer")
        else:
            raise UserError(f"{where}: {file} does not exist; prepare that text, or name another as shards:")


def check_identities(config: Config, directory: LadderDirectory, rungs: Sequence[Rung], mix: Mix | None) -> None:
    """Raises UserError where a run that is there was begun with another configuration."""
    for rung in rungs:
        check_identity(directory.run(rung.name), run_identity(config, rung, mix))


def _bytes_in(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # thinned out just now
            total += path.stat().st_size
    return total
