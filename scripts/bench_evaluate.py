"""The evaluator against the padded per-choice way and lm-evaluation-harness: same requests, same model, one run.

    python scripts/bench_evaluate.py --output benchmarks/evaluate-cpu.json [--peer PYTHON] [--quick]

Each way runs in a process of its own, one thread, fp32, task after task in turn; seconds are the process's CPU time,
which another process on the machine disturbs least. The padded way is that of AI2's in-loop evaluator: every (prompt,
choice) on its own, in file order, padded to a multiple of 128 tokens, logits for every position. PYTHON is one of an
environment that has lm-eval; without it that column is left out. Models are random: times count, accuracies do not.
--shapes 190M,30-layer --no-padded compares models of real shape with lm-eval alone, in some minutes of CPU time.
--checkpoint DIR --suite base_easy --first 2 --no-padded does so with a model of one's own and the first documents of
each task of a suite; the differences are those of requests that both split into the same tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import peak_bytes, result, save, timed
from transformers import AutoModelForCausalLM, AutoTokenizer, Olmo2Config, Olmo2ForCausalLM

from evaluate.evaluator import Evaluator, make_job
from evaluate.scoring.plan import make_plan
from evaluate.scoring.scorer import Scorer
from evaluate.tasks.olmes import wheel
from evaluate.tasks.suite import make_suite
from evaluate.tasks.tasks import AnyDocument, Document
from evaluate.tokens.tokenizer import Encoder, load_tokenizer
from ladder.command.running import Parser, run_command
from ladder.config.config import load_config
from ladder.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
VOCABULARY, CONTEXT = 100352, 4096
PADDED_BATCH, PADDED_MULTIPLE = 4, 128
# Of the ladder's model: shallow ones that are quick, and its smallest; and as deep and narrow as SmolLM2-135M.
SHAPES: dict[str, dict[str, Any]] = {
    "8x256": {"hidden_size": 256, "num_hidden_layers": 8, "num_attention_heads": 4, "intermediate_size": 1024},
    "8x512": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 2048},
    "190M": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "30-layer": {
        "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "tie_word_embeddings": True,
    },
}  # fmt: skip
# (shape, task, format, first documents); None: all of them
SUBSETS: tuple[tuple[str, str, str, int | None], ...] = (
    ("8x256", "arc_challenge", "rc", 30),
    ("8x256", "hellaswag", "rc", 10),
    ("8x256", "piqa", "rc", 30),
    ("8x256", "csqa", "rc", 30),
    ("8x256", "socialiqa", "rc", 20),
    ("8x256", "mmlu", "rc", 24),
    ("8x256", "arc_challenge", "mc", 20),
    ("8x256", "hellaswag", "mc", 5),
    ("8x512", "arc_challenge", "rc", 12),
    ("8x512", "csqa", "rc", 12),
    ("8x512", "mmlu", "rc", 8),
    ("8x512", "hellaswag", "rc", 4),
    ("8x512", "arc_challenge", "mc", 6),
    ("190M", "arc_challenge", "rc", 48),
    ("190M", "arc_challenge", "mc", 48),
    ("30-layer", "arc_challenge", "rc", 48),
    ("30-layer", "arc_challenge", "mc", 48),
)
WHOLE_TASK = ("8x256", "openbookqa", "rc", None)


def main(argv: list[str]) -> None:
    parser = Parser(
        prog="python scripts/bench_evaluate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    parser.add_argument("--peer", default=os.environ.get("MODEL_LADDER_PEER_PYTHON"), help="a Python with lm-eval")
    parser.add_argument("--quick", action="store_true", help="two small subsets, no whole task, no suite")
    parser.add_argument("--shapes", default="8x256,8x512", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--checkpoint", type=Path, help="a model to take instead of random ones")
    parser.add_argument("--suite", default="olmes", help="whose tasks that model is measured on")
    parser.add_argument("--first", type=int, default=2, help="documents of each of them")
    parser.add_argument("--no-padded", dest="padded", action="store_false", help="leave the padded way out")
    parser.add_argument("--worker", choices=("tries", "padded"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        work(options.worker)
        return
    shapes = options.shapes.split(",")
    cases = [case for case in (*SUBSETS, WHOLE_TASK) if case[0] in shapes]
    if options.quick:
        cases = [SUBSETS[3], SUBSETS[9]]
    if options.checkpoint:
        shapes = [options.checkpoint.name]
        cases = list(suite_cases(shapes[0], options.suite, options.first))
    suite = bench_suite() if "8x256" in shapes and not options.quick else None
    ways = ["tries", "padded"] if options.padded else ["tries"]
    with tempfile.TemporaryDirectory() as scratch:
        if options.checkpoint:
            (Path(scratch) / shapes[0]).symlink_to(options.checkpoint.resolve())
        rows = list(bench_cases(cases, Path(scratch), ways, options.peer))
    totals = [sums(rows, shape, form) for shape in shapes for form in dict.fromkeys(row["format"] for row in rows)]
    print(json.dumps(totals, indent=1))
    packages = ["torch", "transformers", "tokenizers", "numpy"]
    save(options.output, result(packages, threads_used=1, suite=suite, cases=rows, sums=totals))


def suite_cases(shape: str, suite: str, count: int) -> Iterator[tuple[str, str, str, int]]:
    for task in make_suite(load_config([f"suite={suite}"]).suite).tasks:
        yield shape, task.name, task.format, count


def bench_suite() -> dict[str, Any]:
    """Planning the paper's suite (8 tasks, RC and MC), and loading the cached plans; CPU and wall seconds."""
    suite = make_suite(load_config().suite)
    tokenizer = load_tokenizer(Path("none"), VOCABULARY)
    job = make_job(suite, Encoder(tokenizer), CONTEXT, VOCABULARY)
    wheel()  # found now, it is not looked for in the cache below
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MODEL_LADDER_CACHE"] = cache  # for plans only
        planned, loaded = timed_plans(suite.tasks, job), timed_plans(suite.tasks, job)
        size = sum(path.stat().st_size for path in Path(cache).rglob("*.npz"))
        del os.environ["MODEL_LADDER_CACHE"]
    summary = {"planning": planned["seconds"], "loading": loaded["seconds"], "bytes": size} | planned["counts"]
    print(json.dumps(summary), flush=True)
    return summary


