"""Sinabs: layers with the batch first, one spike a step and reset to zero; their backward pass costs O(T^2)."""

import math
from types import SimpleNamespace
from typing import Any

import torch
from sinabs.activation import MembraneReset, MembraneSubtract, SingleSpike
from sinabs.layers import ALIF, IAF, LIF, ExpLeak, LIFRecurrent
from torch import Tensor, nn

from benchmarks.networks import by_layer
from benchmarks.peers import BesideLIF, Library
from benchmarks.subject import Implementation, Run, from_rest
from benchmarks.suite import DECAY
from benchmarks.tutorials import layer_by_layer

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


def by_steps(layer: Any) -> Run:
    """Return a layer that is called for each step: one call for all of them indexes its input, which costs O(T^2)."""
    return from_rest(layer.reset_states, lambda xs: torch.cat([layer(x) for x in xs.split(1, 1)], 1))


def network_over_time(net: nn.Sequential) -> Run:
    """Return a network whose layers take all steps in one call, as those called "squeeze" do."""
    return layer_by_layer(net, lambda layer: from_rest(layer.reset_states, layer))


MODULE = SimpleNamespace(
    ALIF=ALIF, IAF=IAF, LIF=LIF, ExpLeak=ExpLeak, SingleSpike=SingleSpike, MembraneSubtract=MembraneSubtract
)
BESIDE_LIF = BesideLIF(MODULE, by_steps, time=1)
LIBRARY = Library({NAME: lif}, {NAME: recurrent}, {NAME: by_layer(lif)}, beside_lif=BESIDE_LIF)
