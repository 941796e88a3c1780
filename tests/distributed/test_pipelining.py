"""Parts of a network on several processes, by ``torch.distributed.pipelining``: each part folds."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.testing import assert_close

import spikingtorch as st
from tests.distributed.nets import batch, plain
from tests.distributed.ranks import Ranks


def part(of: int) -> st.SpikingNet:
    """Return the first or the second half of a network; each takes and returns all steps of some samples."""
    torch.manual_seed(0)
    layers = plain().double()
    return st.SpikingNet(layers[2 * of : 2 * of + 2], warn_silent=False)


def loss(out: Tensor, target: Tensor) -> Tensor:
    return (out - target).pow(2).mean()


def staged(schedule: Any) -> tuple[list[Tensor], str]:
    """Return the gradients of a batch that runs in four parts, as one of two stages."""
    rank = dist.get_rank()
    model, (x, target) = part(rank), batch(0)
    stage = PipelineStage(model, rank, 2, torch.device("cpu"))
    runs = schedule(stage, n_microbatches=4, loss_fn=loss)
    for _ in range(2):
        model.zero_grad()
        runs.step(*([x] if rank == 0 else []), **({} if rank == 0 else {"target": target}))
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return gradients, model.explain().mode


def test_a_pipeline_trains_as_one_process(ranks: Ranks) -> None:
    x, target = batch(0)
    first, second = part(0), part(1)
    loss(second(first(x)), target).backward()
    for schedule in (ScheduleGPipe, Schedule1F1B):
        for each, (gradients, mode) in zip((first, second), ranks.run(2, staged, schedule), strict=True):
            assert mode == "fold"
            assert_close(gradients, [weight.grad for weight in each.parameters()], rtol=1e-12, atol=1e-13)
