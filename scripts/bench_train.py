"""Our training step beside the Hugging Face `Trainer`'s, on the same model, tokens and hardware, in one run.

    python scripts/bench_train.py [--sizes n1,n3,slice] [--output benchmarks/train-cpu.json]

Each engine runs in a process of its own, so that peak memory is its own, and is timed from one step's end to another's,
after as many steps to warm up; engines take turns, so that a busy machine is unfair to neither. On a CPU the figure is
tokens per CPU second; on a GPU tokens per second and MFU. `slice` is four layers of the 190M shape with its full
vocabulary of 100,352, on one sequence of 4,096 tokens (`slice-2`: on two; the published runs put 16 into a
micro-batch), compiled by block here and eager in the Trainer, which gets slower when compiled on a CPU. `matmul` is the
machine's own peak for matrix products in the same precision.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from harness import best, peak_bytes, processor, result, save, timed

from ladder.config import ladder_from_config, load_config
from ladder.cpu import prepare_cpu
from ladder.errors import Parser, run_command, unknown
from ladder.recipe import Recipe
from ladder.rung import Rung
from ladder.shape import ModelShape
from train.log import peak_flops
from train.model import LossModel, build_model, build_optimizer, model_config
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
    model = build_model(model_config(work.shape, work.recipe), seed=0).to(accelerator.device)
    if GPU or work.length == 4096:  # train.compile=true, which pays where a step takes seconds
        for block in model.model.layers:
            block.compile()
    parallel = parallelise(
        "ddp",
        accelerator,
        LossModel(model, work.recipe.z_loss),
        lambda plain: build_optimizer(plain, work.recipe, work.rung.hparams),
    )
    parallel.module.train()
    for number, batch in enumerate(tokens_of(work).split(work.sequences), start=1):
        loss, _ = parallel.module(batch.to(accelerator.device, non_blocking=True), 1.0 / batch.numel())
        loss.backward()
        parallel.step(torch.isfinite(parallel.clip(work.recipe.gradient_clip)))
        watch.step_ended(number)


def trainer(work: Work, watch: Stopwatch) -> None:
    """`transformers.Trainer` as its documentation has it: AdamW fused, bf16 on a GPU, compiled there."""
    import tempfile

    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Ended(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.step_ended(state.global_step)

    model = build_model(model_config(work.shape, work.recipe), seed=0)
    rows = [{"input_ids": row, "labels": row} for row in tokens_of(work)]
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=work.sequences,
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


def measure(engine: str, size: str) -> dict[str, Any]:
    work = work_for(size)
    watch = Stopwatch(work)
    {"ours": ours, "trainer": trainer}[engine](work, watch)
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


def child(engine: str, size: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", engine, "--sizes", size]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} if not GPU else dict(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def compare(size: str, rounds: int) -> dict[str, Any]:
    results: dict[str, list[dict[str, Any]]] = {engine: [] for engine in ENGINES}
    for _ in range(min(2, rounds) if size in SLICES else rounds):
        for engine in ENGINES:
            results[engine].append(child(engine, size))
    fastest = {}
    for engine, runs in results.items():
        whole = [run for run in runs if "error" not in run]
        fastest[engine] = max(whole, key=lambda run: run["tokens_per_second"]) if whole else runs[0]
    row: dict[str, Any] = {"size": size, **fastest}
    if all("error" not in fastest[engine] for engine in ENGINES):
        row["speed_ratio"] = fastest["ours"]["tokens_per_second"] / fastest["trainer"]["tokens_per_second"]
        row["memory_ratio"] = fastest["ours"]["peak_memory_bytes"] / fastest["trainer"]["peak_memory_bytes"]
        row["matmul_flops_per_second"] = matmul_peak(work_for(size).bf16)
        row["share_of_matmul_peak"] = fastest["ours"]["flops_per_second"] / row["matmul_flops_per_second"]
        print(
            f"{size:>6}: ours {fastest['ours']['tokens_per_second']:>9,.0f} tokens/s, {row['speed_ratio']:.2f} times "
            f"the Trainer's; peak memory {fastest['ours']['peak_memory_bytes'] / 2**20:,.0f} MiB, "
            f"{row['memory_ratio']:.2f} of its; {row['share_of_matmul_peak']:.0%} of the matrix-product peak",
            flush=True,
        )
    return row


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/bench_train.py", description=__doc__)
    parser.add_argument("--sizes", default=",".join(OLMO2) if GPU else ",".join(["n0", "n1", "n3", "n5", *SLICES]))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        print(json.dumps(measure(options.child, options.sizes)))
        return 0
    torch.set_num_threads(1)
    rows = [compare(size, options.rounds) for size in options.sizes.split(",")]
    unit, peak = ("wall seconds", peak_flops(processor())) if GPU else ("CPU seconds, one thread", None)
    save(options.output, result(["torch", "transformers", "accelerate"], unit=unit, peak=peak, results=rows))
    return 0


if __name__ == "__main__":
    run_command(main)
