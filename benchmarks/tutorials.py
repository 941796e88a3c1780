"""Networks of the tutorials and examples of snnTorch, Norse and Sinabs, beside the same of ``spikingtorch.like``.

A network is written once, from the module that has the neurons: the library, or its ``like``. So both sides have the
same layers, and ours takes over the weights. Input and loss are the same as well: random images or spikes in place of
the data sets, and the loss in a few lines of torch in place of the library's own.
"""

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.subject import Run, Trained
from benchmarks.suite import OURS, Case, Size

# the library's network as its examples run it; and all steps through a layer, then all through the next one
FORMS = THEIRS, BY_LAYER = "theirs", "theirs, by layer"
CLASSES = 10
# whom ours is compared with, at which size and in which arithmetic: two of the libraries round spikes to float32
REFERENCE, CHECKED, CHECKED_IN = THEIRS, Size(T=12, B=3, N=0), torch.float32

# from outputs, classes and the axis of time
Loss = Callable[[Tensor, Tensor, int], Tensor]


class Network(NamedTuple):
    """A network of a library."""

    peer: str
    shape: tuple[int, ...]  # of the input of a sample at a step
    layers: Callable[[Any], nn.Module]  # from the module with the neurons
    loss: Loss
    gain: float  # on the weights, with which all layers fire
    rate: float | None = None  # of the spikes that come in; None for an image that is the same at each step


def of_each_step(out: Tensor, classes: Tensor, time: int) -> Tensor:
    """Return the cross entropy of all steps."""
    out = out.movedim(time, 0)
    return cross_entropy(out.flatten(0, 1), classes.repeat(len(out)))


def of_counts(out: Tensor, classes: Tensor, time: int) -> Tensor:
    """Return the cross entropy of sums over time."""
    return cross_entropy(out.sum(time), classes)


def of_rates(out: Tensor, classes: Tensor, time: int) -> Tensor:
    """Return the squared error of rates: 0.8 for the class, 0.2 for the others."""
    wanted = 0.2 + 0.6 * nn.functional.one_hot(classes, CLASSES)
    return (out.mean(time) - wanted).square().mean()


def of_largest(out: Tensor, classes: Tensor, time: int) -> Tensor:
    """Return the cross entropy of the largest membranes."""
    return cross_entropy(out.amax(time), classes)


def _dense(m: Any) -> nn.Sequential:
    return nn.Sequential(nn.Linear(784, 1000), m.Leaky(beta=0.95), nn.Linear(1000, CLASSES), m.Membranes(beta=0.95))


def _convolutional(m: Any, ins: int = 1, outs: int = 64, side: int = 4) -> nn.Sequential:
    def neurons() -> nn.Module:
        return m.Leaky(beta=0.5, spike_grad=m.fast_sigmoid(25))

    return nn.Sequential(
        *(nn.Conv2d(ins, 12, 5), nn.MaxPool2d(2), neurons(), nn.Conv2d(12, outs, 5), nn.MaxPool2d(2), neurons()),
        *(nn.Flatten(), nn.Linear(outs * side * side, CLASSES), neurons()),
    )


def _memory(m: Any) -> nn.Sequential:
    return nn.Sequential(m.LSNNRecurrentCell(40, 20), nn.Linear(20, 2), m.LICell())


def _convnet(m: Any) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), m.LIFCell(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), m.LIFCell(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), m.LIFCell(), nn.Linear(500, CLASSES, bias=False), m.LICell()),
    )


def _recorded(m: Any) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(2, 8, 3, bias=False), m.IAF(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 16, 3, bias=False), m.IAF(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 7 * 7, CLASSES, bias=False), m.IAF()),
    )


NETWORKS = {
    "snnTorch, tutorial 5": Network("snntorch", (784,), _dense, of_each_step, 3.0),
    "snnTorch, tutorial 6": Network("snntorch", (1, 28, 28), _convolutional, of_each_step, 4.0),
    "snnTorch, tutorial 7": Network("snntorch", (2, 34, 34), lambda m: _convolutional(m, 2, 32, 5), of_rates, 4.0, 0.1),
    "Norse, memory task": Network("norse", (40,), _memory, of_largest, 3.0, 0.3),
    "Norse, ConvNet": Network("norse", (1, 28, 28), _convnet, of_largest, 12.0, 0.3),
    "Sinabs, N-MNIST": Network("sinabs", (2, 34, 34), _recorded, of_counts, 3.0, 0.1),
}


class _Membranes(nn.Module):
    """Our ``Leaky`` that gives out its membrane."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.leaky = importlib.import_module("spikingtorch.like.snntorch").Leaky(returns=("spikes", "v"), **options)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.leaky(x, init)[1]


def layer_by_layer(net: nn.Sequential, over_time: Callable[[Any], Run]) -> Run:
    """Return a network by layer: what is torch's own sees steps and batch, the first two axes, as one."""

    def merged(layer: nn.Module) -> Run:
        return lambda xs: layer(xs.flatten(0, 1)).unflatten(0, xs.shape[:2])

    runs = [merged(each) if type(each).__module__.startswith("torch.") else over_time(each) for each in net]

    def run(xs: Tensor) -> Tensor:
        for each in runs:
            xs = each(xs)
        return xs

    return run


def built(network: Network, ours: bool) -> Any:
    """Return a network with random weights, the same for all contestants."""
    peer = importlib.import_module(f"benchmarks.peers.{network.peer}")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = network.layers(peer.BESIDE_LIF.module)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.mul_(network.gain if weight.ndim > 1 else 1.0)
    if not ours:
        return theirs
    alike = importlib.import_module(f"spikingtorch.like.{network.peer}")
    own = network.layers(SimpleNamespace(**{"Membranes": _Membranes, **vars(alike)}))
    with torch.no_grad():
        for name, weight in own.named_parameters():
            weight.copy_(theirs.get_parameter(name))
    return own


def made(model: str, contestant: str) -> tuple[nn.Module, Run, int]:
    """Return a network, how it runs, and its axis of time."""
    peer: Any = importlib.import_module(f"benchmarks.peers.{NETWORKS[model].peer}")
    _, over_time, time = peer.BESIDE_LIF
    net = built(NETWORKS[model], contestant == OURS)
    if contestant != OURS:
        run = peer.network_over_time(net) if contestant == THEIRS else layer_by_layer(net, over_time)
        return net, run, time
    from spikingtorch import SpikingNet

    return net, SpikingNet(net, batch_first=time == 1), time


def inputs(network: Network, size: Size, generator: torch.Generator) -> Tensor:
    """Return the images or spikes that go into a network, (T, B, ...)."""
    T, B = size[:2]
    if network.rate is None:
        return torch.rand(B, *network.shape, generator=generator).expand(T, B, *network.shape)
    return (torch.rand(T, B, *network.shape, generator=generator) < network.rate).float()


def trained(case: Case, _: torch.dtype = torch.float32) -> Trained:
    """Return a network of a case with its inputs and its loss."""
    network = NETWORKS[case.model]
    net, run, time = made(case.model, case.contestant)
    generator = torch.Generator().manual_seed(1)
    xs = inputs(network, case.size, generator).movedim(0, time).contiguous()
    outcomes = 2 if case.model == "Norse, memory task" else CLASSES
    classes = torch.randint(outcomes, (case.size.B,), generator=generator)
    return Trained(net, lambda: run(xs), lambda out: network.loss(out, classes, time))
