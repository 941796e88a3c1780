"""Networks in torch from descriptions of whole numbers, and what differs from the oracle; networks for integers."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.reset import by_subtraction, none, to_value, to_zero
from spikingtorch.quantize import IntegerError, IntegerModel, to_integer
from tests.quantize import descriptions
from tests.quantize.descriptions import NEURONS, Chip, Conv2d, Linear, Network, Neuron, Node, Speck, SumPool2d, Whole
from tests.quantize.oracle import run
from tests.quantize.random_chips import draw_chain
from tests.quantize.random_networks import draw

F32, F64 = torch.float32, torch.float64
RESETS = {"zero": to_zero, "subtraction": by_subtraction, "none": none}
# what a network raises if a neuron overflows whose overflow is an "error"
OVERFLOW = (OverflowError, ValueError)


def real(numbers: Any, exponent: int, dtype: torch.dtype) -> Tensor:
    """Return whole numbers times ``2**-exponent``, which have to be exact in the dtype."""
    found = torch.as_tensor(numbers, dtype=torch.float64) * 2.0**-exponent
    assert torch.equal(found.to(dtype).double(), found)
    return found.to(dtype)


def filled(module: nn.Module, weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    """Return a module with these weights, in their dtype."""
    module.to(weight.dtype)
    with torch.no_grad():
        module.get_parameter("weight").copy_(weight)
        if bias is not None:
            module.get_parameter("bias").copy_(bias)
    return module


def common(numbers: Whole) -> bool:
    return numbers.ndim == 0


def decay(number: tuple[Any, int]) -> tuple[Any, int]:
    k, m = number
    return (k if isinstance(k, int) else torch.as_tensor(k)), m


def neurons(node: Neuron, dtype: torch.dtype, surrogate: Any) -> st.StepLayer:
    """Return the layer of neurons that the library has for a description."""
    threshold = real(node.threshold, node.fraction_bits, dtype)
    reset = to_value(node.v_reset * 2.0**-node.fraction_bits) if node.reset == "value" else RESETS[node.reset]
    options: dict[str, Any] = {
        "threshold": threshold.item() if common(node.threshold) else threshold,
        "fraction_bits": node.fraction_bits,
        "membrane_bits": node.membrane_bits,
        "rounding": node.rounding,
        "overflow": node.overflow,
        "reset": reset,
        "surrogate": F.Strict(surrogate) if node.strict else surrogate,
    }
    if node.recurrent is not None:
        weight = real(node.recurrent, node.recurrent_exponent, dtype)
        M = node.shape[0]
        convolves = descriptions.images(node)
        back = nn.Conv2d(M, M, 3, padding=1, bias=False) if convolves else nn.Linear(M, M, bias=False)
        options["recurrent"] = filled(back, weight) if convolves or descriptions.dense(node) else weight
    if node.kind == "if":
        return st.FixedPointIF(**options)
    if node.kind == "lif":
        return st.FixedPointLIF(decay=decay(node.decay), **options)
    assert node.decay_synapse is not None
    return st.FixedPointCubaLIF(decay_synapse=decay(node.decay_synapse), decay=decay(node.decay), **options)


def of_chip(node: Chip, dtype: torch.dtype) -> st.StepLayer:
    """Return the layer that the library has for the neurons of a chip, whose unit is 2**-fraction_bits."""
    bits = node.fraction_bits
    if isinstance(node, descriptions.Loihi):
        decays = torch.as_tensor(node.du), torch.as_tensor(node.dv)
        return st.LoihiLIF(*decays, real(node.vth, bits - 6, dtype), real(node.bias, bits, dtype), fraction_bits=bits)
    if isinstance(node, Speck):
        return st.SpeckIAF(node.threshold * 2.0**-bits, node.low * 2.0**-bits, fraction_bits=bits)
    options: dict[str, Any] = {"most_spikes": node.max_spikes, "fraction_bits": bits}
    if node.bias is not None:
        options["bias"] = real(node.bias, bits, dtype)
    if node.recurrent is not None:
        M = len(node.recurrent)
        options["recurrent"] = filled(nn.Linear(M, M, bias=False), real(node.recurrent, bits, dtype))
    dashes = torch.as_tensor(node.dash_mem), torch.as_tensor(node.dash_syn)
    return st.XyloLIF(*dashes, real(node.threshold, bits, dtype), **options)


def module(node: Node, exponent: int, dtype: torch.dtype, surrogate: Any) -> nn.Module:
    """Return the module of a node whose output has an exponent."""
    if isinstance(node, NEURONS):
        return neurons(node, dtype, surrogate) if isinstance(node, Neuron) else of_chip(node, dtype)
    if isinstance(node, SumPool2d):
        return nn.AvgPool2d(node.kernel, node.stride, divisor_override=2**node.halvings)
    if not isinstance(node, (Linear, Conv2d)):
        return nn.Flatten()
    weight, biased = real(node.weight, node.exponent, dtype), node.bias is not None
    bias = real(node.bias, exponent, dtype) if biased else None
    if isinstance(node, Linear):
        outputs, inputs = node.weight.shape
        return filled(nn.Linear(inputs, outputs, biased), weight, bias)
    channels, out = node.weight.shape[1] * node.groups, node.weight.shape[0]
    kernel = (node.weight.shape[2], node.weight.shape[3])
    layer = nn.Conv2d(channels, out, kernel, node.stride, node.padding, node.dilation, node.groups, biased)
    return filled(layer, weight, bias)


def exponents(network: Network) -> Iterator[tuple[Node, int]]:
    """Yield each node with the exponent of its output."""
    exponent = network.input_exponent
    for node in network.nodes:
        if isinstance(node, (Linear, Conv2d)):
            exponent += node.exponent
        elif isinstance(node, SumPool2d):
            exponent += node.halvings
        elif isinstance(node, NEURONS):
            exponent = 0
        yield node, exponent


def build(network: Network, dtype: torch.dtype = torch.float32, surrogate: Any = None, **options: Any) -> st.SpikingNet:
    """Return the network in torch; options are those of ``SpikingNet``."""
    made = [module(*each, dtype, surrogate or F.Sigmoid(beta=2.0)).to(dtype) for each in exponents(network)]
    return st.SpikingNet(nn.Sequential(*made), **options)


@dataclass(frozen=True)
class Way:
    """How a network runs."""

    mode: str = "step"
    event_driven: str = "off"
    dtype: torch.dtype = torch.float32
    records: bool = True  # compare each layer at each step, in place of the last output and the last membranes


WAYS = [Way(*each) for each in product(("auto", "fold", "step"), ("off", "on"), (F32, F64), (True, False))]
STEPS = [way for way in WAYS if way.mode == "step"]


def compare(network: Network, ways: Iterable[Way], counts: Counter[str]) -> None:
    """Run a network in some ways beside the oracle, and count what is seen.

    Raises:
        AssertionError: a number differs, or only one of the two says that a neuron overflows.
    """
    try:
        traces = run(network)
    except OverflowError:
        traces = None
    counts["networks"] += 1
    counts["networks that overflow"] += traces is None
    for trace in traces or ():
        counts["neuron steps"] += trace.spikes.size
        counts["spikes"] += int(trace.spikes.sum())
        counts["saturated"] += trace.overflows
    for way in ways:
        if network.exact or way.dtype == F64:
            raised, wrong = "", 0
            try:
                wrong = different(network, traces, way)
            except OVERFLOW as error:
                raised = str(error)
            counts["runs"] += 1
            counts["neuron steps compared"] += sum(trace.spikes.size for trace in traces or ())
            assert wrong == 0, f"seed {network.seed}: {wrong} numbers differ, {way}"
            assert ("overflow" in raised) == (traces is None), f"seed {network.seed}: {raised!r}, {way}"


def different(network: Network, traces: list[descriptions.Trace] | None, way: Way) -> int:
    """Return how many numbers of a network differ from those of the oracle."""
    model = build(network, way.dtype, mode=way.mode, event_driven=way.event_driven)
    x = real(network.x, network.input_exponent, way.dtype)
    names = ("spikes", "u", "v", "i") if any(map(has_current, network.layers)) else ("spikes", "u", "v")
    with torch.no_grad():
        seen = st.record(model, x, names) if way.records else None
        out = seen.out if seen is not None else model(x)
    if traces is None:
        return 0
    wrong = unequal(out, traces[-1].spikes, 0)
    layers = [(name, layer) for name, layer in model.net.named_modules() if isinstance(layer, st.StepLayer)]
    for node, trace, (name, layer) in zip(network.layers, traces, layers, strict=True):
        n = node.fraction_bits
        wrong += unequal(layer.v, trace.v[:, -1], n)
        if seen is not None:
            found = seen[name]
            wrong += unequal(found["spikes"], trace.spikes, 0)
            wrong += unequal(found["u"], trace.u, n) + unequal(found["v"], trace.v, n)
            wrong += unequal(found["i"], trace.i, n) if has_current(node) else 0
    return wrong


def has_current(node: Neuron | Chip) -> bool:
    """Whether neurons have a current of their own."""
    return node.kind == "cuba" if isinstance(node, Neuron) else not isinstance(node, Speck)


def unequal(found: Any, numbers: Whole, exponent: int) -> int:
    """Return how many entries are not these whole numbers times ``2**-exponent``."""
    expected = torch.as_tensor(numbers).double() * 2.0**-exponent
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return int((found.double() != expected).sum())


def random_model(seed: int) -> tuple[IntegerModel, Any]:
    """Return a network, every second one with a layer of a chip, and an input in whole numbers, (N, T, ...).

    Where sums may be too large, or a neuron overflows that must not, they are those of a later seed.
    """
    network = draw_chain(seed // 2) if seed % 2 else draw(seed)
    x = real(network.x, network.input_exponent, F32)
    try:
        integer = to_integer(build(network, mode="step", warn_silent=False), x)
        integer.run(x)
    except (IntegerError, ValueError, OverflowError):
        return random_model(seed + 1000)
    return integer, integer.whole_input(x)


Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def on_grid(layer: Layer, bits: int, scaled: bool = True) -> Layer:
    """Return a layer with weights of so many bits, which are enlarged first so that neurons fire."""
    with torch.no_grad():
        for each in layer.parameters():
            each.mul_(3.0 if scaled else 1.0)
            unit = 2.0 ** torch.ceil(torch.log2(layer.weight.abs().max())) / 2 ** (bits - 1)
            each.copy_((each / unit).round().clamp(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1) * unit)
    return layer