def timed_plans(tasks: Any, job: Any) -> dict[str, Any]:
    evaluator = Evaluator()
    seconds = vars(timed(lambda: evaluator.prepare(job)))
    plans = [evaluator.plan(task, job, True) for task in tasks]
    processed, limit = sum(plan.processed_tokens for plan in plans), sum(int(plan.limit[0]) for plan in plans)
    heads = sum(len(plan.heads) for plan in plans)
    counts = {"tokens": processed, "limit": limit, "ratio": processed / limit, "projected_positions": heads}
    return {"seconds": seconds, "counts": counts}


def bench_cases(cases: Any, scratch: Path, ways: list[str], peer: str | None) -> Iterator[dict[str, Any]]:
    workers = {way: start([sys.executable, __file__, "--worker", way], ROOT) for way in ways}
    if peer:
        workers["lm_eval"] = start([peer, str(ROOT / "scripts" / "peer_lm_eval.py")], scratch)
    for shape, task, form, count in cases:
        checkpoint = scratch / shape
        if not checkpoint.exists():
            write_model(checkpoint, shape)
        documents = read_documents(task, form, count)
        pairs = [pair for document in documents for pair in zip(document.contexts, document.choices, strict=True)]
        job = json.dumps({"checkpoint": str(checkpoint), "requests": pairs, "batch_size": PADDED_BATCH})
        answers = {way: ask(worker, job) for way, worker in workers.items()}
        scores = {way: np.array(answer.pop("loglikelihoods")) for way, answer in answers.items()}
        case = {"shape": shape, "task": task, "format": form, "documents": len(documents), "requests": len(pairs)}
        for way, answer in answers.items():
            case[way] = answer
            if way != "tries":
                answer["times_slower"] = answer["cpu_seconds"] / answers["tries"]["cpu_seconds"]
                same = np.array(answers["tries"]["split_alike"])
                answer["largest_difference"] = float(np.abs(scores[way] - scores["tries"])[same].max(initial=0))
        alike = answers["tries"].pop("split_alike")
        case["split_otherwise_by_lm_eval"] = alike.count(False)
        print(json.dumps(case), flush=True)
        yield case
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()


def sums(cases: list[dict[str, Any]], shape: str, form: str) -> dict[str, Any]:
    """CPU seconds over the subsets of one shape and format; the whole task stands for itself."""
    mine = [c for c in cases if (c["shape"], c["format"]) == (shape, form) and c["task"] != WHOLE_TASK[1]]
    ways = [way for way in ("tries", "padded", "lm_eval") if mine and way in mine[0]]
    seconds = {way: sum(case[way]["cpu_seconds"] for case in mine) for way in ways}
    ratios = {f"{way}_times_slower": seconds[way] / seconds["tries"] for way in ways[1:]}
    return {"shape": shape, "format": form, "subsets": len(mine), "cpu_seconds": seconds} | ratios


