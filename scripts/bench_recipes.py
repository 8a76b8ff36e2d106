"""`python scripts/bench_recipes.py --output FILE [key=value …]`: does a rate tuned on a small width carry upward?

Trains models of the nano ladder's depth in several widths under `recipe=paper` and `recipe=transfer`, each at several
multiples of the recipe's own peak rate, and measures their held-out loss. What FILE holds already is not trained again.
Printed: the best multiple of each width, from a parabola through the lowest loss and its neighbours in log rate, and
what taking the smallest width's best multiple costs there.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import result, save

from ladder.command.arguments import split_overrides
from ladder.command.running import Parser, run_command
from ladder.config.config import load_config
from ladder.config.data import open_data
from ladder.files.bind import bind
from ladder.files.reading import read_json
from ladder.process.cpu import prepare_cpu
from ladder.process.quiet import quiet_libraries
from ladder.records.shards import TokenShards
from train.__main__ import main as train
from train.model import LossModel, build_model, model_config

WIDTHS = {
    width: f"{{d_model: {width}, n_layers: 2, n_heads: {width // 12}, ffn_hidden: {width * 8 // 3}}}"
    for width in (12, 24, 48, 96)
}
RECIPES = ("paper", "transfer")
VALIDATION_SEQUENCES = 1000  # of the training length


@dataclass(frozen=True, kw_only=True)
class Cell:
    recipe: str
    width: int
    multiple: float  # of 20N tokens
    rate: float  # times the recipe's own peak rate
    seed: int


def main(argv: list[str]) -> int:
    parser = Parser(prog="python scripts/bench_recipes.py", description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--widths", default="12,24,48")
    parser.add_argument("--rates", default="0.25,0.5,1,2,4", help="times the recipe's own peak rate")
    parser.add_argument("--multiple", type=float, default=1.0)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    options, words = parser.parse_known_args(argv)
    losses = read_losses(options.output)
    for cell in cells(options):
        if cell not in losses:
            losses[cell] = trained(cell, split_overrides(words))
            print(cell, f"{losses[cell]:.4f}", flush=True)
            save(
                options.output, result(["torch"], cells=[asdict(one) | {"loss": loss} for one, loss in losses.items()])
            )
    print(summary(losses))
    return 0


def cells(options: Any) -> Iterator[Cell]:
    for seed in map(int, options.seeds.split(",")):
        for width in map(int, options.widths.split(",")):
            for rate in map(float, options.rates.split(",")):
                for recipe in options.recipes.split(","):
                    yield Cell(recipe=recipe, width=width, multiple=options.multiple, rate=rate, seed=seed)


def read_losses(path: Path) -> dict[Cell, float]:
    if not path.exists():
        return {}
    return {
        bind(Cell, {k: v for k, v in row.items() if k != "loss"}, str(path)): row["loss"]
        for row in read_json(path)["cells"]
    }


def trained(cell: Cell, words: Sequence[str]) -> float:
    """Held-out loss, nats per token, of the last checkpoint."""
    with tempfile.TemporaryDirectory() as scratch:
        sizes = ", ".join(f"w{width}: {shape}" for width, shape in WIDTHS.items())
        words = [
            "ladder=nano",
            f"recipe={cell.recipe}",
            f"++ladder.sizes={{{sizes}}}",
            f"rung=w{cell.width}-{cell.multiple:g}xC",
            f"seed={cell.seed}",
            f"ladder.recipe.peak_lr_divisor={2 / cell.rate}",
            "ladder.recipe.checkpoint_steps_per_multiple=1000000",
            f"runs_dir={scratch}",
            *(["ladder.recipe.transfer.base=w12"] if cell.recipe == "transfer" else []),
            *words,
        ]
        if code := train(words):  # stopped by a signal, with its state saved
            sys.exit(code)
        config = load_config(words)
        ladder = config.ladder.build()
        rung = config.chosen_rung(ladder)
        state = torch.load(next((config.directory / rung.name / "resume").glob("step-*/state.pt")))
    model = build_model(model_config(rung.shape, ladder.recipe), rung.groups, 0)
    model.load_state_dict(state["model"])
    return held_out_loss(
        LossModel(model, 0.0), open_data(config.data).sources[0].directory, rung.hparams.sequence_length
    )


@torch.no_grad()
def held_out_loss(model: LossModel, directory: Path, length: int) -> float:
    tokens = torch.from_numpy(TokenShards(directory, "val").read(0, VALIDATION_SEQUENCES * length)).view(-1, length)
    total = sum(float(model(part, 1.0)[1]) for part in tokens.split(50))
    return total / (len(tokens) * (length - 1))


def summary(losses: dict[Cell, float]) -> str:
    lines = ["recipe    width  seeds  best rate  loss there  lost by the smallest width's best rate"]
    for recipe in RECIPES:
        tuned = None
        for width in sorted({cell.width for cell in losses if cell.recipe == recipe}):
            curve, seeds = mean_curve({c: loss for c, loss in losses.items() if (c.recipe, c.width) == (recipe, width)})
            best, lowest, at = optimum(curve)
            tuned = best if tuned is None else tuned
            lost = at(tuned) - lowest
            lines.append(f"{recipe:<9} {width:>5} {seeds:>6} {2**best:>10.2f} {lowest:>11.4f} {lost:>+39.4f}")
    return "\n".join(lines)


def mean_curve(losses: dict[Cell, float]) -> tuple[dict[float, float], int]:
    """The mean loss over seeds by log2 of the rate, for the rates that were tried at each seed; and how many seeds."""
    seeds = {cell.seed for cell in losses}
    rates = set.intersection(*({cell.rate for cell in losses if cell.seed == seed} for seed in seeds))
    mean = {rate: sum(loss for cell, loss in losses.items() if cell.rate == rate) / len(seeds) for rate in rates}
    return {math.log2(rate): loss for rate, loss in mean.items()}, len(seeds)


def optimum(curve: dict[float, float]) -> tuple[float, float, Any]:
    """Where a parabola through the lowest loss and its two neighbours is lowest, that loss, and the parabola.

    Where the lowest loss is at an edge of the sweep, that edge.
    """
    rates = sorted(curve)
    lowest = rates.index(min(rates, key=lambda rate: curve[rate]))
    middle = min(max(lowest, 1), len(rates) - 2)
    three = rates[middle - 1 : middle + 2]
    parabola = np.poly1d(np.polyfit(three, [curve[rate] for rate in three], 2))
    best = float(-parabola[1] / (2 * parabola[2])) if lowest == middle else rates[lowest]
    return best, float(parabola(best)), parabola


if __name__ == "__main__":
    prepare_cpu()
    quiet_libraries()
    run_command(main)
