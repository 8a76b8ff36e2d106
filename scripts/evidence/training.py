"""Stage `training`: tokens per second and MFU of every size with either loss; what attention and loss cost alone."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from evidence.timing import finished, median_seconds
from ladder.config.config import ladder_from_config, load_config
from ladder.rungs.recipe import Recipe
from ladder.rungs.rung import Rung
from ladder.rungs.shape import ModelShape
from train.log import peak_flops
from train.loss import next_token_loss
from train.micro_batch import what_fits
from train.model import CAUSAL, LossModel, build_optimizer, compile_blocks, model_config
from train.parallel import Replicated

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
GPUS = {"190M": 4, "370M": 8, "760M": 16, "1.3B": 32}  # of configs/cluster/slurm.yaml: what a GPU has of a batch
CASES = (("190M", True), ("1.3B", True), ("190M", False), ("370M", True), ("760M", True), ("1.3B", False))
WARM, TIMED = 3, 8  # micro-batches
TABLE_ROWS = 25


def rows(tiny: bool, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    yield from attention_rows(tiny)
    yield from loss_rows(tiny)
    for size, static in CASES[:2] if tiny else CASES:
        started = time.monotonic()
        try:
            row = training_row(size, static and GPU, tiny)
        except (RuntimeError, AssertionError) as error:  # out of memory, a kernel that is not there: the next may do
            row = {"error": f"{type(error).__name__}: {error}"[:800]}
        yield {"what": "training", "size": size, "static_loss": static, **row, "seconds": time.monotonic() - started}
        torch._dynamo.reset()
        if GPU:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def rung_of(size: str, tiny: bool) -> tuple[Rung, Recipe]:
    ladder = ladder_from_config(load_config(["ladder=olmo2"]))
    rung = ladder.make_rung(size, 1)
    if not tiny:
        return rung, ladder.recipe
    shape = ModelShape(vocab_size=512, d_model=32, n_layers=2, n_heads=2, ffn_hidden=64)
    hparams = replace(rung.hparams, sequence_length=64, batch_sequences=4 * GPUS[size])
    return replace(rung, shape=shape, hparams=hparams), ladder.recipe


def model_on_device(rung: Rung, recipe: Recipe) -> Any:
    """Random weights made where they are used: those of a run come from the CPU, which takes 12 s at 190M."""
    from transformers import Olmo2ForCausalLM

    with torch.device(DEVICE):
        return Olmo2ForCausalLM._from_config(model_config(rung.shape, recipe), dtype=torch.float32)


def training_row(size: str, static: bool, tiny: bool) -> dict[str, Any]:
    rung, recipe = rung_of(size, tiny)
    accelerator = Accelerator(mixed_precision="bf16", cpu=not GPU)
    model = model_on_device(rung, recipe)
    if GPU:
        compile_blocks(model)
    wrapped = LossModel(model, recipe.z_loss, static=static)
    share, length = -(-rung.hparams.batch_sequences // GPUS[size]), rung.hparams.sequence_length
    started = time.perf_counter()
    micro_batch = what_fits(wrapped, rung.shape, accelerator, share, length, copied=True) if GPU else 2
    row: dict[str, Any] = {"micro_batch": micro_batch, "share": share, "try_seconds": time.perf_counter() - started}
    build = functools.partial(build_optimizer, recipe=recipe, rung=rung)
    parallel = Replicated(accelerator, wrapped, build)
    parallel.module.train()
    tokens = torch.randint(0, rung.shape.vocab_size, (micro_batch, length), device=DEVICE)

    def micro() -> None:
        parallel.module(tokens, 1.0 / tokens.numel())[0].backward()

    def update() -> None:
        micro()
        parallel.step(torch.isfinite(parallel.clip(recipe.gradient_clip)))

    update()
    one = median_seconds(micro, WARM, TIMED)
    whole = median_seconds(update, 1, 3)
    row |= speeds(rung, micro_batch, share, one, max(0.0, whole - one))
    if GPU:
        row |= {"peak_memory_bytes": torch.cuda.max_memory_allocated(), "profile": table(update)}
    return row


def speeds(rung: Rung, micro_batch: int, share: int, one: float, rest: float) -> dict[str, Any]:
    """Of passes alone, and of a whole step of a GPU's share: `rest` is clipping and the optimizer, once a step."""
    length = rung.hparams.sequence_length
    attention = rung.shape.flops_per_token_with_attention(length)
    passes, step = micro_batch * length / one, share * length / (one * share / micro_batch + rest)
    row = {"micro_batch_seconds": one, "update_seconds": rest, "tokens_per_second": step, "of_passes_alone": passes}
    if GPU and (peak := peak_flops(torch.cuda.get_device_name())):
        row |= {"mfu": step * attention / peak, "mfu_6n": step * rung.shape.flops_per_token_6n / peak}
    return row


