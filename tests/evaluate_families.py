"""Every causal language model of the installed transformers as a tiny random one, and how the evaluator runs it.

python tests/evaluate_families.py [FAMILY …]    prints the table; tests/evaluate_families.tsv is that of all
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from evaluate.scoring.attention import Kind
from evaluate.scoring.plan import plan_of_requests
from evaluate.scoring.scorer import Scorer
from evaluate.tokens.trie import Request

WINDOW, CONTEXT, VOCABULARY = 16, 256, 400
MOST_PARAMETERS = 3_000_000
# No decoders by themselves: parts of encoder-decoders and of models of speech, encoders, and models of pixels.
NO_LANGUAGE_MODELS = {
    "bart", "bert", "bert-generation", "big_bird", "bigbird_pegasus", "blenderbot", "blenderbot-small", "camembert",
    "data2vec-text", "electra", "ernie", "marian", "mbart", "megatron-bert", "moshi", "musicgen", "musicgen_melody",
    "mvp", "pegasus", "plbart", "prophetnet", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer",
    "trocr", "whisper", "xlm-roberta", "xlm-roberta-xl", "xmod", "reformer", "xlnet", "xlm", "git",
}  # fmt: skip
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "n_embd": 32, "d_model": 32, "embed_dim": 32, "intermediate_size": 64,
    "word_embed_proj_dim": 32, "ffn_dim": 64, "ffn_hidden_size": 64, "n_inner": 64, "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32, "num_hidden_layers": 4, "n_layer": 4, "n_layers": 4, "num_layers": 4,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": CONTEXT, "n_positions": CONTEXT, "n_ctx": CONTEXT, "max_seq_len": CONTEXT,
    "sliding_window": WINDOW, "window_size": WINDOW, "attention_chunk_size": WINDOW, "num_experts": 4,
    "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "kv_lora_rank": 8, "q_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_head_dim": 16, "n_group": 1, "topk_group": 1,
    "query_pre_attn_scalar": 8, "global_head_dim": 8, "num_global_key_value_heads": 2,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

OWN = {
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8},
    "codegen": {"rotary_dim": 4},
    "dots1": {"n_shared_experts": 1},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "gptj": {"rotary_dim": 4},
    "granite": {"logits_scaling": 2.0},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_d_head": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
}


@dataclass(frozen=True, kw_only=True)
class Examined:
    """difference: the largest to one-by-one forwards, in nats, on paths longer than the window; spread: how far apart
    these are from each other."""

    family: str
    way: str
    kinds: str = ""
    difference: float | None = None
    spread: float | None = None

    def line(self) -> str:
        number = "" if self.difference is None else f"{self.difference:.0e}"
        return "\t".join((self.family, self.way, self.kinds, number))


def families() -> list[str]:
    return sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - NO_LANGUAGE_MODELS)


def tiny_family(family: str) -> Any:
    """Raises what the family's code raises where these sizes make no model of it."""
    model_class = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[family])
    config_class = model_class.config_class
    known = config_class().to_dict()
    values = {key: value for key, value in SMALL.items() if key in known or key in _arguments(config_class)}
    for key in ("layer_types", "mlp_layer_types"):
        if known.get(key):
            values[key] = _shortened(known[key], 4)
    values |= {key: True for key in ("use_sliding_window", "is_decoder") if key in known}
    if "kv_lora_rank" in known:  # every head has its own keys
        values["num_key_value_heads"] = SMALL["num_attention_heads"]
    config = config_class(**values | OWN.get(family, {}))
    with torch.device("meta"):
        parameters = sum(value.numel() for value in model_class(config).parameters())
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"{parameters:,} parameters")
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.ndim > 1 else 1)
    return model


def _arguments(config_class: Any) -> set[str]:
    return set(inspect.signature(config_class.__init__).parameters) | set(getattr(config_class, "attribute_map", {}))


def _shortened(pattern: list[str], count: int) -> list[str]:
    """The pattern's first entries, and at its end those kinds that are not among them."""
    kinds = list(dict.fromkeys(pattern))
    return list(pattern[: count - len(kinds)]) + kinds[:count]


def long_requests() -> list[Request]:
    """Requests of 30 to 50 tokens behind a prefix of 20, branching at several depths."""
    rng = np.random.default_rng(0)
    prefix, stems = rng.integers(3, VOCABULARY, 20), rng.integers(3, VOCABULARY, (3, 15))
    requests = []
    for index in range(9):
        tail = rng.integers(3, VOCABULARY, 3 + index)
        inputs = np.concatenate([prefix, stems[index % 3][: 10 + index // 3], tail]).astype(np.int32)
        targets = rng.integers(3, VOCABULARY, 3).astype(np.int32)
        requests.append(Request(index=index, inputs=inputs, targets=targets))
    return requests


def reference(model: Any, requests: list[Request]) -> np.ndarray:
    scores = []
    for request in requests:
        with torch.no_grad():
            logits = model(torch.from_numpy(request.inputs.astype(np.int64))[None], use_cache=False).logits[0]
        last = logits[-len(request.targets) :].double().log_softmax(-1)
        scores.append(float(last[range(len(last)), request.targets.astype(np.int64)].sum()))
    return np.array(scores)


def examine(family: str) -> Examined:
    requests = long_requests()
    try:
        model = tiny_family(family)
        expected = reference(model, requests)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:70]
        return Examined(family=family, way=f"not made ({type(error).__name__}: {reason})")
    scorer = Scorer(model)
    plan = plan_of_requests(requests, True, CONTEXT)
    scorer.try_at(plan.longest_path, plan.widest_row)
    plan = plan if scorer.tries else plan_of_requests(requests, False, CONTEXT)
    return Examined(
        family=family,
        way="tries" if scorer.tries else f"plain ({scorer.trial.outcome})",
        kinds=" ".join(_kind_text(name, kind) for name, kind in sorted((scorer.kinds or {}).items())),
        difference=float(np.abs(scorer.loglikelihoods(plan) - expected).max()),
        spread=float(np.ptp(expected)),
    )


def _kind_text(name: str, kind: Kind) -> str:
    return f"{name or 'all'}:{kind.window or kind.chunk or 'whole path'}"


def table(names: list[str]) -> Iterator[Examined]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.logging.set_verbosity_error()
        for name in names:
            yield examine(name)


if __name__ == "__main__":
    print(f"transformers {transformers.__version__}")
    print("family\tway\tlayers\tlargest difference, nats")
    for examined in table(sys.argv[1:] or families()):
        print(examined.line(), flush=True)
