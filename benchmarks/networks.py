"""The networks: their synapses, the spikes that go into them, and a network of some library with its optimizer."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from benchmarks.subject import Call, Implementation, Run, Subject, documented, laid_out, torch_subject
from benchmarks.suite import CHANNELS_LAST, DECAY, TRAINING, Case, Size
from examples.data import load

# what stands in front of each layer of neurons: a convolution, a linear layer, a pool before one of them
Synapses = Sequence[nn.Module]
# from synapses, and the decay of the neurons
Builder = Callable[[Synapses, float], Implementation]

CLASSES = 10
# the deep network on digits: the inputs of its layers are as sparse as data make them, and noise does not
DEEP_DIGITS = "deep, digits"
_load = functools.cache(load)


def _tutorial(_: int) -> Synapses:
    readout = nn.Sequential(nn.Flatten(), nn.Linear(600, CLASSES, bias=False))
    return [nn.Conv2d(1, 4, 4, stride=2), nn.Conv2d(4, 6, 4), readout]


def _vgg(_: int) -> Synapses:
    conv = functools.partial(nn.Conv2d, kernel_size=3, padding=1)
    pooled = [nn.Sequential(nn.MaxPool2d(2), conv(C, 2 * C)) for C in (64, 128)]
    readout = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, CLASSES))
    return [conv(3, 64), conv(64, 64), pooled[0], conv(128, 128), pooled[1], readout]


def digits(size: Size, k: int) -> tuple[Tensor, Tensor]:
    """Return the images (B, 1, 28, 28) of a batch of digits, and their classes (B,)."""
    images, classes = _load("digits")[0].tensors
    chosen = torch.arange(k * size.B, (k + 1) * size.B) % len(images)
    return images[chosen], classes[chosen]


def poisson(rates: Tensor, T: int, generator: Generator) -> Tensor:
    """Return spikes (T, ...) of neurons with rates (...)."""
    return torch.stack([torch.bernoulli(rates, generator=generator) for _ in range(T)])


def batch(model: str, size: Size, k: int) -> tuple[Tensor, Tensor]:
    """Return spikes (T, B, ...) in Poisson coding, and classes (B,)."""
    generator = Generator(torch.get_default_device()).manual_seed(k)
    if model == "digits":
        rates, classes = digits(size, k)
    elif model == DEEP_DIGITS:
        images, classes = digits(size, k)
        side = math.isqrt(size.N // 3)
        scaled = nn.functional.interpolate(images, (side, side), mode="bilinear").expand(-1, 3, -1, -1)
        rates = scaled.clamp(0.0, 1.0)
    elif model == "linear":
        rates = torch.full((size.B, size.N), 0.05)
        classes = torch.randint(size.N, (size.B,), generator=generator)
    else:
        side = math.isqrt(size.N // 3)
        rates = torch.rand(size.B, 3, side, side, generator=generator)
        classes = torch.randint(CLASSES, (size.B,), generator=generator)
    return poisson(rates, size.T, generator), classes


# synapses, with torch's own initialisation; a gain on their weights, with which the neurons of every layer spike in 4 %
# to 21 % of the steps; and the decay of the neurons, one for integrate-and-fire
ARCHITECTURES: dict[str, tuple[Callable[[int], Synapses], float, float]] = {
    "digits": (_tutorial, 3.0, 1.0),
    "linear": (lambda N: [nn.Linear(N, N, bias=False)], 4.0, DECAY),
    "deep": (_vgg, 3.0, DECAY),
    DEEP_DIGITS: (_vgg, 3.0, DECAY),
}


class Stepped(nn.Module):
    """A network of spikingtorch's kind: ``forward`` takes one step, and ``init`` goes to each layer of neurons."""

    def __init__(self, synapses: Iterable[nn.Module], neurons: Iterable[nn.Module]) -> None:
        super().__init__()
        self.synapses = nn.ModuleList(synapses)
        self.neurons = nn.ModuleList(neurons)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        """Advance one step, or all steps that a folded ``init`` stands for."""
        for synapse, neurons in zip(self.synapses, self.neurons, strict=True):
            x = neurons(synapse(x), init)
        return x


def chain(synapses: Sequence[Run], neurons: Sequence[Run]) -> Run:
    """Return a network by layer: the synapses see steps and batch, the first two axes, as one."""

    def run(xs: Tensor) -> Tensor:
        for synapse, over_time in zip(synapses, neurons, strict=True):
            xs = over_time(synapse(xs.flatten(0, 1)).unflatten(0, xs.shape[:2]))
        return xs

    return run


def by_layer(neuron: Callable[[float], Implementation]) -> Builder:
    """Return the builder of networks by layer: all steps through a layer, then all steps through the next one."""

    def build(synapses: Synapses, decay: float) -> Implementation:
        neurons = [neuron(decay) for _ in synapses]
        return neurons[0]._replace(run=chain(synapses, [each.run for each in neurons]))

    return build


def as_documented(build: Builder) -> Builder:
    """Return the builder of plain loops by layer that compute what a network's neurons say that they compute."""
    return lambda synapses, decay: by_layer(lambda _: documented(build(synapses, decay), decay))(synapses, decay)


def network_subject(case: Case, build: Builder) -> Subject:
    """Return a network whose weights are divided by the gain of its neurons, with its inputs and its optimizer."""
    make, gain, decay = ARCHITECTURES[case.model]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        synapses = make(case.size.N)
    layers = nn.ModuleList(synapses)
    if case.contestant.endswith(CHANNELS_LAST):
        layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    made = build(synapses, decay)
    weights = list(layers.parameters())
    with torch.no_grad():
        for weight in weights:
            weight.mul_(gain / made.gain)
    batches = functools.partial(batch, case.model, case.size)
    found = torch_subject(made, [batches(0)[0]], weights, inputs_learn=False)
    return found._replace(calls=found.calls | {TRAINING: training(case, made, weights, batches)})


def training(
    case: Case, made: Implementation, weights: Sequence[Tensor], batches: Callable[[int], tuple[Tensor, Tensor]]
) -> Call:
    """Return steps of training: forward, cross entropy of the centred counts, or sums of a readout, backward, Adam."""
    optimizer = torch.optim.Adam(weights, lr=0.005)

    @functools.cache
    def ready(k: int) -> tuple[Tensor, Tensor]:
        spikes, classes = batches(k)
        return laid_out(spikes, made.time), classes

    def train() -> None:
        for spikes, classes in map(ready, range(case.batches)):
            optimizer.zero_grad()
            counts = made.run(spikes).sum(made.time) - case.size.T / 2
            nn.functional.cross_entropy(counts, classes).backward()
            optimizer.step()

    return train
