"""Log-likelihoods by lm-evaluation-harness, for comparison; runs under a Python that has `lm_eval`, not under ours.

Reads a JSON object a line, {"checkpoint", "requests": [[context, continuation], …], "batch_size"}, and answers each
with {"loglikelihoods", "cpu_seconds", "tokens", "peak_bytes"}. lm-eval needs Hugging Face's package `evaluate`, whose
name this project's own takes: start it in another directory, in an environment of its own (pip install lm-eval torch).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from lm_eval.api.instance import Instance  # type: ignore[import-not-found]
from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found]


def main() -> None:
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the harness prints as it likes; answers alone go to standard output
    loaded: tuple[str, Any] | None = None
    counted = [0]
    for line in sys.stdin:
        job = json.loads(line)
        if loaded is None or loaded[0] != job["checkpoint"]:
            harness = HFLM(pretrained=job["checkpoint"], device="cpu", dtype="float32", batch_size=job["batch_size"])
            harness.model.register_forward_pre_hook(
                lambda module, args, kwargs: counted.__setitem__(0, counted[0] + _tokens(args, kwargs)),
                with_kwargs=True,
            )
            loaded = job["checkpoint"], harness
        requests = [Instance("loglikelihood", {}, tuple(pair), index) for index, pair in enumerate(job["requests"])]
        counted[0], start = 0, time.process_time()
        scored = loaded[1].loglikelihood(requests, disable_tqdm=True)
        answer = {
            "loglikelihoods": [value for value, _ in scored],
            "cpu_seconds": time.process_time() - start,
            "tokens": counted[0],
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        print(json.dumps(answer), file=answers, flush=True)


def _tokens(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    return int((args[0] if args else kwargs["input_ids"]).numel())


if __name__ == "__main__":
    main()
