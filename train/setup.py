"""From a configuration to a ready trainer: device, precision, model, tokenizer, data order, micro-batch, W&B."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import socket
import sysconfig
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from transformers import AutoTokenizer

from ladder.config.config import ladder_from_config
from ladder.config.data import Mix
from ladder.config.settings import Config
from ladder.errors import UserError, shortened
from ladder.process.gpus import check_gpus
from ladder.records.run_record import RunRecord
from ladder.rungs.rung import Ladder, Rung
from ladder.runs.rundir import RunDirectory, find_runs
from train.checkpoint import check_disk
from train.micro_batch import find_micro_batch
from train.model import LossModel, build_model, compile_blocks, model_config
from train.order import BatchOrder
from train.trainer import Settings, Trainer


def build_trainer(config: Config, rung: Rung, mix: Mix, run: RunDirectory) -> Trainer:
    """Raises UserError for a disk that is too full, a sequence too large for the GPU, or no network between nodes."""
    ladder, accelerator = ladder_from_config(config), _accelerator(config)
    recipe = ladder.recipe
    tokenizer = AutoTokenizer.from_pretrained(mix.tokenizer_directory)
    shape = model_config(rung.shape, recipe, eos=tokenizer.eos_token_id, pad=tokenizer.pad_token_id)
    model = build_model(shape, rung.groups, int(config.seed)).to(accelerator.device)
    if _compiled(config):
        compile_blocks(model)
    document_end = tokenizer.eos_token_id if config.train.document_mask else None
    static = _compiled(config) and accelerator.device.type == "cuda"
    branches = branch_steps(rung, ladder)
    check_disk(rung, run, config.train.keep_checkpoints, branches, _weights_dtype(config).itemsize)
    share = -(-rung.hparams.batch_sequences // accelerator.num_processes)
    wrapped = LossModel(model, recipe.z_loss, document_end, static)
    micro_batch = _micro_batch(config, wrapped, rung, accelerator, share)
    record = run.record()
    if accelerator.is_main_process:
        _say_how(config, accelerator, run, micro_batch, share)
    return Trainer(
        rung=rung,
        recipe=recipe,
        run=run,
        model=model,
        wrapped=wrapped,
        tokenizer=tokenizer,
        order=BatchOrder(mix, recipe.sequence_length, rung.hparams.batch_sequences, int(config.seed)),
        accelerator=accelerator,
        record=record,
        settings=_settings(config, accelerator, micro_batch),
        branch_steps=branches,
        start_from=find_branch(rung, run, record),
        wandb_run=_start_wandb(config, rung, run, record) if accelerator.is_main_process else None,
    )


def _micro_batch(config: Config, wrapped: LossModel, rung: Rung, accelerator: Accelerator, share: int) -> int:
    """Sequences a pass, of this process's share of the batch."""
    if config.train.micro_batch:
        return int(config.train.micro_batch)
    if config.train.parallel == "fsdp2":  # made for what no single device holds: there is nothing to try it on
        return 1
    length = rung.hparams.sequence_length
    return find_micro_batch(wrapped, rung.shape, accelerator, share, length, copied=config.train.evaluate)


def check_machine(config: Config) -> None:
    """Raises UserError for GPUs that are given and not seen, and for compiled blocks where there is no compiler."""
    check_gpus(torch)
    if _compiled(config) and (missing := missing_compiler(torch.cuda.is_available())):
        raise UserError(
            f"torch.compile needs {missing}, which {socket.gethostname()} lacks: install it (on a cluster, a line in "
            "cluster.slurm.setup such as module load gcc), or set train.compile=false, which is slower"
        )


def missing_compiler(cuda: bool) -> str:
    """What torch.compile runs and is not there; empty if nothing. On a GPU it builds launchers in C."""
    variable, names = ("CC", ("cc", "gcc", "clang")) if cuda else ("CXX", ("g++", "clang++", "c++"))
    if not any(map(shutil.which, [os.environ.get(variable) or names[0], *names])):
        return f"a C{'' if cuda else '++'} compiler ({', '.join(names)} or {variable})"
    if cuda and not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "the headers of Python (python3-dev)"
    return ""


def _compiled(config: Config) -> bool:
    return config.train.compile is True or (config.train.compile == "auto" and torch.cuda.is_available())


