"""The synapses that lead to neurons, as eligibility traces see them: one trace for each pair of input and neuron."""

import math
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikingtorch.learning.online_gradients import add_gradient, add_product

Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d


class Linear(NamedTuple):
    """Each neuron of the last axis has a weight for each input: traces (..., out, in)."""

    module: nn.Linear

    def over_neurons(self, of_neurons: Tensor) -> Tensor:
        """Return a tensor (..., out), ready to be multiplied by traces."""
        return of_neurons.unsqueeze(-1)

    def over_inputs(self, x: Tensor) -> Tensor:
        """Return the inputs (..., in), ready to be multiplied by traces."""
        return x.unsqueeze(-2)

    def gradient(self, signal: Tensor, trace: Tensor) -> Tensor:
        """Return the sum of signal times trace over all but (out, in)."""
        out, size = trace.shape[-2:]
        return torch.einsum("no,noi->oi", signal.reshape(-1, out), trace.reshape(-1, out, size))

    def add_outer(self, weight: Tensor, signal: Tensor, x: Tensor) -> None:
        """Add the gradient of the weight to ``.grad``, from a gradient of the product and an input."""
        add_product(weight, signal.reshape(-1, signal.shape[-1]), x.reshape(-1, x.shape[-1]))

    def of_bias(self, signal: Tensor) -> Tensor:
        """Return a signal (..., out) summed to the shape of the bias."""
        return signal.reshape(-1, signal.shape[-1]).sum(0)


class Convolved(NamedTuple):
    """Each neuron of an image has a weight for each input in its window: traces (N, out, positions, window)."""

    module: Convolution

    def over_neurons(self, of_neurons: Tensor) -> Tensor:
        """Return a tensor (N, out, *size), ready to be multiplied by traces."""
        return of_neurons.flatten(2).unsqueeze(-1)

    def over_inputs(self, x: Tensor) -> Tensor:
        """Return the windows of an image (N, C, *size), ready to be multiplied by traces."""
        module: Any = self.module
        sides: Any = module._reversed_padding_repeated_twice  # what nn.Conv2d itself pads with, "same" included
        windows = functional.pad(x, sides, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)
        axes = len(module.kernel_size)
        for axis, (size, stride, apart) in enumerate(
            zip(module.kernel_size, module.stride, module.dilation, strict=True)
        ):
            windows = windows.unfold(2 + axis, apart * (size - 1) + 1, stride)[..., ::apart]
        N, groups, each = len(x), module.groups, module.in_channels // module.groups
        # (N, C, *positions, *window) -> (N, groups, positions, each window)
        split = windows.reshape(N, groups, each, math.prod(windows.shape[2 : 2 + axes]), math.prod(module.kernel_size))
        found = split.transpose(2, 3).flatten(3)
        return found if groups == 1 else found.repeat_interleave(module.out_channels // groups, dim=1)

    def gradient(self, signal: Tensor, trace: Tensor) -> Tensor:
        """Return the sum of signal times trace over samples and positions."""
        return torch.einsum("ncl,nclq->cq", signal.flatten(2), trace).reshape(self.module.weight.shape)

    def add_outer(self, weight: Tensor, signal: Tensor, x: Tensor) -> None:
        """Add the gradient of the weight to ``.grad``, from a gradient of the product and an input."""
        module: Any = self.module
        with torch.enable_grad():
            leaf = weight.detach().requires_grad_()
            product: Tensor = module._conv_forward(x, leaf, None)
        add_gradient(weight, torch.autograd.grad(product, leaf, signal)[0])

    def of_bias(self, signal: Tensor) -> Tensor:
        """Return a signal (N, out, *size) summed to the shape of the bias."""
        return signal.flatten(2).sum((0, 2))


Synapses: TypeAlias = Linear | Convolved


def synapses_of(module: nn.Module) -> Synapses | None:
    """Return the synapses of a module, or None if it does not run as an ``nn.Linear`` or a convolution of torch."""
    own = vars(module).keys() & {"forward", "_conv_forward"}
    for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d):
        same = all(
            getattr(type(module), name, None) is getattr(kind, name, None) for name in ("forward", "_conv_forward")
        )
        if isinstance(module, kind) and same and not own:
            return Linear(module) if isinstance(module, nn.Linear) else Convolved(module)
    return None
