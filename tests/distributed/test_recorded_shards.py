"""Losses that depend on records of a sharded network: their gradient is that of one process."""

import warnings

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.testing import assert_close

import spikingtorch as st
from tests.distributed.nets import batch, network, shard, whole
from tests.distributed.ranks import Ranks


def gradients(where: str, with_out: bool) -> dict[str, Tensor]:
    """Return the gradient of a loss of records, on this process's samples; without shards, on all of them."""
    model = network("blocks")
    x = batch(0)[0]
    if where:
        shard(model, where)
        x = x.chunk(dist.get_world_size())[dist.get_rank()]
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # the output of a sharded net may be a view
        recording = st.record(model, x, ("spikes", "v"))
    loss = recording["block.neurons"]["spikes"].sum() + recording["block.neurons"]["v"].square().sum()
    (loss + recording.out.square().sum() if with_out else loss).backward()
    return {name: whole(weight.grad) for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("where", ["root", "net", "layers, root"])
@pytest.mark.parametrize("with_out", [False, True])
def test_a_loss_of_records(ranks: Ranks, where: str, with_out: bool) -> None:
    expected = gradients("", with_out)
    for found in ranks.run(2, gradients, where, with_out):
        assert found.keys() >= expected.keys()
        for name, each in found.items():
            other = expected.get(name, torch.zeros_like(each))
            assert_close(2 * each, other, rtol=1e-12, atol=1e-13, msg=f"{name} of {where}")