def _accelerator(config: Config) -> Accelerator:
    # The longest wait for another process: plans are made by the first one, and disks are slow.
    patience = InitProcessGroupKwargs(timeout=timedelta(minutes=15))
    # Gradients lie in the buckets that are sent; there are no buffers that change.
    ddp = DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False)
    cuda = torch.cuda.is_available()
    try:
        accelerator = Accelerator(mixed_precision=_precision(config), cpu=not cuda, kwargs_handlers=[patience, ddp])
        # A first message: a network that fails is known now, and NCCL has its memory before it is shared out.
        accelerator.reduce(torch.ones(1, device=accelerator.device)).item()
    except dist.DistError as error:
        raise UserError(
            f"the processes of this training do not reach each other ({shortened(str(error), 80)}); where nodes have "
            "several networks, name one in cluster.slurm.setup: export NCCL_SOCKET_IFNAME=ib0"
        ) from None
    return accelerator


def _settings(config: Config, accelerator: Accelerator, micro_batch: int) -> Settings:
    return Settings(
        micro_batch=micro_batch,
        log_every=int(config.train.log_every),
        keep_checkpoints=config.train.keep_checkpoints,
        max_skipped=int(config.train.max_skipped),
        background=accelerator.device.type == "cuda",  # on a CPU the writer would take the cores training needs
        profile=config.profile,
        parallel=str(config.train.parallel),
        weights_dtype=_weights_dtype(config),
    )


def _say_how(config: Config, accelerator: Accelerator, run: RunDirectory, micro_batch: int, share: int) -> None:
    processes, precision = accelerator.num_processes, {"no": "fp32"}.get(accelerator.mixed_precision, "bf16")
    print(
        f"  device       {accelerator.device.type}, {precision}, {processes} processes ({config.train.parallel}), "
        f"micro-batch {micro_batch} sequences, {-(-share // micro_batch)} accumulated",
        flush=True,
    )
    if config.train.keep_checkpoints and not (config.train.evaluate or config.cluster.evaluators):
        print(f"  note         only measured weights are removed: run python -m evaluate {run.path} --watch beside it")


def devices() -> str:
    """What this start computes on, such as `8 x NVIDIA H100 80GB HBM3`."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"{processes} x {name}"


def branch_steps(rung: Rung, ladder: Ladder) -> tuple[int, ...]:
    """Where the shorter budgets of this size start to decay; empty unless the schedule is WSD."""
    return tuple(other.hparams.decay_start for other in ladder.branches_of(rung))


def find_branch(rung: Rung, run: RunDirectory, record: RunRecord) -> Path | None:
    """The state of a longer run that is, up to this rung's first decaying step, the same run."""
    if rung.hparams.schedule != "wsd" or rung.variation.tag:
        return None
    same = ("shape", "recipe", "seed", "data_fingerprint", "document_mask", "groups")
    for other in find_runs(run.path.parent):
        state = other.branch(rung.hparams.decay_start)
        if not state.is_dir():
            continue
        theirs = other.record()
        alike = all(getattr(theirs, key) == getattr(record, key) for key in same)
        if alike and theirs.hparams.get("peak_lr") == record.hparams.get("peak_lr"):
            return state
    return None


def _weights_dtype(config: Config) -> torch.dtype:
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[config.train.weights]


def _precision(config: Config) -> str:
    chosen = config.train.precision
    return "bf16" if chosen == "bf16" or (chosen == "auto" and torch.cuda.is_available()) else "no"


def _start_wandb(config: Config, rung: Rung, run: RunDirectory, record: RunRecord) -> Any:
    """A W&B run grouped by ladder; its id follows from the run, so a resumed run continues its curve."""
    if config.wandb == "off":
        return None
    import wandb

    identity = f"{run.path.resolve()}:{record.config_hash}"
    try:
        return wandb.init(
            project=config.wandb_project,
            group=record.ladder,
            name=rung.name,
            id=hashlib.sha256(identity.encode()).hexdigest()[:16],
            resume="allow",
            mode=config.wandb,
            dir=run.path,
            config=dataclasses.asdict(record),
        )
    except wandb.Error as error:
        raise UserError(f"wandb={config.wandb}: {error}; log in with `wandb login`, or set wandb=offline") from None
