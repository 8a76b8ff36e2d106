"""FSDP2 beside DDP: what is gathered, kept and sent, with gloo in place of NCCL."""

from __future__ import annotations

import json

import pytest
from conftest import run_ranks

from train.parallel import mesh_shape


def test_slices_within_a_node_and_copies_across() -> None:
    assert mesh_shape(8, 8) == (8,)
    assert mesh_shape(32, 8) == (4, 8)
    assert mesh_shape(4, 1) == (4,)  # nodes of one GPU: nothing to slice within
    assert mesh_shape(12, 8) == (12,)


@pytest.mark.parametrize(("processes", "per_node"), [(2, 2), (4, 2)])
def test_sharded_in_bf16_equals_copies(processes: int, per_node: int) -> None:
    done = run_ranks(processes, "-m", "sharded", per_node=per_node)
    assert not any(one.returncode for one in done), "".join(one.stderr for one in done)
    results = json.loads(done[0].stdout.splitlines()[-1])
    ddp, fsdp = results["ddp"], results["fsdp2"]
    assert fsdp["between blocks"] == fsdp["cosines"] == ddp["between blocks"] == ddp["cosines"] == "torch.float32"
    assert (ddp["q_proj"], fsdp["q_proj"]) == ("torch.float32", "torch.bfloat16")
    assert fsdp["kept"] == 0  # no unsharded gradient from one micro-batch to the next
    assert fsdp["mesh"] == list(mesh_shape(processes, per_node))
    assert fsdp["norm"] == pytest.approx(ddp["norm"], rel=2e-3)
    assert ddp["restored"] and fsdp["restored"]
