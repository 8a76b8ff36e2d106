"""Two micro-batches of a small model in bf16, sharded and copied; run by several processes, the first one prints."""

from __future__ import annotations

import functools
import json
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.fsdp import FSDPModule

from ladder.config.config import ladder_from_config, load_config
from train.model import LossModel, build_model, build_optimizer, model_config
from train.parallel import KINDS, parallelise

NANO = ladder_from_config(load_config(["ladder=nano", "ladder.vocab_size=512", "ladder.recipe.sequence_length=32"]))
RUNG = NANO.make_rung("n1", 1)


def two_micro_batches(kind: str, accelerator: Accelerator) -> dict[str, Any]:
    wrapped = LossModel(build_model(model_config(RUNG.shape, NANO.recipe), RUNG.groups, 0), 1e-4)
    build = functools.partial(build_optimizer, recipe=NANO.recipe, rung=RUNG)
    parallel = parallelise(kind, accelerator, wrapped, build)
    seen: dict[str, Any] = {"mesh": [], "kept": 0}

    def look(module: Any, arguments: Any, options: Any) -> None:
        seen["between blocks"] = str(arguments[0].dtype)
        seen["cosines"] = str(options["position_embeddings"][0].dtype)
        seen["q_proj"] = str(module.self_attn.q_proj.weight.dtype)

    wrapped.model.model.layers[-1].register_forward_pre_hook(look, with_kwargs=True)
    generator = torch.Generator().manual_seed(accelerator.process_index)
    for last in (False, True):
        tokens = torch.randint(0, 512, (2, 32), generator=generator)
        with parallel.no_sync() if not last else torch.enable_grad():
            parallel.module(tokens, 1 / 128)[0].backward()
        for module in parallel.module.modules():
            if isinstance(module, FSDPModule):
                group = module._get_fsdp_state()._fsdp_param_group
                seen["kept"] += sum(one.unsharded_accumulated_grad is not None for one in group.fsdp_params)
                seen["mesh"] = list(group.fsdp_params[0].mesh_info.mesh.shape)
    seen["norm"] = parallel.clip(1.0).item()
    parallel.step(torch.tensor(False))
    unchanged = parallel.state()
    parallel.module(tokens, 1 / 128)[0].backward()
    parallel.step(torch.tensor(True))
    parallel.load(unchanged if accelerator.is_main_process else None)
    again = parallel.state()
    if accelerator.is_main_process:
        seen["restored"] = all(torch.equal(again["model"][name], value) for name, value in unchanged["model"].items())
    return seen


if __name__ == "__main__":
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    results = {kind: two_micro_batches(kind, accelerator) for kind in KINDS}
    if accelerator.is_main_process:
        print(json.dumps(results))
    accelerator.end_training()
