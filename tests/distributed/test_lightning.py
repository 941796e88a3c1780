"""The strategies of Lightning: "ddp", ``fully_shard`` by ModelParallelStrategy, and the wrapper behind "fsdp"."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.utils.data import TensorDataset

from spikingtorch import LI, LIF, SpikingNet, losses
from tests.distributed.ranks import Ranks
from tests.distributed.test_data import mine
from tests.every_layer import drawn
from tests.processes import python

RIGHT = 1e-12
N, T, IN, OUT, EPOCHS = 8, 6, 5, 3, 3


def network() -> SpikingNet:
    torch.manual_seed(0)
    hidden = LIF(tau=torch.linspace(2.0, 4.0, 6), threshold=0.4, learnable="tau")
    return SpikingNet(nn.Sequential(nn.Linear(IN, 6), hidden, nn.Linear(6, OUT), LI()).double(), OUT)


def samples() -> TensorDataset:
    return TensorDataset(drawn(N, T, IN), torch.arange(N) % OUT)


def trained(model: nn.Module, x: Tensor, target: Tensor) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        losses.rate_cross_entropy(model(x), target).backward()
        optimizer.step()


def furthest(weights: Sequence[Tensor]) -> float:
    """Return how far weights are from those of one process that is trained on all samples."""
    one = network()
    trained(one, *samples().tensors)
    return max([float((a - b).detach().abs().max()) for a, b in zip(weights, one.parameters(), strict=True)])


@pytest.mark.skipif(importlib.util.find_spec("pytorch_lightning") is None, reason="Lightning is not installed")
@pytest.mark.parametrize("strategy", ["ddp", "fully_shard"])
def test_a_trainer_on_two_processes_has_the_weights_of_one(strategy: str, tmp_path: Path) -> None:
    python("-m", "tests.distributed.trainer", strategy, tmp_path / "weights.pt", OMP_NUM_THREADS="1")
    weights, mode = torch.load(tmp_path / "weights.pt")
    assert furthest(weights) < RIGHT
    assert mode == "fold"


def wrapped() -> tuple[float, str]:
    """Train in the wrapper that the strategy "fsdp" takes; Lightning itself demands a GPU for it."""
    model = network()
    parallel: Any = FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)
    trained(parallel, *map(mine, samples().tensors))
    with FullyShardedDataParallel.summon_full_params(parallel):
        return furthest([*model.parameters()]), model.explain().mode


def test_the_wrapper_of_the_strategy_fsdp(ranks: Ranks) -> None:
    for error, mode in ranks.run(2, wrapped):
        assert error < RIGHT
        assert mode == "fold"
