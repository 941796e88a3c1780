"""A thousand recordings of N-MNIST, a camera that moves in front of digits, read by a convolutional network.

The files are those of nmnist/small.zip in the folder that ``SPIKINGTORCH_DATA`` names: 1.bs2 and so on, train1K.txt and
test100.txt. A tenth of the first thousand chooses the epoch.

G. Orchard, A. Jayawant, G. K. Cohen and N. Thakor, "Converting static image datasets to spiking neuromorphic datasets
using saccades", Frontiers in Neuroscience 9, 437 (2015), https://doi.org/10.3389/fnins.2015.00437
"""

import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad
from torch.utils.data import TensorDataset

from examples.data import file
from examples.papers.loop import Settings, Task
from spikingtorch import LI, LIF, SpikingNet
from spikingtorch.functional import Arctan
from spikingtorch.losses import per_step_cross_entropy
from spikingtorch.spikeio import events_to_sequence

BINS, BIN = 30, 10_000  # steps of 10 ms


@cache
def _recordings(path: Path, part: str) -> tuple[Tensor, Tensor]:
    """Return counts of events, uint8 (N, T, 2, 34, 34), and the digits that a list names."""
    counts, digits = [], []
    with zipfile.ZipFile(path) as archive:
        for line in archive.read(part).decode().splitlines()[1:]:
            name, digit = line.split()
            raw = np.frombuffer(archive.read(f"{name}.bs2"), np.uint8).reshape(-1, 5).T.astype(np.int64)
            x, y, high, middle, low = torch.from_numpy(raw)
            t = ((high & 127) << 16) | (middle << 8) | low
            sequence = events_to_sequence((t, x, y, high >> 7), BINS, (34, 34, 2), dt=BIN, start=0, clip=True)
            counts.append(sequence.to(torch.uint8))
            digits.append(int(digit))
    return torch.stack(counts), torch.tensor(digits)


def data(_settings: Settings, seed: int) -> tuple[TensorDataset, ...]:
    """Return 900 recordings to train, 100 to choose the epoch, and 100 to test."""
    counts, digits = _recordings(file("nmnist/small.zip"), "train1K.txt")
    order = torch.randperm(len(counts), generator=Generator().manual_seed(seed))
    tenth = len(counts) // 10
    parts = ((counts[kept], digits[kept]) for kept in (order[tenth:], order[:tenth]))
    return tuple(TensorDataset(*part) for part in (*parts, _recordings(file("nmnist/small.zip"), "test100.txt")))


class Shift(nn.Module):
    """Move each sample (N, T, C, H, W) by up to some pixels, in training mode alone."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """Return samples of the same shape; what leaves on one side is lost, and zeros come in on the other."""
        if not self.training or self.most == 0:
            return x
        H, W = x.shape[-2:]
        wide, corners = pad(x, (self.most,) * 4), torch.randint(2 * self.most + 1, (len(x), 2)).tolist()
        return torch.stack([each[..., a : a + H, b : b + W] for each, (a, b) in zip(wide, corners, strict=True)])


def network(settings: Settings) -> nn.Module:
    """Return two convolutions and a linear layer with batch norm, each followed by LIF neurons, and a readout."""
    tau, (first, second) = settings["tau"], settings["channels"]
    step = nn.Sequential(
        nn.Conv2d(2, first, 5, stride=2, bias=False),
        nn.BatchNorm2d(first),
        LIF(tau, surrogate=Arctan()),
        nn.Conv2d(first, second, 3, stride=2, bias=False),
        nn.BatchNorm2d(second),
        LIF(tau, surrogate=Arctan()),
        nn.Flatten(),
        nn.Dropout(settings["dropout"]),
        nn.Linear(second * 7 * 7, 10),
        LI(settings["readout"], norm_input=True),
    )
    return nn.Sequential(Shift(settings["shift"] if settings["variant"] == "shifted" else 0), SpikingNet(step, 10))


def judge(model: nn.Module, batch: list[Tensor], _settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy, the mean over steps; the class is that of the mean membrane."""
    counts, digits = batch
    outputs = model(counts.float())
    return per_step_cross_entropy(outputs, digits), outputs.mean(1).argmax(1) == digits


TASK = Task(data, network, judge)
