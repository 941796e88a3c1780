"""Exact gradients of long sequences in a small part of the memory, by ``recompute=True``.

Two inputs spike for thousands of steps, and a network learns to say which of them had more spikes. It keeps its states
between chunks of about the square root of T steps, and runs each chunk again for its backward pass. A picture in runs/
shows the memory of one training step, beside that of a network that keeps every step and has the same gradient.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from examples.memory import peak
from examples.pictures import ACCENT, INK, save
from examples.training import positive
from spikingtorch import LIF, SpikingNet

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=positive, default=4000)
parser.add_argument("--batches", type=positive, default=16)
options = parser.parse_args()
torch.manual_seed(0)
nn.init.normal_((first := nn.Linear(2, 128)).weight)
net = nn.Sequential(first, LIF(tau=20.0), nn.Linear(128, 128), LIF(tau=20.0), nn.Linear(128, 2))
whole, lean = SpikingNet(net), SpikingNet(net, time_chunk="auto", recompute=True)
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)


def drawn(steps: int) -> tuple[Tensor, Tensor]:
    """Return the spikes of eight sequences, (8, steps, 2), and which input has more of them."""
    rates = torch.tensor([0.15, 0.25])[torch.rand(8, 1, 2).argsort(2)]
    x = (torch.rand(8, steps, 2) < rates).float()
    return x, x.sum(1).argmax(1)


def backward(model: SpikingNet, x: Tensor, y: Tensor) -> float:
    """Compute the gradients, and return the share of sequences that are read right."""
    cross_entropy(votes := 10.0 * model(x).mean(1), y).backward()
    return float((votes.argmax(1) == y).double().mean())


for batch in range(options.batches):
    right = backward(lean, *drawn(options.steps))
    optimizer.step()
    optimizer.zero_grad()
    print(f"batch {batch + 1}/{options.batches}   training accuracy {right:6.1%}", flush=True)
figure = Figure(figsize=(7, 3.8), layout="constrained")
axes, lengths = figure.subplots(), [options.steps // part for part in (8, 4, 2, 1)]
for model, color, line, label in ((whole, ACCENT, "--", "every step is kept"), (lean, INK, "-", "recompute=True")):
    used = [peak(partial(backward, model, *drawn(steps))) for steps in lengths]
    print(f"{label}: {used[-1]:.1f} MB for {lengths[-1]} steps")
    axes.plot(lengths, used, line, color=color, marker="o", markersize=5, label=f"{label}: {used[-1]:.1f} MB")
axes.set(xlabel="steps of the sequence", ylabel="memory of a training step (MB)", ylim=(0, None), xlim=(0, None))
axes.legend(loc="upper left", frameon=False)
axes.spines[["top", "right"]].set_visible(False)
save(figure, Path("runs/long_sequence.png"))
