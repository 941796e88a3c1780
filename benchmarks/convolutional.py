"""The convolutional network with batch norm and dropout: its layers, its images, and its training in some library.

spikes -> twice (3 x 3 convolution, batch norm, LIF that learns its tau, max pooling, dropout) -> linear readout
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from benchmarks.networks import CLASSES, Stepped, Synapses, chain, digits, poisson, training
from benchmarks.subject import Implementation, Observation, Run, Subject, documented, torch_subject
from benchmarks.suite import CHANNELS_LAST, TRAINING, Array, Case, Size

CHANNELS = (16, 32)
DROPOUT = 0.25
# running statistics in evaluation, about those of the convolutions' outputs: with others the neurons would be silent
MEANS, VARIANCES = (-0.1, 0.1), (0.03, 0.1)


class FixedMask(nn.Module):
    """Dropout with the same mask for all samples and steps, which does not depend on how a network is run."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.mask = nn.functional.dropout(torch.ones(tuple(shape)), DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """Return mask x / (1 - p)."""
        return x * self.mask


class Variant(NamedTuple):
    """What drops, from the shape of a sample; and whether batch norm and dropout are in training."""

    drop: Callable[[Sequence[int]], nn.Module]
    trains: bool = True


MODEL = "convolutional"
# the first one is timed; the others, in which nothing is drawn at random, are compared
CHECKED = NO_DROPOUT, FIXED_MASK, EVALUATION = [
    f"{MODEL}, {name}" for name in ("no dropout", "fixed mask", "evaluation")
]
VARIANTS = {
    MODEL: Variant(lambda _: nn.Dropout(DROPOUT)),
    NO_DROPOUT: Variant(lambda _: nn.Dropout(0.0)),
    FIXED_MASK: Variant(FixedMask),
    EVALUATION: Variant(lambda _: nn.Dropout(DROPOUT), trains=False),
}


class Layers(NamedTuple):
    """What stands in front of each layer of neurons, and what reads the last one."""

    synapses: Synapses
    readout: nn.Module

    @property
    def all(self) -> nn.ModuleList:
        """All of them."""
        return nn.ModuleList([*self.synapses, self.readout])


class Network(NamedTuple):
    """A network of some library, and what it says that it computes.

    u[t] = decay v[t-1] + gain x[t], where a layer of neurons has both from the one constant that it learns.
    """

    run: Run  # from spikes to the readout of each step
    constants: Sequence[Tensor] = ()  # one for each layer of neurons
    leak: Callable[[Any], tuple[Any, Any]] = NotImplemented  # from a constant to decay and gain
    gain: float = 1.0  # over that of LIF(tau); what batch norm puts out is divided by it beforehand
    of_steps: bool = False  # batch norm takes the statistics of each step, and not of batch and time together
    time: int = 0  # the axis of time


Builder = Callable[[Layers], Network]


class ReadOut(Stepped):
    """A network of spikingtorch's kind with a readout."""

    def __init__(self, layers: Layers, neurons: Sequence[nn.Module]) -> None:
        super().__init__(layers.synapses, neurons)
        self.readout = layers.readout

    def forward(self, x: Tensor, init: Any) -> Tensor:
        """Advance one step, or all steps that a folded ``init`` stands for."""
        return self.readout(super().forward(x, init))


def by_layer(layers: Layers, neurons: Sequence[Run]) -> Run:
    """Return a network by layer: the others than neurons see steps and batch, the first two axes, as one."""
    return chain([*layers.synapses, layers.readout], [*neurons, lambda xs: xs])


def _step_by_step(module: nn.Module, T: int) -> Run:
    return lambda xs: torch.cat([module(x) for x in xs.chunk(T)])


