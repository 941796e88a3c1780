"""A training step of a network that each side has as a whole: the step, and what of it is compared."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.subject import Subject, descent
from benchmarks.suite import BOTH, TRAINING, Array


class Trained(NamedTuple):
    """A network with its inputs."""

    net: nn.Module  # has the weights
    readout: Callable[[], Tensor]  # what it makes of the inputs
    loss: Callable[[Tensor], Tensor]  # of the readout
    reset: Callable[[], object] = lambda: None  # what a sequence leaves behind


def subject(trained: Trained) -> Subject:
    """Return steps of training: forward, loss, backward, SGD, reset."""
    step = descent(torch.optim.SGD(trained.net.parameters(), lr=1e-4), lambda: trained.loss(trained.readout()))

    def train() -> None:
        step()
        trained.reset()

    return Subject({TRAINING: train, BOTH: train}, NotImplemented)


def observed(trained: Trained) -> list[Array]:
    """Return the readout of a network in training, and the gradients of all weights by its loss."""
    torch.manual_seed(0)  # of dropout
    out = trained.readout()
    # the weights of convolutions and linear layers: a bias in front of batch norm has a gradient of rounding alone
    weights = {name: each for name, each in trained.net.named_parameters() if each.ndim > 1}
    found = torch.autograd.grad(trained.loss(out), [weights[name] for name in sorted(weights)])
    return [each.detach().numpy() for each in (out, *found)]
