"""The synapses of a recurrence as linear maps: of the spikes, and of the weights."""

from typing import Protocol

import torch
from torch import Tensor

_convolve_backward = torch.ops.aten.convolution_backward


class LinearMap(Protocol):
    """A synapse that is linear in spikes and in weights."""

    def forward(self, x: Tensor, s: Tensor, weight: Tensor, out: Tensor) -> None:
        """Write x + synapse(s, weight) to out."""

    def transposed(self, base: Tensor | None, grad: Tensor, weight: Tensor, out: Tensor) -> None:
        """Write base + the gradient of s to out, for the gradient of the currents; no base is zero."""

    def of_weight(self, grad: Tensor, s: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weights, summed over the first axis, which is time."""


class Dense:
    """i[j] = sum_k weight[j, k] s[k], over the last axis."""

    def forward(self, x: Tensor, s: Tensor, weight: Tensor, out: Tensor) -> None:
        """Write x + synapse(s, weight) to out."""
        M = len(weight)
        torch.addmm(x.view(-1, M), s.view(-1, M), weight.t(), out=out.view(-1, M))

    def transposed(self, base: Tensor | None, grad: Tensor, weight: Tensor, out: Tensor) -> None:
        """Write base + the gradient of s to out."""
        M = len(weight)
        if base is None:
            torch.mm(grad.view(-1, M), weight, out=out.view(-1, M))
        else:
            torch.addmm(base.view(-1, M), grad.view(-1, M), weight, out=out.view(-1, M))

    def of_weight(self, grad: Tensor, s: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weights."""
        M = len(weight)
        return grad.reshape(-1, M).t() @ s.reshape(-1, M)


class Convolution:
    """A convolution of images, padded with zeros to the same size."""

    def forward(self, x: Tensor, s: Tensor, weight: Tensor, out: Tensor) -> None:
        """Write x + synapse(s, weight) to out."""
        images, padding, groups = _details(s, weight)
        axes = [1] * len(padding)
        found = torch.convolution(images, weight, None, axes, padding, axes, False, [0] * len(padding), groups)
        torch.add(x, found.view(x.shape), out=out)

    def transposed(self, base: Tensor | None, grad: Tensor, weight: Tensor, out: Tensor) -> None:
        """Write base + the gradient of s to out."""
        found = self._backward(grad, grad, weight, [True, False, False])[0].view(out.shape)
        if base is None:
            out.copy_(found)
        else:
            torch.add(base, found, out=out)

    def of_weight(self, grad: Tensor, s: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weights."""
        return self._backward(grad, s, weight, [False, True, False])[1]

    def _backward(self, grad: Tensor, s: Tensor, weight: Tensor, mask: list[bool]) -> tuple[Tensor, Tensor]:
        images, padding, groups = _details(s, weight)
        axes = [1] * len(padding)
        of_images = grad.reshape(images.shape)
        found: tuple[Tensor, Tensor] = _convolve_backward(
            of_images, images, weight, None, axes, padding, axes, False, [0] * len(padding), groups, mask
        )
        return found


def _details(s: Tensor, weight: Tensor) -> tuple[Tensor, list[int], int]:
    """Return spikes with all axes before the channels as one, the padding, and the number of groups."""
    axes = weight.ndim - 1
    return s.reshape(-1, *s.shape[-axes:]), [size // 2 for size in weight.shape[2:]], len(weight) // weight.shape[1]


SYNAPSES: dict[str, LinearMap] = {"dense": Dense(), "convolution": Convolution()}
