"""Networks whose weights keep their sign: ClippingNet, and the Clipper that enforces it after each optimizer step."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer


class ClippingNet(nn.Module):
    """Base of networks with separate excitatory and inhibitory weights, all of them non-negative.

    A subclass lists its layers in ``exc_weights`` and ``inh_weights``; ``Clipper`` calls ``clip()`` after each step.

    Attributes:
        wmax: largest weight.
        clip_max: unused; kept for code of the older package, which did not use it either.
        exc_weights: layers with excitatory weights.
        inh_weights: layers with inhibitory weights.

    >>> net = ClippingNet()
    >>> net.l1 = nn.Linear(2, 2)
    >>> net.exc_weights = [net.l1]
    >>> net.init_weights()
    >>> bool((net.l1.weight >= 0).all())
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self.wmax = 2.0
        self.clip_max = 2.0
        self.exc_weights: list[nn.Module] = []
        self.inh_weights: list[nn.Module] = []

    def iterate_weights(self) -> Iterator[nn.Module]:
        """Yield each layer that has a weight."""
        return (module for module in self.modules() if isinstance(getattr(module, "weight", None), Tensor))

    @torch.no_grad()
    def init_weights(self) -> None:
        """Make every weight and bias non-negative; weights that are not excitatory start 100 times smaller."""
        for layer in (*self.exc_weights, *self.inh_weights):
            if not isinstance(layer, nn.Module):
                raise TypeError(
                    f"ClippingNet: exc_weights and inh_weights list layers, got a {type(layer).__name__}: "
                    "write [self.conv1], not [self.conv1.weight]"
                )
        excitatory = {id(module) for module in self.exc_weights}
        for module, weight, bias in self._weights_and_biases():
            weight.abs_()
            if id(module) not in excitatory:
                weight.mul_(0.01)
            if bias is not None:
                bias.abs_()

    @torch.no_grad()
    def clip(self) -> None:
        """Clamp weights to [0, wmax] and biases to [0, 1]."""
        for _, weight, bias in self._weights_and_biases():
            weight.clamp_(0.0, self.wmax)
            if bias is not None:
                bias.clamp_(0.0, 1.0)

    def get_weights(self) -> list[NDArray[np.floating[Any]]]:
        """Return a copy of each weight as a numpy array, in the order of ``iterate_weights``."""
        return [weight.detach().cpu().numpy().copy() for _, weight, _ in self._weights_and_biases()]

    def _weights_and_biases(self) -> Iterator[tuple[nn.Module, Tensor, Tensor | None]]:
        for module in self.iterate_weights():
            yield module, cast(Tensor, module.weight), getattr(module, "bias", None)


class Clipper:
    """An optimizer that clips the weights of ``snn.net``, a ClippingNet, after each step.

    Args:
        snn: a SpikingNet around a ClippingNet, or anything with ``net.clip()``.
        optimizer: the optimizer of its parameters.

    Raises:
        TypeError: ``snn.net`` has no ``clip``.
    """

    def __init__(self, snn: nn.Module, optimizer: Optimizer) -> None:
        if not callable(getattr(getattr(snn, "net", None), "clip", None)):
            raise TypeError(
                f"Clipper: {type(snn).__name__} has no net.clip(). Wrap a ClippingNet: SpikingNet(ClippingNet(), Nout)"
            )
        self.snn: Any = snn
        self.optimizer = optimizer

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take an optimizer step, clip the weights, and return the optimizer's result."""
        loss = self.optimizer.step() if closure is None else self.optimizer.step(closure)
        self.snn.net.clip()
        return loss
