"""snnTorch: neurons that hold their own state, in a loop, 15 % faster than with the state handed through."""

import importlib
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from benchmarks.networks import Synapses, by_layer
from benchmarks.peers import BesideLIF, Library
from benchmarks.subject import Implementation, Run, from_rest
from benchmarks.suite import BETA, DECAY, THRESHOLD

NAME = "snntorch"
# by name, because a type checker that does not find the library takes this file for it
snn: Any = importlib.import_module(NAME)
utils: Any = importlib.import_module(f"{NAME}.utils")
SETTINGS: dict[str, Any] = {"threshold": THRESHOLD, "reset_mechanism": "zero", "init_hidden": True}
# its sigmoid is slower, and NaN where exp overflows
SETTINGS["spike_grad"] = snn.surrogate.fast_sigmoid(slope=BETA)


def stacked(net: nn.Module) -> Run:
    """Return the loop over steps."""
    return lambda xs: torch.stack([net(x) for x in xs.unbind(0)])


def network_over_time(net: nn.Sequential) -> Run:
    """Return a network in a loop over steps."""
    return from_rest(lambda: utils.reset(net), stacked(net))


def stream(net: nn.Sequential) -> Run:
    """Return a network that goes on from the step before, without its graph."""
    neurons = [each for each in net if isinstance(each, snn.Leaky)]

    def step(x: Tensor) -> Tensor:
        out: Tensor = net(x)
        for each in neurons if torch.is_grad_enabled() else ():
            each.mem = each.mem.detach()
        return out

    return step


class Membranes(snn.Leaky):  # type: ignore[misc]
    """``Leaky`` that gives out its membrane."""

    def __init__(self, **options: Any) -> None:
        super().__init__(init_hidden=True, output=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        """Advance one step."""
        return super().forward(x)[1]


def said(run: Run, weight: Tensor | None = None) -> Implementation:
    """Return what a run computes; no gradient flows through the reset of ``Leaky``."""
    return Implementation(run, lambda u: u / (1.0 + BETA * u.abs()), detached=True, weight=weight)


def leaky(decay: float) -> Implementation:
    """Return ``Leaky``."""
    neuron = snn.Leaky(beta=decay, **SETTINGS)
    return said(from_rest(neuron.reset_mem, stacked(neuron)))


def rleaky(weight: Tensor) -> Implementation:
    """Return ``RLeaky``, which computes the product twice; with a delay, a reset would take the next input with it."""
    neuron = snn.RLeaky(beta=DECAY, reset_delay=False, linear_features=len(weight), **SETTINGS)
    neuron.recurrent = nn.Linear(len(weight), len(weight), bias=False)
    neuron.recurrent.weight = nn.Parameter(weight.clone())
    return said(from_rest(neuron.reset_mem, stacked(neuron)), neuron.recurrent.weight)._replace(detached=False)


def recurrent_leaky(weight: Tensor) -> Implementation:
    """Return ``Leaky`` with a product of matrices around it."""
    neuron, own = snn.Leaky(beta=DECAY, **SETTINGS), weight.clone().requires_grad_()

    def run(xs: Tensor) -> Tensor:
        spikes = [torch.zeros_like(xs[0])]
        for x in xs.unbind(0):
            spikes.append(neuron(x + linear(spikes[-1], own)))
        return torch.stack(spikes[1:])

    return said(from_rest(neuron.reset_mem, run), own)


def network(synapses: Synapses, decay: float) -> Implementation:
    """Return a sequence of modules in a loop over steps."""
    net = nn.Sequential(*[m for synapse in synapses for m in (synapse, snn.Leaky(beta=decay, **SETTINGS))])
    return said(network_over_time(net))


NETWORKS = {NAME: network, f"{NAME}, by layer": by_layer(leaky)}
KINDS = {kind: partial(getattr(snn, kind), init_hidden=True) for kind in ("Leaky", "Lapicque", "Synaptic", "Alpha")}
BESIDE_LIF = BesideLIF(
    SimpleNamespace(fast_sigmoid=snn.surrogate.fast_sigmoid, SSO=snn.surrogate.SSO, Membranes=Membranes, **KINDS),
    lambda neuron: from_rest(neuron.reset_mem, stacked(neuron)),
)
LIBRARY = Library({NAME: leaky}, {NAME: rleaky, f"{NAME}, Leaky": recurrent_leaky}, NETWORKS, beside_lif=BESIDE_LIF)
