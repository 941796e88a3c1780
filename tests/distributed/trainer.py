"""A trainer of Lightning on two processes, run by test_lightning as ``python -m tests.distributed.trainer STRATEGY``."""

import sys
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from spikingtorch import LI, LIF, SpikingNet, losses
from tests.every_layer import drawn

N, T, IN, OUT = 8, 6, 5, 3


def network() -> SpikingNet:
    """Return the network."""
    torch.manual_seed(0)
    hidden = LIF(tau=torch.linspace(2.0, 4.0, 6), threshold=0.4, learnable="tau")
    return SpikingNet(nn.Sequential(nn.Linear(IN, 6), hidden, nn.Linear(6, OUT), LI()).double(), OUT)


def samples() -> TensorDataset:
    """Return sequences and their classes."""
    return TensorDataset(drawn(N, T, IN), torch.arange(N) % OUT)


class Classifier(pl.LightningModule):  # type: ignore[misc]
    """What Lightning asks of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.model = network()

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch."""
        x, target = batch
        return losses.rate_cross_entropy(self.model(x), target)

    def configure_optimizers(self) -> Any:
        """Return the optimizer."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Sharded(Classifier):
    """The same module, each layer in parts on all processes."""

    def configure_model(self) -> None:
        """Shard each layer, and all of them together."""
        from torch.distributed.fsdp import fully_shard

        mesh: Any = self.device_mesh
        for layer in self.model.net:
            if next(layer.parameters(), None) is not None:
                fully_shard(layer, mesh=mesh["data_parallel"])
        fully_shard(self.model, mesh=mesh["data_parallel"])


def main(strategy: str, file: str) -> None:
    """Train for three steps, and save the weights, and how the network ran."""
    from pytorch_lightning.strategies import ModelParallelStrategy

    module = Sharded() if strategy == "fsdp2" else Classifier()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=ModelParallelStrategy() if strategy == "fsdp2" else strategy,
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(samples(), N // 2))
    weights = [getattr(each, "full_tensor", lambda each=each: each)().detach() for each in module.parameters()]
    if trainer.global_rank == 0:
        torch.save({"weights": weights, "mode": module.model.explain().mode}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
