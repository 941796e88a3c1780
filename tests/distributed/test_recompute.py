"""Chunks that run again in the backward pass, on several processes, beside chunks that are kept."""

from typing import Any

import pytest
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from tests.distributed.nets import batch, network, shard, whole
from tests.distributed.ranks import RankError, Ranks

pytestmark = pytest.mark.sampled


def gradients(where: str, mode: str) -> list[list[Tensor]]:
    """Return outputs and gradients without chunks that run again, and with them."""
    found = []
    for recompute in (False, True):
        model = network("learning", mode=mode, time_chunk=2, recompute=recompute)
        called: Any = model
        if where == "ddp":
            called = DistributedDataParallel(model)
        else:
            shard(model, where)
        called(batch(dist.get_rank())[0]).pow(2).sum().backward()
        out = called(batch(dist.get_rank() + 2)[0])
        out.pow(2).sum().backward()
        weights = [weight.grad for weight in model.parameters()]
        assert all(weight is not None and bool(whole(weight).any()) for weight in weights)
        found.append([out.detach(), *[whole(weight) for weight in weights if weight is not None]])
    return found


@pytest.mark.parametrize("mode", ["auto", "step"])
@pytest.mark.parametrize("where", ["ddp", "layers", "layers, root"])
def test_gradients_are_those_of_chunks_that_are_kept(ranks: Ranks, where: str, mode: str) -> None:
    for kept, again in ranks.run(2, gradients, where, mode):
        assert_close(again, kept, rtol=1e-12, atol=1e-13)


def call_of_one_module() -> None:
    model = network("learning", time_chunk=2, recompute=True)
    shard(model, "net")
    model(batch(0)[0])


def test_a_network_that_is_sharded_as_one_module(ranks: Ranks) -> None:
    with pytest.raises(RankError, match="recompute=True does not work if fully_shard has sharded net as one module"):
        ranks.run(2, call_of_one_module)
