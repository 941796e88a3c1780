"""The tutorial's network without a module: a dict of weights, scan over time and torch.func.grad."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from examples.data import load
from examples.training import parse_options
from spikingtorch.functional import IFState, if_step, scan, zeros_state
from spikingtorch.spikeio import poisson_spikes

Params = dict[str, Tensor]


def initial_params() -> Params:
    """Draw the weights, uniform within 1 / sqrt(fan in)."""

    def draw(*shape: int) -> Tensor:
        return (2 * torch.rand(shape) - 1) / math.sqrt(math.prod(shape[1:]))

    return {"conv1": draw(4, 1, 4, 4), "conv2": draw(6, 4, 4, 4), "l1": draw(10, 600)}


def fire(currents: Tensor) -> Tensor:
    """Return the spikes of integrate-and-fire neurons driven by currents (T, N, ...)."""
    return scan(if_step, zeros_state(IFState, currents[0]), currents)[1]


def network(params: Params, spikes: Tensor) -> Tensor:
    """Map input spikes (T, N, 1, 28, 28) to output spikes (T, N, 10); time is part of the batch between the neurons."""
    time = spikes.shape[:2]
    s1 = fire(F.conv2d(spikes.flatten(0, 1), params["conv1"], stride=2).unflatten(0, time))
    s2 = fire(F.conv2d(s1.flatten(0, 1), params["conv2"]).unflatten(0, time))
    return fire(F.linear(s2.flatten(2), params["l1"]))


def loss(params: Params, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross entropy and the spike counts that it compares with the labels."""
    counts = network(params, poisson_spikes(images, nsteps=8).transpose(0, 1)).sum(0)
    return F.cross_entropy(counts, labels), counts


def main() -> None:
    """Train by gradient descent with momentum on the command line's options."""
    options = parse_options(__doc__)
    torch.manual_seed(0)
    train, test = load(options.dataset)
    params = initial_params()
    speed = {name: torch.zeros_like(weight) for name, weight in params.items()}
    for epoch in range(1, options.epochs + 1):
        for batch, (images, labels) in enumerate(DataLoader(train, batch_size=32, shuffle=True)):
            if batch == options.batches:
                break
            gradients, _ = torch.func.grad(loss, has_aux=True)(params, images, labels)
            speed = {name: 0.9 * speed[name] + gradients[name] for name in params}
            params = {name: params[name] - 0.02 * speed[name] for name in params}
        images, labels = test.tensors
        with torch.no_grad():
            _, counts = loss(params, images, labels)
        right = (counts.argmax(1) == labels).float().mean()
        print(f"epoch {epoch:2}/{options.epochs}   test accuracy {right:6.1%}", flush=True)


if __name__ == "__main__":
    main()
