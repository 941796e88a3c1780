"""The gradients of fixed-point networks by their definition, in a plain loop in torch's float64 and in real units.

Rounding passes gradients on unchanged, and so does wrapping around; saturation passes them where nothing is cut off. A
spike has the gradient of its surrogate.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tests.quantize.descriptions import Conv2d, Flatten, Linear, Network, Neuron, SumPool2d, dense, images

ROUND: dict[str, Callable[[Tensor], Tensor]] = {
    "floor": torch.floor,
    "trunc": torch.trunc,
    "half_up": lambda y: torch.floor(y + 0.5),
    "half_even": torch.round,
}


def passed(value: Tensor, like: Tensor) -> Tensor:
    """Return a value that has the gradient of another one."""
    return value.detach() + (like - like.detach())


def rounded(value: Tensor, node: Neuron) -> Tensor:
    unit = 2.0**-node.fraction_bits
    return passed(ROUND[node.rounding](value / unit) * unit, value)


def held(value: Tensor, node: Neuron) -> Tensor:
    unit = 2.0**-node.fraction_bits
    if node.overflow != "wrap":
        return value.clamp(node.low * unit, node.high * unit)
    size = 2.0**node.membrane_bits * unit
    return passed(torch.remainder(value - node.low * unit, size) + node.low * unit, value)


def tensor(numbers: object, exponent: int = 0) -> Tensor:
    return torch.as_tensor(numbers, dtype=torch.float64) * 2.0**-exponent


def parameters(network: Network) -> list[Tensor]:
    """Return weights, biases and recurrent weights in real units, in the order of the layers, as leaves."""
    found, exponent = list[Tensor](), network.input_exponent
    for node in network.nodes:
        if isinstance(node, (Linear, Conv2d)):
            exponent += node.exponent
            found.append(tensor(node.weight, node.exponent))
            found += [] if node.bias is None else [tensor(node.bias, exponent)]
        elif isinstance(node, SumPool2d):
            exponent += node.halvings
        elif isinstance(node, Neuron):
            exponent = 0
            found += [] if node.recurrent is None else [tensor(node.recurrent, node.recurrent_exponent)]
    return [each.requires_grad_() for each in found]


def fed_back(node: Neuron, spike: Tensor, recurrent: Tensor) -> Tensor:
    if images(node):
        return torch.nn.functional.conv2d(spike, recurrent, padding=1)
    return spike @ recurrent.mT if dense(node) else spike * recurrent


def neurons(node: Neuron, x: Tensor, recurrent: Tensor | None, phi: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return spikes, u and v, each (N, T, *shape), of neurons whose spike has the gradient of phi."""
    spike = v = i = torch.zeros_like(x[:, 0])
    keep, threshold = tensor(node.decay[0], node.decay[1]), tensor(node.threshold, node.fraction_bits)
    steps = list[tuple[Tensor, Tensor, Tensor]]()
    for arriving in x.unbind(1):
        if recurrent is not None:
            arriving = arriving + fed_back(node, spike, recurrent)
        drive = rounded(arriving, node)
        if node.decay_synapse is not None:
            i = drive = held(rounded(tensor(node.decay_synapse[0], node.decay_synapse[1]) * i, node) + drive, node)
        u = held((v if node.kind == "if" else rounded(keep * v, node)) + drive, node)
        over = u - threshold
        spike = passed((over > 0 if node.strict else over >= 0).double(), phi(over))
        after = {
            "zero": (1 - spike) * u,
            "subtraction": u - spike * threshold,
            "value": (1 - spike) * u + spike * (node.v_reset * 2.0**-node.fraction_bits),
            "none": u,
        }
        v = held(after[node.reset], node)
        steps.append((spike, u, v))
    return [torch.stack(each, 1) for each in zip(*steps, strict=True)]


def run(network: Network, x: Tensor, leaves: Sequence[Tensor], phi: Callable[[Tensor], Tensor]) -> list[list[Tensor]]:
    """Return spikes, u and v of each layer of neurons, from an input in real units and ``parameters(network)``."""
    rest, found = iter(leaves), list[list[Tensor]]()
    for node in network.nodes:
        if isinstance(node, Neuron):
            found.append(neurons(node, x, None if node.recurrent is None else next(rest), phi))
            x = found[-1][0]
            continue
        N, T, flat = *x.shape[:2], x.flatten(0, 1)
        if isinstance(node, (Linear, Conv2d)):
            weight, bias = next(rest), None if node.bias is None else next(rest)
            flat = (
                torch.nn.functional.linear(flat, weight, bias)
                if isinstance(node, Linear)
                else torch.nn.functional.conv2d(
                    flat, weight, bias, node.stride, node.padding, node.dilation, node.groups
                )
            )
        elif isinstance(node, SumPool2d):
            flat = torch.nn.functional.avg_pool2d(flat, node.kernel, node.stride, divisor_override=2**node.halvings)
        else:
            assert isinstance(node, Flatten)
            flat = flat.flatten(1)
        x = flat.unflatten(0, (N, T))
    return found
