"""The slow path: the same networks in Python's fractions and in real units, one number at a time."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from typing import Any

from tests.quantize.descriptions import Conv2d, Flatten, Linear, Network, Neuron, Node, SumPool2d

Place = tuple[int, ...]
Values = dict[Place, Fraction]  # by the place in a sample
Step = tuple[Values, Values, Values, Values]  # spikes, u, v, i; all but spikes in units of the membrane

ROUND: dict[str, Callable[[Fraction], int]] = {
    "floor": math.floor,
    "trunc": math.trunc,
    "half_up": lambda y: math.floor(y + Fraction(1, 2)),
    "half_even": round,
}


def held(number: Fraction | int, node: Neuron) -> Fraction:
    """Return what a membrane holds of a whole number."""
    value = Fraction(number)
    size = 2**node.membrane_bits
    if node.overflow == "wrap":
        while value > node.high:
            value -= size
        while value < node.low:
            value += size
        return value
    if node.overflow == "error" and not node.low <= value <= node.high:
        raise OverflowError(value)
    limits = (Fraction(node.low), Fraction(node.high))
    return max(limits[0], min(value, limits[1]))


def entry(numbers: Any, place: Place, shape: Place) -> int:
    """Return the number of a neuron from numbers that broadcast to all of them."""
    if not hasattr(numbers, "shape") or numbers.ndim == 0:
        return int(numbers)
    at = [0 if size == 1 else where for size, where in zip(numbers.shape, place[-numbers.ndim :], strict=True)]
    return int(numbers[tuple(at)])


def share(decay: tuple[Any, int], place: Place, shape: Place) -> Fraction:
    return Fraction(entry(decay[0], place, shape), 2 ** decay[1])


def neurons(node: Neuron, steps: list[Values]) -> Iterator[Step]:
    """Yield what neurons do at each step of one sample."""
    unit, nearest = Fraction(1, 2**node.fraction_bits), ROUND[node.rounding]
    places = [*steps[0]]
    spike, v, i = ({place: Fraction(0) for place in places} for _ in range(3))
    for x in steps:
        before, u = dict(spike), dict[Place, Fraction]()
        for place in places:
            drive = nearest((x[place] + fed_back(node, before, place)) / unit)
            if node.kind == "cuba":
                assert node.decay_synapse is not None
                kept = nearest(share(node.decay_synapse, place, node.shape) * i[place])
                i[place] = held(kept + drive, node)
                drive = int(i[place])
            stays = Fraction(1) if node.kind == "if" else share(node.decay, place, node.shape)
            u[place] = held(nearest(stays * v[place]) + drive, node)
            threshold = entry(node.threshold, place, node.shape)
            fires = u[place] > threshold or (not node.strict and u[place] == threshold)
            spike[place] = Fraction(int(fires))
            new: dict[str, Fraction | int] = {
                "zero": 0,
                "subtraction": u[place] - threshold,
                "value": node.v_reset,
                "none": u[place],
            }
            v[place] = held(new[node.reset] if fires else u[place], node)
        yield dict(spike), u, dict(v), dict(i)


def fed_back(node: Neuron, spike: Values, place: Place) -> Fraction:
    """Return the recurrent input of one neuron."""
    if node.recurrent is None:
        return Fraction(0)
    unit = Fraction(1, 2**node.recurrent_exponent)
    if node.recurrent.ndim == 2 and len(node.shape) == 1:
        return unit * sum((int(w) * spike[(k,)] for k, w in enumerate(node.recurrent[place[0]])), Fraction(0))
    return unit * entry(node.recurrent, place, node.shape) * spike[place]


def summed(node: Node, x: Values, grid: int) -> tuple[Values, int]:
    """Return what a layer without a state makes of one step, and the exponent of its grid."""
    shape = tuple(1 + max(where) for where in zip(*x, strict=True))
    if isinstance(node, Flatten):
        return {(at,): x[place] for at, place in enumerate(product(*map(range, shape)))}, grid
    if isinstance(node, SumPool2d):
        return pooled(node, x, shape), grid + node.halvings
    assert isinstance(node, (Linear, Conv2d))
    grid += node.exponent
    found = convolved(node, x, shape) if isinstance(node, Conv2d) else multiplied(node, x)
    if node.bias is not None:
        found = {place: y + Fraction(int(node.bias[place[0]]), 2**grid) for place, y in found.items()}
    return found, grid


def multiplied(node: Linear, x: Values) -> Values:
    rows = [sum((int(w) * x[(k,)] for k, w in enumerate(row)), Fraction(0)) for row in node.weight]
    return {(at,): row / 2**node.exponent for at, row in enumerate(rows)}


def windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Iterator[tuple[int, list[int]]]:
    """Yield each place of an output, and the places of the input under the kernel, some of them outside."""
    start = -padding
    while start + dilation * (kernel - 1) < size + padding:
        yield (start + padding) // stride, [start + dilation * at for at in range(kernel)]
        start += stride


def convolved(node: Conv2d, x: Values, shape: Place) -> Values:
    outputs, inputs, kh, kw = node.weight.shape
    rows = windows(shape[1], kh, node.stride[0], node.padding[0], node.dilation[0])
    columns = [*windows(shape[2], kw, node.stride[1], node.padding[1], node.dilation[1])]
    found = Values()
    for (h, ys), (w, xs), o in product(rows, columns, range(outputs)):
        group, total = o * node.groups // outputs, Fraction(0)
        for c, (a, y), (b, z) in product(range(inputs), enumerate(ys), enumerate(xs)):
            total += int(node.weight[o, c, a, b]) * x.get((group * inputs + c, y, z), Fraction(0))
        found[(o, h, w)] = total / 2**node.exponent
    return found


def pooled(node: SumPool2d, x: Values, shape: Place) -> Values:
    rows = windows(shape[1], node.kernel[0], node.stride[0], 0, 1)
    columns = [*windows(shape[2], node.kernel[1], node.stride[1], 0, 1)]
    found = Values()
    for (h, ys), (w, xs), c in product(rows, columns, range(shape[0])):
        found[(c, h, w)] = sum((x[(c, y, z)] for y, z in product(ys, xs)), Fraction(0)) / 2**node.halvings
    return found


def run(network: Network, sample: int) -> list[list[Step]]:
    """Run one sample; return the steps of each layer of neurons."""
    unit = Fraction(1, 2**network.input_exponent)
    shape, layers = network.input_shape, list[list[Step]]()
    steps = [{place: int(x[place]) * unit for place in product(*map(range, shape))} for x in network.x[sample]]
    grid = network.input_exponent
    for node in network.nodes:
        if isinstance(node, Neuron):
            layers.append([*neurons(node, steps)])
            steps, grid = [step[0] for step in layers[-1]], 0
        else:
            found = [summed(node, step, grid) for step in steps]
            steps, grid = [step for step, _ in found], found[0][1]
    return layers
