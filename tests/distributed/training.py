"""A training run with everything that a checkpoint has to hold: on one rank or several, plain, by DDP or by FSDP."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from spikingtorch import LI, LIF, SpikingNet
from spikingtorch.checkpoints import Checkpoints
from spikingtorch.spikeio import PoissonEncoder

N, T = 8, 6  # samples of a step of all ranks, steps of a sequence


class Run:
    """A run that draws from every random number, unless it is to be the same on any number of ranks.

    Args:
        folder: of its checkpoints.
        wrap: "plain", "ddp" or "fsdp".
        draws: whether it draws random numbers, besides those of the first weights.
        hidden: size of its hidden layer.
        keep: how many checkpoints stay.

    Attributes:
        losses: the mean loss of all ranks by step.
    """

    # of which number k begins after 3 k steps
    optimizers_of: Callable[..., list[Any]] = staticmethod(lambda given: [torch.optim.AdamW(given, lr=0.01)])

    def __init__(self, folder: Path, wrap: str, draws: bool = True, hidden: int = 8, keep: int = 2) -> None:
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        torch.manual_seed(0)
        self.model = network(hidden, draws)
        self.wrapped: nn.Module = self.model
        if wrap == "ddp":
            self.wrapped = DistributedDataParallel(self.model)
        elif wrap == "fsdp":
            fully_shard(self.model)
        self.draws = draws
        generator = torch.Generator().manual_seed(self.rank)
        self.encoder = PoissonEncoder(T, generator=generator)
        torch.manual_seed(self.rank)
        np.random.seed(self.rank)
        random.seed(self.rank)
        self.optimizer, *_ = self.optimizers = self.optimizers_of([*self.model.parameters()])
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 3, 0.7)
        self.checkpoints = Checkpoints(
            folder, self.wrapped, self.optimizers, own={"encoder": generator}, keep=keep, scheduler=self.scheduler
        )
        self.losses: dict[int, float] = {}

    def train(self, until: int, every: int = 1, after: Callable[[int], None] = lambda step: None) -> "Run":
        """Train from the newest checkpoint to a step, and save every so many steps."""
        with self.checkpoints:
            with torch.inference_mode():  # whose tensors could not be trained
                before = self.checkpoints.resume()
            for step in range(before + 1, until + 1):
                self.step(step)
                if step % every == 0:
                    self.checkpoints.save(step)
                after(step)
        return self

    def step(self, step: int) -> None:
        """Take a step of the optimizer; every other one goes on with the sequences of the one before."""
        x = torch.rand(N, 5, generator=torch.Generator().manual_seed(step), dtype=torch.double)
        x = x.tensor_split(self.size)[self.rank]
        if self.draws:
            sequence = self.encoder(x * (0.5 + 0.2 * random.random() + 0.2 * np.random.rand()))
        else:
            sequence = 2 * x[:, None].expand(-1, T, -1)
        loss = (self.wrapped(sequence.double(), init=step % 2 == 1) - 0.3).square().mean()
        loss.backward()
        for number, optimizer in enumerate(self.optimizers):
            if step > 3 * number:
                optimizer.step(lambda: loss)
        self.model.zero_grad()
        self.scheduler.step()
        mean = loss.detach() / self.size
        if self.size > 1:
            dist.all_reduce(mean)
        self.losses[step] = mean.item()

    def end(self) -> dict[str, Tensor]:
        """Return all of the weights, the buffers of this rank, and what the next random numbers would be."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights: dict[str, Any] = get_model_state_dict(self.wrapped, options=options)
        drawn = torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])
        encoded = self.encoder(torch.full((4,), 0.5)).flatten()
        own = {f"own {name}": each for name, each in self.model.named_buffers()}
        return {name: each.clone() for name, each in (weights | own).items()} | {"drawn": drawn, "encoded": encoded}


def network(hidden: int, draws: bool) -> SpikingNet:
    """Return a network with a learnable time constant, and with dropout and a batch norm if it may draw."""
    neurons = LIF(tau=torch.full((hidden,), 4.0), v0=0.5, learnable="tau")
    between = [nn.BatchNorm1d(hidden), nn.Dropout(0.2)] if draws else []
    return SpikingNet(nn.Sequential(nn.Linear(5, hidden), *between, neurons, nn.Linear(hidden, 3), LI(8.0))).double()


def same(ends: list[dict[str, Tensor]], others: list[dict[str, Tensor]]) -> bool:
    """Whether ranks have ended with the same bits."""
    return all(
        end.keys() == other.keys() and all(torch.equal(end[name], other[name]) for name in end)
        for end, other in zip(ends, others, strict=True)
    )


def steps(folder: Path) -> list[str]:
    """Return the names of the checkpoints in a folder."""
    return sorted(path.name for path in folder.glob("step-*"))


def cut(path: Path, at: float) -> None:
    """Cut a file off at a share of its bytes."""
    path.write_bytes(path.read_bytes()[: int(at * path.stat().st_size)])
