"""SpikingJelly in multi-step mode, which runs a registered operator with a backward pass of its own."""

from types import SimpleNamespace
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn.functional import linear

from benchmarks.convolutional import Layers, Network
from benchmarks.networks import Synapses
from benchmarks.peers import BesideLIF, Library
from benchmarks.subject import Implementation, Run, from_rest
from benchmarks.suite import BETA, DECAY, TAU, THRESHOLD

NAME = "spikingjelly"
SETTINGS = {"v_threshold": THRESHOLD, "v_reset": 0.0, "detach_reset": False}


def node(decay: float, step_mode: str = "m") -> Any:
    """Return ``LIFNode`` or ``IFNode``, multi-step, or single-step with "s"."""
    settings = {**SETTINGS, "step_mode": step_mode, "surrogate_function": surrogate.Sigmoid(alpha=BETA)}
    if decay == 1.0:
        return neuron.IFNode(**settings)
    # without decay of the input: v - v / tau + x
    return neuron.LIFNode(tau=1.0 / (1.0 - decay), decay_input=False, **settings)


def over_time(module: Any, weight: Tensor | None = None) -> Implementation:
    """Return a module over time."""
    return Implementation(from_rest(lambda: functional.reset_net(module), module), weight=weight)


def recurrent(weight: Tensor) -> Implementation:
    """Return ``ElementWiseRecurrentContainer`` with a product; ``LinearRecurrentContainer`` takes 15 % longer."""
    weight, inner = weight.clone().requires_grad_(), node(DECAY, step_mode="s")
    container = layer.ElementWiseRecurrentContainer(inner, lambda y, x: x + linear(y, weight), step_mode="m")
    return over_time(container, weight)


def network(synapses: Synapses, decay: float) -> Implementation:
    """Return the multi-step form; the container does what ``layer.Conv2d(step_mode="m")`` does."""
    pairs = [(layer.SeqToANNContainer(synapse), node(decay)) for synapse in synapses]
    return over_time(nn.Sequential(*[module for pair in pairs for module in pair]))


def convolutional(layers: Layers) -> Network:
    """Return the multi-step form with ``ParametricLIFNode``, u[t] = (1 - r) v[t-1] + r x[t], r = sigmoid(w)."""
    settings = {**SETTINGS, "step_mode": "m", "surrogate_function": surrogate.Sigmoid(alpha=BETA)}
    neurons = [neuron.ParametricLIFNode(init_tau=1.0 / (1.0 - DECAY), **settings) for _ in layers.synapses]
    pairs = zip(map(layer.SeqToANNContainer, layers.synapses), neurons, strict=True)
    net = nn.Sequential(*[module for pair in pairs for module in pair], layer.SeqToANNContainer(layers.readout))
    # LIF(tau) has the gain tau r
    return Network(over_time(net).run, [each.w for each in neurons], leak, gain=1.0 / TAU)


def leak(w: Tensor) -> tuple[Tensor, Tensor]:
    """Return the decay and the gain of ``ParametricLIFNode``, from its parameter."""
    r = w.sigmoid()
    return 1.0 - r, r


def beside_over_time(node: Any) -> Run:
    """Return a node in multi-step mode, or in a loop of its steps where the class of its step has no such operator.

    The mode would index the input at each step, which costs O(T^2); and that of LIAFNode is LIFNode's: it gives spikes.
    """
    own = next(vars(kind) for kind in type(node).__mro__ if "single_step_functional_forward" in vars(kind))
    if "multi_step_functional_forward" in own:
        node.step_mode = "m"
        return from_rest(node.reset, node)
    return from_rest(node.reset, lambda xs: torch.stack([node(x) for x in xs.unbind(0)]))


def stream(node: Any) -> Run:
    """Return a node that goes on from the step before, without its graph."""

    def step(x: Tensor) -> Tensor:
        out: Tensor = node(x)
        if torch.is_grad_enabled():
            functional.detach_net(node)
        return out

    return step


BESIDE_LIF = BesideLIF(
    SimpleNamespace(**{**vars(neuron), "SynapseFilter": layer.SynapseFilter, "Delay": layer.Delay}), beside_over_time
)
LIBRARY = Library(
    {NAME: lambda decay: over_time(node(decay))}, {NAME: recurrent}, {NAME: network}, {NAME: convolutional}, BESIDE_LIF
)
