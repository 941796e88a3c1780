"""to_integer: a trained network as whole numbers, or a refusal that names the layer, the rule and the bound."""

from typing import Any

import numpy as np
from torch import Tensor, nn

from spikingtorch import axes
from spikingtorch.functional.core.torch_private import AnyBatchNorm
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.time_norm import TimeNorm
from spikingtorch.quantize.calls import calls_of, check_sources
from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.grid import RoundedInput, exponent_of, rounding_of_inputs, whole_numbers
from spikingtorch.quantize.integer import IntegerModel
from spikingtorch.quantize.lower_layers import conv_node, lowered_neurons, weights_of
from spikingtorch.quantize.neurons import Node
from spikingtorch.quantize.nodes import Conv2d, Flatten, Linear, Sum, SumPool2d
from spikingtorch.quantize.proof import LIMIT, Given, after, check_settings
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.step_graph.recorder import Call, StepGraph
from spikingtorch.watching.network import check_network

_KINDS = (nn.Linear, nn.Conv2d, nn.AvgPool2d, nn.Flatten)
_NORMS = (AnyBatchNorm, TimeNorm, nn.LayerNorm, nn.GroupNorm)
# whole numbers of more bits are floats that were never encoded
_INPUT_BITS = 16


def to_integer(model: Any, x: Tensor, input_range: tuple[int, int] | None = None) -> IntegerModel:
    """Return a network in whole numbers that spikes as the float network does, or refuse.

    The network consists of ``nn.Linear``, ``nn.Conv2d``, ``nn.AvgPool2d`` over 2**k entries, ``nn.Flatten``, and
    fixed-point neurons such as ``FixedPointLIF``, recurrent ones too, with weights on a grid (``prepare_qat`` rounds
    them). Branches may meet in sums ``a + b`` of one shape, in the finest of their units. Sums are proven to stay below
    2**24 of the finest unit, so that float32 computes exactly what integers do; ``certify`` compares the two.

    Args:
        model: a SpikingNet, which is not changed.
        x: an input (N, T, ...), for shapes, and for the grid and the range of inputs.
        input_range: smallest and largest whole number of an input, in units of the grid of x; by default those of x
            and 0, or of the ``RoundedInput`` in front of the network.

    Raises:
        TypeError: model is not a SpikingNet, x no tensor, or input_range no pair of whole numbers.
        IntegerError: integers would give other numbers, or their equality cannot be proven: see
            ``spikingtorch.quantize.errors.RULES``.
    """
    check_network("to_integer", model)
    check_settings(model, x)
    if not bool(x.isfinite().all()):
        raise IntegerError("", "input", "the input holds NaN or infinities, which are no whole numbers")
    x = axes.samples_first(x, model.batch_first)
    graph, rounding = _graph(model, x)
    exponent, limits = _input(x, rounding, input_range)
    return _lowered(graph, rounding, tuple(x.shape[2:]), exponent, limits)


def integers_for(model: SpikingNet, x: Tensor, integer: IntegerModel) -> IntegerModel:
    """Return a network in whole numbers for the grid and the range of inputs of other integers; x is for shapes."""
    return _lowered(*_graph(model, x), integer.input_shape, integer.input_exponent, integer.input_range)


def _graph(model: SpikingNet, x: Tensor) -> tuple[StepGraph, RoundedInput | None]:
    """Return the calls, and the rounding of inputs: that of ``prepare_qat``, or a layer that alone takes the input."""
    graph, rounding = calls_of(model, x), rounding_of_inputs(model)
    if rounding is None:
        first = [call for call in graph.calls if any(-1 in sources for sources in call.given)]
        alone = len(first) == 1 and first[0].given == ((-1,),) and -1 not in graph.result
        if alone and isinstance(first[0].module, RoundedInput):
            return graph, first[0].module
    return graph, rounding


def _lowered(
    graph: StepGraph, rounding: nn.Module | None, shape: tuple[int, ...], exponent: int, limits: tuple[int, int]
) -> IntegerModel:
    lowering = _Lowering(graph, Given(exponent, np.full(shape, max(-limits[0], limits[1]), np.int64)))
    lowering.run(rounding)
    sources = tuple(lowering.sources)
    is_chain = all(each == (place - 1,) for place, each in enumerate(sources))
    return IntegerModel(exponent, shape, limits, tuple(lowering.nodes), () if is_chain else sources)


class _Lowering:
    """Writes a node for each call that the output depends on, and one for each sum that such a call takes."""

    def __init__(self, graph: StepGraph, given: Given) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.sources: list[tuple[int, ...]] = []
        self._given = [given]  # what leaves the input and each node
        self._places: dict[tuple[int, ...], int] = {(-1,): -1}  # of each call, and of each sum of calls, the node

    def run(self, rounding: nn.Module | None) -> None:
        """Write the nodes, the last one of which is the output; a call that rounds the input stands for it."""
        calls, needed, left = self.graph.calls, set[int](), [*self.graph.result]
        while left:
            if (index := left.pop()) not in needed and index >= 0:
                needed.add(index)
                left += [source for sources in calls[index].given for source in sources]
        for index in sorted(needed):
            if calls[index].module is not None:
                self._places[(index,)] = -1 if calls[index].module is rounding else self._place(index, calls[index])
        self._source("", self.graph.result)

    def _place(self, index: int, call: Call) -> int:
        source = self._source(call.path, call.sources)
        # functions, and calls of one nn.Flatten, have the name of others
        again = call.line or any(node.name == call.path for node in self.nodes)
        named = call._replace(path=f"{call.path} ({index})") if again else call
        return self._add(_node(named, self._given[source + 1]), (source,))

    def _source(self, path: str, calls: tuple[int, ...]) -> int:
        """Return the node of a call or of a sum of calls, which takes a shorter sum that has a node."""
        check_sources(self.graph, path, calls)
        if calls not in self._places:
            cuts = range(1, len(calls))
            known = [part for cut in cuts for part in (calls[:cut], calls[cut:]) if part in self._places]
            longest = max(known, key=len)
            rest = calls[len(longest) :] if calls[: len(longest)] == longest else calls[: -len(longest)]
            places = [self._places[longest], *[self._places[(each,)] for each in rest]]
            given = [self._given[place + 1] for place in places]
            exponent = max(each.exponent for each in given)
            shifts = tuple(exponent - each.exponent for each in given)
            node = Sum(f"{path}: sum" if path else "output: sum", given[0].largest.shape, exponent, shifts)
            self._places[calls] = self._add(node, tuple(places))
        return self._places[calls]

    def _add(self, node: Node, sources: tuple[int, ...]) -> int:
        self._given.append(after(node, [self._given[source + 1] for source in sources]))
        self.nodes.append(node)
        self.sources.append(sources)
        return len(self.nodes) - 1


