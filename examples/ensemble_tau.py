"""Eight networks that differ in their membrane time constant, trained at once by torch.func.vmap.

A dim digit is shown for eight steps, right after another one: a short memory holds too few spikes to tell it, and a
long one mixes it up with the digit before.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Generator, Tensor
from torch.func import grad, vmap
from torch.utils.data import DataLoader, TensorDataset

from examples.data import load
from examples.pictures import ACCENT, save
from examples.training import parse_options
from spikingtorch.functional import (
    LIFState,
    LIState,
    decay_from_tau,
    gain_from_tau,
    li_step,
    lif_step,
    scan,
    zeros_state,
)
from spikingtorch.spikeio import poisson_spikes

Params = dict[str, Tensor]
PICTURE = Path("runs/ensemble_tau/accuracy.png")


def initial_params(members: int) -> Params:
    """Draw the weights, uniform within 2 / sqrt(fan in), and stack the same for every member: only tau differs."""

    def draw(*shape: int) -> Tensor:
        weight = (2 * torch.rand(shape) - 1) * 2 / math.sqrt(shape[-1])
        return weight.repeat(members, 1, 1)

    return {"hidden": draw(64, 784), "readout": draw(10, 64)}


def show(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Return spikes (16, N, 784): eight steps of the batch's neighbouring image, then eight of the image itself."""
    pair = [poisson_spikes(x.flatten(1), nsteps=8, scale=0.1, generator=generator) for x in (images.roll(1, 0), images)]
    return torch.cat(pair, 1).transpose(0, 1)


def network(params: Params, tau: Tensor, spikes: Tensor) -> Tensor:
    """Map input spikes (T, N, 784) to the membranes (N, 10) of a leaky readout after the last step, for one member."""
    leak = {"decay": decay_from_tau(tau), "gain": gain_from_tau(tau)}
    currents = F.linear(spikes, params["hidden"])
    _, hidden = scan(lif_step, zeros_state(LIFState, currents[0]), currents, params=leak)
    votes = F.linear(hidden, params["readout"])
    readout, _ = scan(li_step, zeros_state(LIState, votes[0]), votes, params=leak)
    return readout.v


def loss(params: Params, tau: Tensor, spikes: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of one member."""
    return F.cross_entropy(network(params, tau, spikes), labels)


def accuracies(params: Params, taus: Tensor, data: TensorDataset) -> list[float]:
    """Return each member's share of right answers, all to the same spikes."""
    generator, right = Generator().manual_seed(0), torch.zeros(len(taus))
    for images, labels in DataLoader(data, batch_size=500):
        membranes = vmap(network, in_dims=(0, 0, None))(params, taus, show(images, generator))
        right += (membranes.argmax(-1) == labels).sum(-1)
    shares: list[float] = (right / len(data)).tolist()
    return shares


def draw(taus: list[float], reached: list[float]) -> None:
    """Draw test accuracy against tau."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(taus, [100 * share for share in reached], color=ACCENT, marker="o", markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(taus, [f"{tau:g}" for tau in taus])
    axes.set(xlabel="membrane time constant (steps)", ylabel="test accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, PICTURE)


def main() -> None:
    """Train all members on the command line's options, then show what each has reached."""
    options = parse_options(__doc__)
    torch.manual_seed(0)
    train, test = load(options.dataset)
    taus = 2.0 ** torch.arange(-1, 7)
    params = initial_params(len(taus))
    # Adam treats each weight by itself, so that one optimizer of the stacked weights is one for each member
    optimizer = torch.optim.Adam(params.values(), lr=0.002)
    reached: list[float] = []
    for epoch in range(1, options.epochs + 1):
        for batch, (images, labels) in enumerate(DataLoader(train, batch_size=32, shuffle=True)):
            if batch == options.batches:
                break
            gradients = vmap(grad(loss), in_dims=(0, 0, None, None))(params, taus, show(images), labels)
            for name, weight in params.items():
                weight.grad = gradients[name]
            optimizer.step()
        reached = accuracies(params, taus, test)
        print(f"epoch {epoch:2}/{options.epochs}   test accuracy {min(reached):.1%} to {max(reached):.1%}", flush=True)
    for tau, share in zip(taus.tolist(), reached, strict=True):
        print(f"tau {tau:4g}   test accuracy {share:6.1%}")
    draw(taus.tolist(), reached)
    print(f"The picture is {PICTURE}")


if __name__ == "__main__":
    main()