def table(update: Callable[[], None]) -> list[str]:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as done:
        update()
        finished()
    lines = done.key_averages().table(sort_by="self_device_time_total", row_limit=TABLE_ROWS, max_name_column_width=70)
    return [line.rstrip() for line in lines.splitlines()]


def attention_rows(tiny: bool) -> Iterator[dict[str, Any]]:
    """Forward and backward of causal attention by each of torch's kernels, at the heads of 190M and 1.3B."""
    for heads, width in ((2, 8),) if tiny else ((12, 64), (16, 128)):
        shape = (1, heads, 32, width) if tiny else (4, heads, 4096, width)
        query, key, value = (
            torch.randn(shape, device=DEVICE, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
        )

        def both(query: Tensor = query, key: Tensor = key, value: Tensor = value) -> None:
            functional.scaled_dot_product_attention(query, key, value, is_causal=True).sum().backward()

        flops = 7 * shape[0] * heads * shape[2] ** 2 * width  # 2 products forward, 5 backward, half of each masked
        for backend in (*CAUSAL[:-1], None) if GPU else (SDPBackend.MATH,):
            name = "train's order" if backend is None else backend.name
            row = {"what": "attention", "heads": heads, "head_width": width, "kernel": name}
            chosen = sdpa_kernel(CAUSAL, set_priority=True) if backend is None else sdpa_kernel(backend)
            try:
                with chosen:
                    seconds = median_seconds(both)
                yield row | {"seconds": seconds, "flops_per_second": flops / seconds}
            except RuntimeError as error:
                yield row | {"error": str(error)[:300]}


def loss_rows(tiny: bool) -> Iterator[dict[str, Any]]:
    """Loss and both gradients from hidden states, at the head of 190M: ours, torch's, and libraries that are here."""
    sequences, length, width, vocabulary = (2, 64, 32, 512) if tiny else (4, 4096, 768, 100_352)
    hidden = torch.randn(sequences, length, width, device=DEVICE, requires_grad=True)
    weight = (torch.randn(vocabulary, width, device=DEVICE) / width**0.5).requires_grad_()
    tokens = torch.randint(0, vocabulary, (sequences, length), device=DEVICE)
    for name, loss in losses(weight, tokens).items():

        def both(loss: Callable[[Tensor], Tensor] = loss) -> None:
            hidden.grad = weight.grad = None
            with torch.autocast(DEVICE, dtype=torch.bfloat16):
                value = loss(hidden)
            value.backward()

        stance = contextlib.nullcontext() if GPU else torch.compiler.set_stance("force_eager")
        try:
            with stance:
                seconds = median_seconds(both)
            yield {"what": "loss", "name": name, "microseconds_per_token": 1e6 * seconds / tokens.numel()}
        except RuntimeError as error:
            yield {"what": "loss", "name": name, "error": str(error)[:300]}


def losses(weight: Tensor, tokens: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    labels = functional.pad(tokens[:, 1:], (0, 1), value=-100).flatten()
    found: dict[str, Callable[[Tensor], Tensor]] = {
        "static": lambda hidden: next_token_loss(hidden, tokens, weight, 1e-4, static=True)[0],
        "plain": lambda hidden: next_token_loss(hidden, tokens, weight, 1e-4)[0],
        "torch": lambda hidden: functional.cross_entropy(
            functional.linear(hidden.flatten(0, 1), weight), labels, reduction="sum"
        ),
    }
    with contextlib.suppress(ImportError):
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        liger = LigerFusedLinearCrossEntropyLoss(lse_square_scale=1e-4, reduction="sum")
        found["liger"] = lambda hidden: liger(weight.bfloat16(), hidden.flatten(0, 1).bfloat16(), labels)
    with contextlib.suppress(ImportError):
        from cut_cross_entropy import linear_cross_entropy

        found["cut_cross_entropy"] = lambda hidden: linear_cross_entropy(
            hidden.flatten(0, 1).bfloat16(), weight.bfloat16(), labels, reduction="sum"
        )
    return found
