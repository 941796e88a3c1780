"""What the scripts that write by a peer share: random weights, weights for ties, and outputs of neurons."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def drawn(module: Any, seed: int, mean: float = 0.3, deviation: float = 0.5) -> Any:
    """Return a module with random weights and small random biases."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.05 * noise if name.endswith("bias") else mean + deviation * noise)
    return module


def tied(net: Any, scale: float, bias: float) -> Any:
    """Return a layer whose membranes often equal the threshold, as all of its numbers are sums of powers of 2."""
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[2, 1, 1, -1, 3], [1, 1, 2, 2, -1], [3, -1, 1, 2, 1]]).repeat(2, 1) * scale)
        net[0].bias.copy_(torch.tensor([0, 0, 0, 1, 1, 1]) * bias)
    return net


def each(value: float, *shape: int) -> Tensor:
    """Return a parameter for each neuron; the exporter writes it with this shape."""
    return torch.full(shape, value)


@contextmanager
def heard(neurons: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
    """Give the outputs of neurons, a list for each name that every call inside makes longer."""
    found: dict[str, list[Any]] = {name: [] for name in neurons}
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: found[name].append(out))
        for name, module in neurons.items()
    ]
    with torch.no_grad():
        yield found
    for handle in handles:
        handle.remove()
