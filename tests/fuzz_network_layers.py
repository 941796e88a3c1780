"""Spiking layers for the fuzzer of networks: every kind of the library, and steps that a user could have written."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import spikingtorch
from spikingtorch import StepLayer
from spikingtorch import functional as F
from tests import fuzz_network_own_layers as own
from tests.fuzz_network_own_layers import Own

# a surrogate and a reset rule; few, because each neuron and pair of them is a kernel to compile
STYLES: dict[str, tuple[F.Surrogate, F.Reset]] = {
    "plain": (F.Sigmoid(4.0), F.to_zero),
    "subtracting": (F.Arctan(), F.by_subtraction),
    "leaving": (F.FastSigmoid(3.0), F.none),
    "detached": (F.Gaussian(), F.detached(F.to_zero)),
}
FORMS = ("float", "learned", "learned per channel", "buffer")
# how near to the threshold rounding may decide over a spike
NEAR = 1e-9
# distances from the threshold, of a reference that runs step by step
MARGINS: list[float] = []


class Ingredients(NamedTuple):
    """What a layer is made of: values around a centre, what every layer takes, what fires, and what resets as well."""

    value: Callable[[float], Any]
    surrogate: F.Surrogate
    recurrent: dict[str, Any]
    fires: dict[str, Any]
    resets: dict[str, Any]


MAKERS: dict[str, Callable[[Ingredients], StepLayer]] = {
    "LIF": lambda given: spikingtorch.LIF(given.value(4.0), given.value(0.37), **given.resets),
    "IF": lambda given: spikingtorch.IF(given.value(0.37), **given.resets),
    "CoarseLIF": lambda given: spikingtorch.CoarseLIF(given.value(4.0), given.value(0.37), **given.fires),
    "LI": lambda given: spikingtorch.LI(given.value(4.0), **given.recurrent),
    "SpikingDecay": lambda given: spikingtorch.SpikingDecay(given.value(1.7), given.value(0.37), **given.resets),
    "McPitts": lambda given: spikingtorch.McPitts(given.value(0.37), **given.fires),
    "BioLIF": lambda given: spikingtorch.BioLIF(0.5, given.value(0.2), **given.resets),
    "Adaptive": lambda given: Own(own.adaptive_step, own.Adaptive, decay=given.value(0.8), **given.fires),
    "Pausing": lambda given: Own(own.pausing_step, own.Pausing, threshold=given.value(0.37), **given.fires),
    "Fired": lambda given: Own(own.fired_step, own.Fired, threshold=given.value(0.37), **given.fires),
    "Last": lambda given: Own(own.difference_step, own.Last, share=given.value(0.5), **given.recurrent),
    "Raised": lambda given: own.Raised(given.value(4.0), given.value(0.37), **given.resets),
    "Parametric": lambda given: own.Parametric(given.value(4.0), given.value(0.37), **given.resets),
    "Sloped": lambda given: Own(own.adaptive_step, own.Adaptive, decay=0.8, surrogate=own.Slope(), **given.recurrent),
    "Lateral": lambda given: Own(own.lateral_step, F.LIFState, threshold=given.value(0.37), **given.fires),
    "Pair": lambda given: Own(own.pair_step, F.LIFState, threshold=given.value(0.37), surrogate=given.surrogate),
    "Gained": lambda given: Own(own.Gained(), F.LIFState, threshold=given.value(0.37), **given.fires),
    "Noisy": lambda given: own.Noisy(given.value(4.0), given.value(0.37), **given.resets),
}
# a noisy one is no kind to draw: it must make its network step, or draw as often as the steps do
KINDS = tuple(kind for kind in MAKERS if kind != "Noisy")


class Neuron(NamedTuple):
    """A spiking layer.

    Attributes:
        kind: one of MAKERS.
        style: one of STYLES.
        form: one of FORMS, of its parameters.
        recurrent: "none", "dense" (a convolution for images) or "per channel".
    """

    kind: str
    style: str = "plain"
    form: str = "float"
    recurrent: str = "none"


def layer_of(neuron: Neuron, shape: tuple[int, ...]) -> StepLayer:
    """Return a layer for samples of a shape."""
    surrogate, reset = STYLES[neuron.style]
    recurrent = {"recurrent": _weights(neuron.recurrent, shape)}
    fires = recurrent | {"surrogate": surrogate}
    value = partial(_value, form=neuron.form, shape=shape)
    layer = MAKERS[neuron.kind](Ingredients(value, surrogate, recurrent, fires, fires | {"reset": reset}))
    if isinstance(layer, spikingtorch.BioLIF):
        layer.track_act = neuron.form != "float"
    return layer


def _value(centre: float, form: str, shape: tuple[int, ...]) -> Any:
    if form == "float":
        return centre
    channels = torch.linspace(0.8, 1.3, shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    value = centre * (torch.tensor(1.0) if form == "learned" else channels)
    return value if form == "buffer" else nn.Parameter(value)


def _weights(kind: str, shape: tuple[int, ...]) -> Any:
    C = shape[0]
    if kind == "none":
        return None
    if kind == "per channel":
        return torch.linspace(-0.6, 0.4, C).reshape(C, *(1,) * (len(shape) - 1))
    if len(shape) == 1:
        return nn.Linear(C, C, bias=False)
    return (nn.Conv1d if len(shape) == 2 else nn.Conv2d)(C, C, 3, padding="same", bias=False)


def _note(u: Tensor) -> None:
    # inside a transform, nobody may look
    if u.numel() and not torch._C._are_functorch_transforms_active():
        MARGINS.append(float(u.detach().abs().min()))


class Measured(NamedTuple):
    """A surrogate that notes how near a membrane came to the threshold."""

    inner: Any

    def __call__(self, u: Tensor) -> Tensor:
        _note(u)
        out: Tensor = self.inner(u)
        return out


def _before(_module: nn.Module, inputs: tuple[Tensor]) -> None:
    _note(*inputs)


def measure(net: nn.Module) -> None:
    """Have all layers of a network that runs step by step note their margins."""
    for layer in net.modules():
        if isinstance(layer, own.Slope) and not layer._forward_pre_hooks:
            layer.register_forward_pre_hook(_before)
        surrogate = getattr(layer, "surrogate", None)
        if isinstance(layer, StepLayer) and surrogate is not None and not isinstance(surrogate, Measured | nn.Module):
            layer.surrogate = Measured(copy.deepcopy(surrogate))
