"""Sinabs: layers with the batch first, one spike a step and reset to zero; their backward pass costs O(T^2)."""

import math
from typing import Any

import torch
from sinabs.activation import MembraneReset, SingleSpike
from sinabs.layers import LIF, LIFRecurrent
from torch import Tensor, nn

from benchmarks.networks import by_layer
from benchmarks.peers import Library
from benchmarks.subject import Implementation, from_rest
from benchmarks.suite import DECAY

NAME = "sinabs"
SETTINGS: dict[str, Any] = {"spike_fn": SingleSpike, "reset_fn": MembraneReset(), "norm_input": False}


def primitive(u: Tensor) -> Tensor:
    """Return the function whose derivative is the surrogate, exp(-|u| / width) / width with width 1/2."""
    # u.sign() would have no derivative at zero
    side = torch.where(u >= 0, 1.0, -1.0)
    return side * (1.0 - torch.exp(-2.0 * side * u))


def over_time(layer: Any, weight: Tensor | None = None) -> Implementation:
    """Return a layer over time; the gradient of its time constant is not computed, as nobody else computes it here."""
    layer.tau_mem.requires_grad_(False)
    return Implementation(from_rest(layer.reset_states, layer), primitive, time=1, detached=True, weight=weight)


def lif(decay: float) -> Implementation:
    """Return ``LIF``."""
    return over_time(LIF(tau_mem=-1.0 / math.log(decay), **SETTINGS))


def recurrent(weight: Tensor) -> Implementation:
    """Return ``LIFRecurrent``."""
    linear = nn.Linear(len(weight), len(weight), bias=False)
    linear.weight = nn.Parameter(weight.clone())
    return over_time(LIFRecurrent(tau_mem=-1.0 / math.log(DECAY), rec_connect=linear, **SETTINGS), linear.weight)


LIBRARY = Library({NAME: lif}, {NAME: recurrent}, {NAME: by_layer(lif)})
