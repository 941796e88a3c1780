"""The networks of Higuchi et al. (ICML 2024, arXiv:2402.14603): a recurrent layer, read out by leaky integrators."""

from typing import Any

import torch
from torch import Tensor, nn

from examples.papers.loop import Settings
from spikingtorch import ALIF, LI, LIF, BalancedResonateAndFire, ResonateAndFire, SpikingNet
from spikingtorch.functional import DoubleGaussian, Strict

NEURONS: dict[str, Any] = {"brf": BalancedResonateAndFire, "rf": ResonateAndFire, "alif": ALIF, "lif": LIF}


def network(inputs: int, classes: int, settings: Settings) -> SpikingNet:
    """Return a network (N, T, inputs) to membranes (N, T, classes)."""
    M = settings["hidden"]
    learned = {name: drawn(M, *how) for name, how in settings["learned"].items()}
    options: Any = {"surrogate": Strict(DoubleGaussian()), "learnable": tuple(learned), "constrain": "mirror"}
    loop, fixed = nn.Linear(M, M, bias=False), settings.get("fixed", {})
    hidden = NEURONS[settings["neuron"]](recurrent=loop, **learned, **fixed, **options)
    into, read = nn.Linear(inputs, M, bias=False), nn.Linear(M, classes, bias=False)
    taus = drawn(classes, *settings["readout"])
    # the authors draw one matrix for inputs and last spikes, side by side
    both = nn.init.xavier_uniform_(torch.empty(M, inputs + M))
    into.weight.data, loop.weight.data = both[:, :inputs].clone(), both[:, inputs:].clone()
    nn.init.xavier_uniform_(read.weight)
    membranes = LI(taus, learnable="tau", constrain="mirror", norm_input=True)
    steps = settings.get("truncate")  # of a chunk, beyond which no gradient goes
    return SpikingNet(nn.Sequential(into, hidden, read, membranes), classes, time_chunk=steps, truncate=bool(steps))


def drawn(count: int, kind: str, first: float, second: float) -> Tensor:
    """Return numbers that are "uniform" between two bounds, or "normal" with a mean and a deviation."""
    if kind == "uniform":
        return first + (second - first) * torch.rand(count)
    return first + second * torch.randn(count)
