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

# runs one step
Step: TypeAlias = Callable[[int], Any]


class LinearMap(Protocol):
    """A synapse that is linear in spikes and in weights. Arrays over time are (T, *N)."""

    def forward(self, x: Tensor, s: Tensor, outs: Tensor, weight: Tensor, currents: Tensor) -> Step:
        """Return a function that writes x[t] + synapse(outs[t-1], weight) to currents[t], with s for outs[-1]."""
        ...

    def transposed(self, base: Tensor | None, grads: Tensor, weight: Tensor, of_spikes: Tensor) -> Step:
        """Return a function that writes base[t] + the gradient of the spikes at t, from grads[t+1], to of_spikes[t].

        Args:
            base: None for zero.
            grads: gradients of the currents.
            weight: the weights.
            of_spikes: a slice for each step, or one for all steps.
        """
        ...

    def of_weight(self, grads: Tensor, spikes: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weights, from the gradients of the currents and the spikes of the step before."""
        ...


class _Dense:
    """i[j] = sum_k weight[j, k] s[k], over the last axis."""

    def forward(self, x: Tensor, s: Tensor, outs: Tensor, weight: Tensor, currents: Tensor) -> Step:
        before = [*_matrices(s[None], weight), *_matrices(outs, weight)]
        xs, targets, across = _matrices(x, weight), _matrices(currents, weight), weight.t()
        addmm = torch.addmm
        return lambda t: addmm(xs[t], before[t], across, out=targets[t])

    def transposed(self, base: Tensor | None, grads: Tensor, weight: Tensor, of_spikes: Tensor) -> Step:
        after, targets = _matrices(grads, weight), _matrices(of_spikes, weight)
        slices, addmm, mm = len(targets), torch.addmm, torch.mm
        if base is None:
            return lambda t: mm(after[t + 1], weight, out=targets[t % slices])
        bases = _matrices(base, weight)
        return lambda t: addmm(bases[t], after[t + 1], weight, out=targets[t % slices])

    def of_weight(self, grads: Tensor, spikes: Tensor, weight: Tensor) -> Tensor:
        grads, spikes = grads.view(-1, len(weight)), spikes.view(-1, len(weight))
        found = weight_gradient(Layer(Linear(), spikes, weight), grads)
        return grads.t() @ spikes if found is None else found


def _matrices(stream: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """Return the slices of an array over time with two axes: the last one, and one for all others."""
    return stream.view(len(stream), -1, len(weight)).unbind(0)


class _Convolution:
    """A convolution of images, padded with zeros to the same size."""

    def forward(self, x: Tensor, s: Tensor, outs: Tensor, weight: Tensor, currents: Tensor) -> Step:
        before = [*_images(s[None], weight), *_images(outs, weight)]
        xs, targets, options = _images(x, weight), _images(currents, weight), _options(weight)

        def step(t: int) -> None:
            torch.add(xs[t], torch.convolution(before[t], weight, None, *options), out=targets[t])

        return step

    def transposed(self, base: Tensor | None, grads: Tensor, weight: Tensor, of_spikes: Tensor) -> Step:
        after, targets = _images(grads, weight), _images(of_spikes, weight)
        slices, bases = len(targets), None if base is None else _images(base, weight)

        def step(t: int) -> None:
            found = _backward(after[t + 1], after[t + 1], weight, [True, False, False])[0]
            if bases is None:
                targets[t % slices].copy_(found)
            else:
                torch.add(bases[t], found, out=targets[t % slices])

        return step

    def of_weight(self, grads: Tensor, spikes: Tensor, weight: Tensor) -> Tensor:
        grads, spikes = (each.reshape(-1, *_images(each, weight)[0].shape[1:]) for each in (grads, spikes))
        if weight.ndim == 4 and len(weight) == weight.shape[1]:
            around = weight.shape[2] // 2, weight.shape[3] // 2
            if (found := weight_gradient(Layer(Convolution((1, 1), around), spikes, weight), grads)) is not None:
                return found
        return _backward(grads, spikes, weight, [False, True, False])[1]


def _images(stream: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """Return the slices of an array over time as batches of images."""
    return stream.view(len(stream), -1, *stream.shape[-(weight.ndim - 1) :]).unbind(0)


def _options(weight: Tensor) -> tuple[Any, ...]:
    """Return stride, padding, dilation, whether transposed, padding of the output, and groups."""
    ones = [1] * (weight.ndim - 2)
    groups = len(weight) // weight.shape[1]
    return ones, [size // 2 for size in weight.shape[2:]], ones, False, [0] * (weight.ndim - 2), groups


def _backward(grads: Tensor, images: Tensor, weight: Tensor, mask: list[bool]) -> tuple[Tensor, Tensor]:
    """Return the gradients of images and weights that the mask wants."""
    found: tuple[Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grads, images, weight, None, *_options(weight), mask
    )
    return found


# a dense synapse whose steps ``c_loop`` runs; the gradient of its weights is computed here
IN_C = "dense in C"
SYNAPSES: dict[str, LinearMap] = {"dense": _Dense(), IN_C: _Dense(), "convolution": _Convolution()}