def as_documented(build: Builder, T: int) -> Builder:
    """Return the builder of plain loops by layer that compute what a network says that it computes."""

    def build_plain(layers: Layers) -> Network:
        said = build(layers)

        def neurons(constant: Tensor) -> Run:
            def run(xs: Tensor) -> Tensor:
                decay, gain = said.leak(constant)
                return documented(Implementation(run, gain=gain), decay).run(xs)

            return run

        modules: list[Any] = list(layers.all)
        synapses = [_step_by_step(module, T) for module in modules] if said.of_steps else modules
        run = chain(synapses, [*map(neurons, said.constants), lambda xs: xs])
        return said._replace(run=run, time=0)

    return build_plain


def make(size: Size, variant: Variant) -> Layers:
    """Return the layers for images of N pixels, with torch's own initialisation but for the bias of batch norm."""
    side = math.isqrt(size.N)
    C, D = CHANNELS
    conv = functools.partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
    pooled = [[nn.MaxPool2d(2), variant.drop((channels, side // k, side // k))] for channels, k in ((C, 2), (D, 4))]
    first = nn.Sequential(conv(1, C), nn.BatchNorm2d(C))
    second = nn.Sequential(*pooled[0], conv(C, D), nn.BatchNorm2d(D))
    readout = nn.Sequential(*pooled[1], nn.Flatten(), nn.Linear(D * (side // 4) ** 2, CLASSES))
    layers = Layers([first, second], readout)
    for norm in norms(layers):
        nn.init.uniform_(norm.bias, -0.1, 0.1)  # so that it matters in the checks
        if not variant.trains:
            for statistic, limits in zip(statistics_of(norm), (MEANS, VARIANCES), strict=True):
                nn.init.uniform_(statistic, *limits)
    layers.all.train(variant.trains)
    return layers


def norms(layers: Layers) -> list[nn.BatchNorm2d]:
    """Return the batch norms."""
    return [module for module in layers.all.modules() if isinstance(module, nn.BatchNorm2d)]


def statistics_of(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return running mean and variance."""
    return norm.get_buffer("running_mean"), norm.get_buffer("running_var")


def batch(size: Size, k: int) -> tuple[Tensor, Tensor]:
    """Return spikes (T, B, 1, side, side) of the middle of digits, side² = N, and classes (B,)."""
    side = math.isqrt(size.N)
    images, classes = digits(size, k)
    edge = (images.shape[-1] - side) // 2
    middle = images[..., edge : edge + side, edge : edge + side]
    return poisson(middle, size.T, Generator().manual_seed(k)), classes


def subject(case: Case, build: Builder, plain: bool = False) -> Subject:
    """Return a network with its images and its optimizer; or a plain loop that computes what it says that it computes.

    What it computes is its readout; the gradients of the weights as they were before ``gain``, in the same order for
    all libraries; the running statistics; and the gradients of the neurons' constants, of which each library has its
    own.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = make(case.size, VARIANTS[case.model])
    if case.contestant.endswith(CHANNELS_LAST):
        layers.all.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    made = (as_documented(build, case.size.T) if plain else build)(layers)
    scaled = [weight for norm in norms(layers) for weight in (norm.weight, norm.bias)]
    with torch.no_grad():
        for weight in scaled:
            weight.div_(made.gain)
    weights: list[Tensor] = list(layers.all.parameters())
    scales = [1.0 / made.gain if any(weight is each for each in scaled) else 1.0 for weight in weights]
    weights += made.constants
    ours = Implementation(made.run, time=made.time)
    found = torch_subject(ours, [batch(case.size, 0)[0]], weights, inputs_learn=False)

    def observe(kept: Array | None) -> Observation:
        out, gradients = found.observe(kept)
        running = [statistic.numpy().copy() for norm in norms(layers) for statistic in statistics_of(norm)]
        of_weights = [scale * each for scale, each in zip(scales, gradients[: len(scales)], strict=True)]
        return out, [*of_weights, *running, *gradients[len(scales) :]]

    train = training(case, ours, weights, functools.partial(batch, case.size))
    return Subject(found.calls | {TRAINING: train}, observe)