def read_documents(task: str, form: str, count: int | None) -> Sequence[AnyDocument]:
    suite = make_suite(load_config().suite).select([task], [form], None)
    return suite.tasks[0].documents()[:count]


def write_model(path: Path, shape: str) -> None:
    """A random OLMo 2 with dolma2's tokenizer; weights are doubled, so that logits are not nearly flat."""
    torch.manual_seed(0)
    config = Olmo2Config(
        vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, rope_theta=500000.0,
        pad_token_id=100277, bos_token_id=None, eos_token_id=100257, **SHAPES[shape],
    )  # fmt: skip
    model = Olmo2ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2 if parameter.ndim > 1 else 1)
    model.save_pretrained(path)
    load_tokenizer(Path("none"), VOCABULARY).save_pretrained(path)


def start(command: list[str], directory: Path) -> Any:
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(
        command, cwd=directory, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def ask(worker: Any, job: str) -> dict[str, Any]:
    print(job, file=worker.stdin, flush=True)
    answer = worker.stdout.readline()
    if not answer:
        raise UserError(f"a worker ended early: {shlex.join(worker.args)}")
    return json.loads(answer)


def work(way: str) -> None:
    torch.set_num_threads(1)
    loaded: tuple[str, Any, Any] | None = None
    for line in sys.stdin:
        job = json.loads(line)
        if loaded is None or loaded[0] != job["checkpoint"]:
            tokenizer = AutoTokenizer.from_pretrained(job["checkpoint"])
            model = AutoModelForCausalLM.from_pretrained(job["checkpoint"]).eval()
            loaded = job["checkpoint"], Encoder(tokenizer), Scorer(model) if way == "tries" else model
        answer = (tries if way == "tries" else padded)(loaded[1], loaded[2], job["requests"])
        answer["peak_bytes"] = peak_bytes()
        print(json.dumps(answer), flush=True)


def tries(encoder: Encoder, scorer: Scorer, requests: list[tuple[str, str]]) -> dict[str, Any]:
    """This project's way; the plan is timed apart, because a ladder's checkpoints share it."""
    start = time.process_time()
    contexts, choices = zip(*requests, strict=True)
    plan = make_plan([Document(id="", contexts=contexts, choices=choices, gold=0)], encoder, CONTEXT, True)
    planned = time.process_time()
    scores = scorer.loglikelihoods(plan)
    scored = time.process_time()
    return {
        "loglikelihoods": scores.tolist(),
        "split_alike": [pair.as_harness for pair in encoder.encode_pairs(requests)],
        "cpu_seconds": scored - planned,
        "planning_cpu_seconds": planned - start,
        "tokens": plan.processed_tokens,
        "limit": int(plan.limit[0]),
    }


def padded(encoder: Encoder, model: Any, requests: list[tuple[str, str]]) -> dict[str, Any]:
    start, tokens, scores = time.process_time(), 0, []
    pairs = encoder.encode_pairs([(context, choice) for context, choice in requests])
    encoded = [(pair.context, pair.continuation) for pair in pairs]
    for first in range(0, len(encoded), PADDED_BATCH):
        batch = encoded[first : first + PADDED_BATCH]
        longest = max(len(context) + len(choice) - 1 for context, choice in batch)
        inputs = torch.zeros(len(batch), -(-longest // PADDED_MULTIPLE) * PADDED_MULTIPLE, dtype=torch.long)
        for row, (context, choice) in enumerate(batch):
            sequence = np.concatenate([context, choice[:-1]]).astype(np.int64)
            inputs[row, : len(sequence)] = torch.from_numpy(sequence)
        tokens += inputs.numel()
        with torch.no_grad():
            logits = model(input_ids=inputs, use_cache=False).logits
        for row, (context, choice) in enumerate(batch):
            targets = torch.from_numpy(choice.astype(np.int64))
            predicted = logits[row, len(context) - 1 : len(context) + len(choice) - 1]
            scores.append(-float(torch.nn.functional.cross_entropy(predicted, targets, reduction="sum")))
    return {"loglikelihoods": scores, "cpu_seconds": time.process_time() - start, "tokens": tokens}


if __name__ == "__main__":
    run_command(main)
