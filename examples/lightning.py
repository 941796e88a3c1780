"""PyTorch Lightning trains a spiking network: batches, validation, early stopping and checkpoints are the trainer's.

Nothing in the module knows that its network spikes. A state never passes from one batch to the next, since each call
starts a new sequence. The best checkpoint by validation is tested. Five epochs reach 94 % of the test
digits.

``pip install pytorch-lightning``, or the extra "lightning".
"""

import argparse
import sys
import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from examples import data
from examples.training import positive
from spikingtorch import LI, LIF, SpikingNet, losses, metrics
from spikingtorch.functional import Arctan
from spikingtorch.spikeio import ConstantEncoder


def network() -> SpikingNet:
    """Return the network, images (N, T, 1, 28, 28) to membranes (N, T, 10)."""
    hidden = LIF(tau=torch.full((256,), 4.0), threshold=0.5, surrogate=Arctan(), learnable="tau")
    return SpikingNet(nn.Sequential(nn.Flatten(), nn.Linear(784, 256), hidden, nn.Linear(256, 10), LI(tau=8.0)))


def main() -> None:
    """Train, and test the best checkpoint."""
    try:
        import pytorch_lightning as pl
        from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
    except ModuleNotFoundError:
        raise SystemExit("it needs PyTorch Lightning: .venv/bin/pip install 'spikingtorch[lightning]'") from None

    class Classifier(pl.LightningModule):  # type: ignore[misc]
        """What Lightning asks of a module: its steps, and its optimizer."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.model = ConstantEncoder(8), network()

        def forward(self, images: Tensor) -> Tensor:
            membranes: Tensor = self.model(self.encoder(images))
            return membranes

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            images, labels = batch
            return losses.rate_cross_entropy(self(images), labels)

        def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
            images, labels = batch
            self.log("validation", metrics.rate_accuracy(self(images), labels), prog_bar=True)

        def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
            images, labels = batch
            self.log("test", metrics.rate_accuracy(self(images), labels))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=0.003)

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=positive, default=5)
    parser.add_argument("--batches", type=positive, help="stop each epoch after so many batches of 32 (default: all)")
    options = parser.parse_args()
    pl.seed_everything(0, verbose=False)
    given, test = data.load("digits")
    kept = len(given) // 10
    train, held_out = TensorDataset(*given[kept:]), TensorDataset(*given[:kept])
    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="validation", mode="max")
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=options.epochs,
            limit_train_batches=options.batches or 1.0,
            callbacks=[EarlyStopping("validation", mode="max", patience=2), best],
            logger=False,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
        )
        trainer.fit(Classifier(), DataLoader(train, 32, shuffle=True), DataLoader(held_out, 250))
        reached: dict[str, Any] = trainer.test(dataloaders=DataLoader(test, 250), ckpt_path="best", verbose=False)[0]
    print(f"test accuracy {reached['test']:6.1%}")


if __name__ == "__main__":
    main()
