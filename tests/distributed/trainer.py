"""A trainer of Lightning on two processes, run by test_lightning as ``python -m tests.distributed.trainer``."""

import sys
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from spikingtorch import losses
from tests.distributed.test_lightning import EPOCHS, N, network, samples


def main(strategy: str, file: str) -> None:
    """Train, and save the weights and the mode in which the network ran."""
    import pytorch_lightning as pl
    from pytorch_lightning.strategies import ModelParallelStrategy

    class Classifier(pl.LightningModule):  # type: ignore[misc]
        """What Lightning asks of a module."""

        def __init__(self) -> None:
            super().__init__()
            self.model = network()

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            x, target = batch
            return losses.rate_cross_entropy(self.model(x), target)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Sharded(Classifier):
        """The same module, each layer in parts on all processes."""

        def configure_model(self) -> None:
            mesh: Any = self.device_mesh["data_parallel"]
            for layer in self.model.net.children():
                if next(layer.parameters(), None) is not None:
                    fully_shard(layer, mesh=mesh)
            fully_shard(self.model, mesh=mesh)

    sharded = strategy == "fully_shard"
    module = Sharded() if sharded else Classifier()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1) if sharded else strategy,
        max_epochs=EPOCHS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(samples(), N // 2))
    weights = [each.full_tensor() if sharded else each for each in module.parameters()]
    if trainer.global_rank == 0:
        torch.save(([each.detach() for each in weights], module.model.explain().mode), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
