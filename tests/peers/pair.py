"""Pair: a neuron of another library, and the layer of ours that is to equal it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch import StepLayer
from spikingtorch.functional.surrogate import Arctan


class Theirs(NamedTuple):
    """A neuron of another library.

    Attributes:
        run: from inputs (T, N, ...) to outputs (T, N, ...), and the final state by the fields of ours.
        parameters: tensors that are trained, by the attributes of ours, "recurrent.weight" for instance.
        module: the neuron, if it has a state dict that ours loads.
    """

    run: Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]
    parameters: Mapping[str, Tensor] = {}
    module: nn.Module | None = None


class Pair(NamedTuple):
    """Two neurons that are to be equal, both made in the default dtype.

    Attributes:
        name: of the neuron and its options, with the library first.
        ours: makes the layer.
        theirs: makes the neuron of the other library.
        mean: of the inputs, which are normal.
        deviation: their standard deviation.
        spikes: whether the output is one of spikes.
        shape: of one sample at one step.
        exact: whether all sums are in their order, so that membranes are identical as well.
    """

    name: str
    ours: Callable[[], StepLayer]
    theirs: Callable[[], Theirs]
    mean: float = 0.3
    deviation: float = 0.6
    spikes: bool = True
    shape: tuple[int, ...] = (8,)
    exact: bool = True


def value(number: float, learns: bool = False) -> Tensor:
    """Return a number as a tensor of the default dtype."""
    return torch.tensor(number, requires_grad=learns)


def is_exact() -> bool:
    """Say whether the default dtype is float64, in which spike functions that round to float32 are replaced."""
    return torch.get_default_dtype() == torch.float64


class _Above(torch.autograd.Function):
    """H(u) with H(0) = 0 in the dtype of u, and the derivative of a surrogate."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, primitive: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(u)
        ctx.primitive = primitive
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        with torch.enable_grad():
            at = u.detach().requires_grad_()
            (slope,) = torch.autograd.grad(ctx.primitive(at).sum(), at)
        return gradients[0] * slope, None


def spike_in_dtype(primitive: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a spike of snnTorch without its rounding to float32; its surrogate is the derivative of a function."""

    def spike(u: Tensor) -> Tensor:
        return _Above.apply(u, primitive)  # type: ignore[no-untyped-call]

    return spike


atan_in_dtype = spike_in_dtype(Arctan(2.0).primitive)  # snnTorch's default
