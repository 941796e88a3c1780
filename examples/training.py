"""The loop that every example shares: train for some epochs, say how it goes."""

import argparse
import itertools
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from examples.data import DATASETS, load


class Optimizer(Protocol):
    """What the loop asks of an optimizer; torch's own and ``spikingtorch.utils.Clipper`` have it."""

    def zero_grad(self) -> None:
        """Clear the gradients."""

    def step(self) -> object:
        """Update the parameters."""


class Options(NamedTuple):
    """Command line of an example."""

    dataset: str
    epochs: int
    batches: int | None


def positive(text: str) -> int:
    """Read a whole number above zero."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def parse_options(description: str | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--dataset", choices=DATASETS, default="digits")
    parser.add_argument("--epochs", type=positive, default=5)
    parser.add_argument("--batches", type=positive, help="stop each epoch after so many batches of 32 (default: all)")
    given = parser.parse_args()
    return Options(given.dataset, given.epochs, given.batches)


def train_epoch(
    classify: nn.Module, loader: DataLoader[tuple[Tensor, ...]], optimizer: Optimizer, label: str, batches: int | None
) -> float:
    """Train on each batch once, under a progress bar, and return the mean loss."""
    classify.train()
    total = len(loader) if batches is None else min(batches, len(loader))
    losses = []
    bar = tqdm(itertools.islice(loader, total), total=total, desc=label, unit="batch", leave=False, disable=None)
    for images, labels in bar:
        optimizer.zero_grad()
        loss = F.cross_entropy(classify(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{loss.item():.3f}")
    return sum(losses) / len(losses)


@torch.no_grad()
def accuracy(classify: nn.Module, data: TensorDataset) -> float:
    """Return the share of samples that are classified right."""
    classify.eval()
    right = [(classify(images).argmax(1) == labels).sum().item() for images, labels in DataLoader(data, batch_size=500)]
    return float(sum(right) / len(data))


def fit(classify: nn.Module, optimizer: Optimizer, options: Options) -> float:
    """Train, print a line per epoch, and return the accuracy on the test set.

    Args:
        classify: encoder, network and decoder in a row: images (N, 1, 28, 28) -> (N, 10).
        optimizer: the optimizer of its parameters.
        options: command line of the example.
    """
    train, test = load(options.dataset)
    loader = DataLoader(train, batch_size=32, shuffle=True)
    reached = 0.0
    for epoch in range(1, options.epochs + 1):
        label = f"epoch {epoch:2}/{options.epochs}"
        loss = train_epoch(classify, loader, optimizer, label, options.batches)
        reached = accuracy(classify, test)
        print(f"{label}   loss {loss:.3f}   test accuracy {reached:6.1%}", flush=True)
    return reached