def _input(x: Tensor, rounding: RoundedInput | None, given: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    """Return the exponent and the range of inputs."""
    if given is not None:
        _check_range(given)
    if rounding is not None:
        return rounding.exponent, rounding.range if given is None else given
    exponent = exponent_of(x)
    whole = whole_numbers(x, exponent) if exponent <= 2 * _INPUT_BITS else None
    if whole is None or int(whole.abs().max()) >= 1 << _INPUT_BITS:
        raise IntegerError(
            "",
            "input",
            f"the input has numbers that are no whole numbers of at most {_INPUT_BITS} bits times a power of two. "
            "Encode it as spikes, or round it: prepare_qat(model, inputs=8)",
            float(exponent),
        )
    low, high = min(int(whole.min()), 0), max(int(whole.max()), 0)
    low, high = (low, high) if (low, high) != (0, 0) else (0, 1)
    if given is not None and (given[0] > low or given[1] < high):
        raise IntegerError("", "input", f"input_range is {given}, and x reaches from {low} to {high}", float(high))
    return exponent, (low, high) if given is None else given


def _check_range(given: Any) -> None:
    pair: Any = given if isinstance(given, tuple | list) and len(given) == 2 else (None, None)
    if any(type(each) is not int for each in pair):
        raise TypeError(f"to_integer: input_range is {given!r}, expected two whole numbers (smallest, largest)")
    largest = max(-pair[0], pair[1])
    if largest >= LIMIT:
        raise IntegerError("", "input", f"input_range is {given}, expected numbers below 2**24", float(largest))


def _node(call: Call, given: Given) -> Node:
    layer: Any = call.module
    if isinstance(layer, _NORMS):
        raise IntegerError(
            call.path,
            "norm",
            f"{type(layer).__name__} divides by a root, which integers do not. Make a batch norm part of the weights "
            "before it: fold_norms(model)",
        )
    if isinstance(layer, StatefulLayer) and "forward" not in vars(layer):
        return lowered_neurons(call, given.exponent, given.largest)
    if is_plain(layer):
        if isinstance(layer, nn.Flatten) and layer.start_dim in (1, -len(call.before)) and len(call.after) == 1:
            return Flatten(call.path, call.before)
        if isinstance(layer, nn.Linear):
            return _linear(call, layer, given)
        if isinstance(layer, nn.Conv2d):
            return _conv(call, layer, given)
        if isinstance(layer, nn.AvgPool2d):
            return _pool(call, layer, given)
    own = " with a forward of its own" if isinstance(layer, (*_KINDS, StatefulLayer)) else ""
    raise IntegerError(
        call.path,
        "layers",
        f"there are no integers for {type(layer).__name__}{own}; expected Linear, Conv2d, AvgPool2d, Flatten or "
        "fixed-point neurons",
    )


def is_plain(layer: nn.Module) -> bool:
    """Return whether a layer computes as the class of torch does that it is of."""
    forward = getattr(layer.forward, "__func__", None)
    return any(isinstance(layer, kind) and forward is kind.forward for kind in _KINDS)


def _linear(call: Call, layer: nn.Linear, given: Given) -> Linear:
    if len(call.before) != 1:
        raise IntegerError(
            call.path, "layers", f"it takes samples of shape {call.before}, expected one axis; put nn.Flatten before it"
        )
    return Linear(call.path, *weights_of(call.path, layer.weight, layer.bias, given.exponent))


def _conv(call: Call, layer: nn.Conv2d, given: Given) -> Conv2d:
    if len(call.before) != 3:
        raise IntegerError(call.path, "layers", f"it takes samples of shape {call.before}, expected (C, H, W)")
    return conv_node(call.path, layer, given.exponent, call.before, call.after)


def _pool(call: Call, layer: nn.AvgPool2d, given: Given) -> SumPool2d:
    kernel, stride, padding = map(_two, (layer.kernel_size, layer.stride, layer.padding))
    number = kernel[0] * kernel[1]
    divisor = layer.divisor_override or number
    if padding != (0, 0) or layer.ceil_mode or divisor & (divisor - 1) or len(call.before) != 3:
        raise IntegerError(
            call.path,
            "mean",
            f"{layer} divides by {divisor}, expected a mean over 2**k entries of images (C, H, W), without padding and "
            "ceil_mode, such as nn.AvgPool2d(2)",
            float(divisor),
        )
    exponent = given.exponent + divisor.bit_length() - 1
    return SumPool2d(call.path, kernel, stride, exponent, call.before, call.after)


def _two(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, tuple) else (value, value)
    return int(first), int(second)
