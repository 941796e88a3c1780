"""The synapses of a recurrence, as linear maps of the spikes and of the weights.

The work of every step is returned as a function of the step. Views of all slices are created once, beforehand, because
a view takes as long as the product of a small layer.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.sparse.autograd import weight_gradient
from spikingtorch.functional.sparse.operations import Convolution, Layer, Linear

# writes the sum of the first, None for zero, and of the map of the second to the third
Sum: TypeAlias = Callable[[Tensor | None, Tensor, Tensor], Any]


class LinearMap(Protocol):
    """A synapse that is linear in spikes and in weights. Arrays over time are (T, *N)."""

    def slices(self, stream: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        """Return the steps of an array over time, with the axes that the map takes."""
        ...

    def added(self, weight: Tensor, transposed: bool) -> Sum:
        """Return how to add the currents of spikes, or, transposed, the gradient of spikes from that of currents."""
        ...

    def of_weight(self, grads: Tensor, spikes: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weights, from the gradients of the currents and the spikes of the step before."""
        ...


class _Dense:
    """i[j] = sum_k weight[j, k] s[k], over the last axis."""

    def slices(self, stream: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        return stream.view(len(stream), -1, len(weight)).unbind(0)

    def added(self, weight: Tensor, transposed: bool) -> Sum:
        matrix, addmm, mm = weight if transposed else weight.t(), torch.addmm, torch.mm

        def step(base: Tensor | None, source: Tensor, target: Tensor) -> None:
            if base is None:
                mm(source, matrix, out=target)
            else:
                addmm(base, source, matrix, out=target)

        return step

    def of_weight(self, grads: Tensor, spikes: Tensor, weight: Tensor) -> Tensor:
        grads, spikes = grads.view(-1, len(weight)), spikes.view(-1, len(weight))
        found = weight_gradient(Layer(Linear(), spikes, weight), grads)
        return grads.t() @ spikes if found is None else found


class _Convolution:
    """A convolution of images, padded with zeros to the same size."""

    def slices(self, stream: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        return stream.view(len(stream), -1, *stream.shape[-(weight.ndim - 1) :]).unbind(0)

    def added(self, weight: Tensor, transposed: bool) -> Sum:
        options = _options(weight)

        def step(base: Tensor | None, source: Tensor, target: Tensor) -> None:
            if transposed:
                found = _backward(source, source, weight, [True, False, False])[0]
            else:
                found = torch.convolution(source, weight, None, *options)
            if base is None:
                target.copy_(found)
            else:
                torch.add(base, found, out=target)

        return step

    def of_weight(self, grads: Tensor, spikes: Tensor, weight: Tensor) -> Tensor:
        grads, spikes = (each.reshape(-1, *self.slices(each, weight)[0].shape[1:]) for each in (grads, spikes))
        if weight.ndim == 4 and len(weight) == weight.shape[1]:
            around = weight.shape[2] // 2, weight.shape[3] // 2
            if (found := weight_gradient(Layer(Convolution((1, 1), around), spikes, weight), grads)) is not None:
                return found
        return _backward(grads, spikes, weight, [False, True, False])[1]


def _options(weight: Tensor) -> tuple[Any, ...]:
    """Return stride, padding, dilation, whether transposed, padding of the output, and groups."""
    ones = [1] * (weight.ndim - 2)
    groups = len(weight) // weight.shape[1]
    return ones, [size // 2 for size in weight.shape[2:]], ones, False, [0] * (weight.ndim - 2), groups


def _backward(grads: Tensor, images: Tensor, weight: Tensor, mask: list[bool]) -> tuple[Tensor, Tensor]:
    """Return the gradients of images and weights that the mask wants."""
    options = _options(weight)
    found: tuple[Tensor, Tensor] = torch.ops.aten.convolution_backward(grads, images, weight, None, *options, mask)
    return found


# a dense synapse whose steps ``c_loop`` runs; the gradient of its weights is computed here
IN_C = "dense in C"
SYNAPSES: dict[str, LinearMap] = {"dense": _Dense(), IN_C: _Dense(), "convolution": _Convolution()}
