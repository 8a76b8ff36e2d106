"""Our training step beside the Hugging Face `Trainer`'s, on the same model, tokens and hardware, in one run.

    python scripts/bench_train.py [--sizes n1,n3,slice] [--engines ours] [--output benchmarks/train-cpu.json]

Each engine runs in a process of its own, so that peak memory is its own, and is timed from one step's end to another's,
after as many steps to warm up; engines take turns, so that a busy machine is unfair to neither. On a CPU the figure is
tokens per CPU second; on a GPU tokens per second and MFU. `slice` is four layers of the 190M shape with its full
vocabulary of 100,352, on one sequence of 4,096 tokens (`slice-2`: on two; the published runs put 16 into a
micro-batch), compiled by block here and eager in the Trainer, which gets slower when compiled on a CPU. `matmul` is the
machine's own peak for matrix products in the same precision. On a GPU ours takes the micro-batch that it would find in
a run, and the Trainer the largest that it can run, each accumulated to the same batch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from harness import best, peak_bytes, processor, result, save, timed

from ladder.command.running import Parser, run_command
from ladder.config.config import ladder_from_config, load_config
from ladder.errors import unknown
from ladder.process.cpu import prepare_cpu
from ladder.rungs.memory import divisors
from ladder.rungs.recipe import Recipe
from ladder.rungs.rung import Rung
from ladder.rungs.shape import ModelShape
from train.log import peak_flops
from train.micro_batch import what_fits
from train.model import LossModel, build_model, build_optimizer, compile_blocks, model_config
from train.parallel import parallelise

ENGINES = ("ours", "trainer")
GPU = torch.cuda.is_available()
OLMO2 = ("190M", "370M", "760M", "1.3B")
SLICES = {"slice": (1, False), "slice-2": (2, False), "slice-bf16": (1, True)}  # sequences of a micro-batch, bf16
MICRO_BATCH = {"190M": 16, "370M": 12, "760M": 10, "1.3B": 8}  # sequences of 4,096, as the published runs


@dataclass(frozen=True)
class Work:
    """What both engines do: `steps` updates of `sequences` sequences of `length` tokens each, twice: warm and timed."""

    shape: ModelShape
    recipe: Recipe
    rung: Rung
    sequences: int
    length: int
    steps: int
    bf16: bool = GPU

    @property
    def tokens(self) -> int:
        return self.steps * self.sequences * self.length

    @property
    def flops(self) -> float:
        return self.shape.flops_per_token_with_attention(self.length) * self.tokens


def work_for(size: str) -> Work:
    if size in SLICES:
        ladder = ladder_from_config(
            load_config(["+ladder.sizes.slice={d_model: 768, n_layers: 4, n_heads: 12, ffn_hidden: 3072}"])
        )
        rung = ladder.rung("slice-1xC")
        sequences, bf16 = SLICES[size]
        return Work(rung.shape, ladder.recipe, rung, sequences, length=4096, steps=1, bf16=bf16)
    ladder = ladder_from_config(load_config(["ladder=olmo2" if size in OLMO2 else "ladder=nano"]))
    if size not in ladder.sizes | ladder.larger_sizes:
        raise unknown("size", size, [*SLICES, "n0", "n1", "n2", "n3", "n5", "n6", *OLMO2])
    rung = ladder.make_rung(size, 1)
    sequences = MICRO_BATCH.get(size, rung.hparams.batch_sequences)
    return Work(rung.shape, ladder.recipe, rung, sequences, rung.hparams.sequence_length, steps=10 if GPU else 50)


def tokens_of(work: Work) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    count = 2 * work.steps * work.sequences
    return torch.randint(0, work.shape.vocab_size, (count, work.length), generator=generator)


@dataclass
class Stopwatch:
    """CPU and wall seconds from the end of step `work.steps` to the end of the last."""

    work: Work
    cpu: float = 0.0
    wall: float = 0.0

    def step_ended(self, step: int) -> None:
        if step not in (self.work.steps, 2 * self.work.steps):
            return
        if GPU:
            torch.cuda.synchronize()
            if step == self.work.steps:
                torch.cuda.reset_peak_memory_stats()
        self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall


def ours(work: Work, watch: Stopwatch) -> None:
    """What `train.trainer.Trainer._update` does on the device, on given tokens, in a process set up as its own."""
    prepare_cpu()
    accelerator = Accelerator(mixed_precision="bf16" if work.bf16 else "no", cpu=not GPU)
    model = build_model(model_config(work.shape, work.recipe), work.rung.groups, seed=0).to(accelerator.device)
    if GPU or work.length == 4096:  # train.compile=true, which pays where a step takes seconds
        compile_blocks(model)
    wrapped = LossModel(model, work.recipe.z_loss, static=GPU)
    micro_batch = work.sequences
    if GPU:
        micro_batch = what_fits(wrapped, work.shape, accelerator, work.sequences, work.length, copied=False)
    parallel = parallelise("ddp", accelerator, wrapped, lambda plain: build_optimizer(plain, work.recipe, work.rung))
    parallel.module.train()
    for number, batch in enumerate(tokens_of(work).split(work.sequences), start=1):
        for part in batch.to(accelerator.device, non_blocking=True).split(micro_batch):
            parallel.module(part, 1.0 / batch.numel())[0].backward()
        parallel.step(torch.isfinite(parallel.clip(work.recipe.gradient_clip)))
        watch.step_ended(number)


def trainer(work: Work, watch: Stopwatch, micro_batch: int) -> None:
    """`transformers.Trainer` as its documentation has it: AdamW fused, bf16 on a GPU, compiled there."""
    import tempfile

    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Ended(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.step_ended(state.global_step)

    model = build_model(model_config(work.shape, work.recipe), work.rung.groups, seed=0)
    rows = [{"input_ids": row, "labels": row} for row in tokens_of(work)]
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=work.sequences // micro_batch,
        max_steps=2 * work.steps,
        learning_rate=1e-3,
        weight_decay=0.1,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=work.bf16,
        torch_compile=GPU,
        use_cpu=not GPU,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Ended()]).train()


def measure(engine: str, size: str, micro_batch: int) -> dict[str, Any]:
    work = work_for(size)
    watch = Stopwatch(work)
    ours(work, watch) if engine == "ours" else trainer(work, watch, micro_batch)
    seconds = {"cpu_seconds": watch.cpu, "wall_seconds": watch.wall}
    peak = torch.cuda.max_memory_allocated() if GPU else peak_bytes()
    used = seconds["wall_seconds" if GPU else "cpu_seconds"]
    return {
        "tokens_per_second": work.tokens / used,
        "flops_per_second": work.flops / used,
        "peak_memory_bytes": peak,
        **seconds,
    }


def matmul_peak(bf16: bool = GPU) -> float:
    """FLOP/s of a large matrix product on this machine: one thread on a CPU."""
    size, dtype = 8192 if GPU else 1024, torch.bfloat16 if bf16 else torch.float32
    device = "cuda" if GPU else "cpu"
    left, right = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))

    def multiply() -> None:
        left @ right
        if GPU:
            torch.cuda.synchronize()

    seconds = best(12, lambda: timed(multiply))
    return 2 * size**3 / (seconds.wall if GPU else seconds.cpu)


def child(engine: str, size: str, micro_batch: int) -> dict[str, Any]:
    """`measure` in a process of its own; its last line where that failed."""
    words = ["--child", engine, "--sizes", size, "--micro-batch", str(micro_batch)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} if not GPU else dict(os.environ)
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def compare(size: str, engines: Sequence[str], rounds: int) -> dict[str, Any]:
    """The fastest of some rounds of each engine; each is printed when it is there."""
    sequences = work_for(size).sequences
    # The Trainer's logits alone are 26 GB for 16 sequences: fewer at a time, until it can run them.
    micro_batch = {engine: divisors(sequences) if engine == "trainer" and GPU else [sequences] for engine in engines}
    results: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    for _ in range(min(2, rounds) if size in SLICES else rounds):
        for engine in engines:
            run = child(engine, size, micro_batch[engine][0])
            while "error" in run and len(micro_batch[engine]) > 1:
                micro_batch[engine].pop(0)
                run = child(engine, size, micro_batch[engine][0])
            results[engine].append(run | {"micro_batch": micro_batch[engine][0]} if engine == "trainer" else run)
            print(f"{size:>6}: {engine} {told(run)}", flush=True)
    fastest = {}
    for engine, runs in results.items():
        whole = [run for run in runs if "error" not in run]
        fastest[engine] = max(whole, key=lambda run: run["tokens_per_second"]) if whole else runs[0]
    row: dict[str, Any] = {"size": size, **fastest}
    row["matmul_flops_per_second"] = matmul_peak(work_for(size).bf16)
    if "error" not in fastest.get("ours", {"error": ""}):
        row["share_of_matmul_peak"] = fastest["ours"]["flops_per_second"] / row["matmul_flops_per_second"]
        print(f"{size:>6}: ours reaches {row['share_of_matmul_peak']:.0%} of the matrix-product peak", flush=True)
    if len(engines) == 2 and all("error" not in fastest[engine] for engine in engines):
        row["speed_ratio"] = fastest["ours"]["tokens_per_second"] / fastest["trainer"]["tokens_per_second"]
        row["memory_ratio"] = fastest["ours"]["peak_memory_bytes"] / fastest["trainer"]["peak_memory_bytes"]
        print(
            f"{size:>6}: {row['speed_ratio']:.2f} times the Trainer's tokens, {row['memory_ratio']:.2f} of its memory"
        )
    return row


def told(run: dict[str, Any]) -> str:
    if "error" in run:
        return f"failed: {run['error']}"
    return f"{run['tokens_per_second']:,.0f} tokens/s, peak memory {run['peak_memory_bytes'] / 2**20:,.0f} MiB"


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/bench_train.py", description=__doc__)
    parser.add_argument("--sizes", default=",".join(OLMO2) if GPU else ",".join(["n0", "n1", "n3", "n5", *SLICES]))
    parser.add_argument("--engines", default=",".join(ENGINES), help="only these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--micro-batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        print(json.dumps(measure(options.child, options.sizes, options.micro_batch)))
        return 0
    engines = options.engines.split(",")
    for engine in engines:
        if engine not in ENGINES:
            raise unknown("engine", engine, ENGINES)
    torch.set_num_threads(1)
    unit, peak = ("wall seconds", peak_flops(processor())) if GPU else ("CPU seconds, one thread", None)
    rows: list[dict[str, Any]] = []
    for size in options.sizes.split(","):
        rows.append(compare(size, engines, options.rounds))
        save(options.output, result(["torch", "transformers", "accelerate"], unit=unit, peak=peak, results=rows))
    return 0


if __name__ == "__main__":
    run_command(main)
