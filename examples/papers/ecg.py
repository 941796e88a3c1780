"""Electrocardiograms, a label a step: recurrent networks of Higuchi et al. (ICML 2024, arXiv:2402.14603)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from examples.papers.loop import Settings, Task
from spikingtorch import ALIF, LI, BalancedResonateAndFire, ResonateAndFire, SpikingNet
from spikingtorch.data import QTDB
from spikingtorch.functional import DoubleGaussian, Strict
from spikingtorch.losses import per_step_cross_entropy

INPUTS, CLASSES = 4, 6
NEURONS: dict[str, Any] = {"brf": BalancedResonateAndFire, "rf": ResonateAndFire, "alif": ALIF}


def data(seed: int) -> tuple[TensorDataset, ...]:
    """Return 557 recordings to train, 61 of the training set to choose the epoch, and the 141 of the test set."""
    return QTDB("train", seed=seed), QTDB("validation", seed=seed), QTDB("test")


def network(settings: Settings) -> SpikingNet:
    """Return a recurrent layer of neurons, read out by leaky integrators."""
    M = settings["hidden"]
    drawn = {name: _drawn(M, *how) for name, how in settings["learned"].items()}
    options: Any = {"surrogate": Strict(DoubleGaussian()), "learnable": tuple(drawn), "constrain": "mirror"}
    loop, fixed = nn.Linear(M, M, bias=False), settings.get("fixed", {})
    hidden = NEURONS[settings["neuron"]](recurrent=loop, **drawn, **fixed, **options)
    into, read = nn.Linear(INPUTS, M, bias=False), nn.Linear(M, CLASSES, bias=False)
    taus = _drawn(CLASSES, *settings["readout"])
    # the authors draw one matrix for inputs and last spikes, side by side
    both = nn.init.xavier_uniform_(torch.empty(M, INPUTS + M))
    into.weight.data, loop.weight.data = both[:, :INPUTS].clone(), both[:, INPUTS:].clone()
    nn.init.xavier_uniform_(read.weight)
    membranes = LI(taus, learnable="tau", constrain="mirror", norm_input=True)
    return SpikingNet(nn.Sequential(into, hidden, read, membranes), CLASSES)


def _drawn(count: int, kind: str, first: float, second: float) -> Tensor:
    """Return numbers that are "uniform" between two bounds, or "normal" with a mean and a deviation."""
    if kind == "uniform":
        return first + (second - first) * torch.rand(count)
    return first + second * torch.randn(count)


def loss(outputs: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return the cross-entropy, summed over the steps that count; the first ones may not."""
    skipped = settings.get("skipped", 0)
    each = per_step_cross_entropy(outputs[:, skipped:], labels[:, skipped:])
    return each * float(outputs.shape[1] - skipped)


def hits(outputs: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return, for each step that counts, whether its class is right."""
    return (outputs.argmax(2) == labels)[:, settings.get("skipped", 0) :]


TASK = Task(data, network, loss, hits)
