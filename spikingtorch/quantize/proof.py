"""The proof that float32 adds what integers add: bounds of all sums, and settings of torch under which they hold."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch.functional.core.modes import HOST
from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.network import WholeNetwork
from spikingtorch.quantize.neurons import Neuron, Node, State, advance
from spikingtorch.quantize.nodes import Conv2d, Flatten, Linear, Sum, SumPool2d, Synapses, Whole, same

# float32 has all whole numbers below it
LIMIT = 1 << 24
# and all of them times 2**-e, for e from minus this number to it: none is infinite, and none is flushed to zero
_MOST_EXPONENT = 100
# bits that rounding takes away: sums below the limit are nothing but rounding errors beyond half of them
_MOST_ROUNDED = 48
# steps after which the bounds of a membrane have to stand still
_MOST_STEPS = 10_000


class Given(NamedTuple):
    """What arrives at a node: its unit is 2**-exponent, and ``largest`` has the largest absolute values in it."""

    exponent: int
    largest: Whole


def bounds_of(integer: WholeNetwork) -> dict[str, int]:
    """Return the proven bound of each node's sums, in their finest unit.

    Raises:
        IntegerError: a bound is not below 2**24, or sums of a Xylo neuron may saturate on the way.
    """
    largest = max(-integer.input_range[0], integer.input_range[1])
    given, found = [Given(integer.input_exponent, np.full(integer.input_shape, largest, np.int64))], {}
    for node, sources in integer.steps():
        arriving = [given[source + 1] for source in sources]
        if isinstance(node, Neuron):
            found[node.name] = _of_neurons(node, arriving[0].largest)
        given.append(after(node, arriving))
        if isinstance(node, Linear | Conv2d | SumPool2d | Sum):
            found[node.name] = int(given[-1].largest.max())
    return found


def after(node: Node, arriving: Sequence[Given]) -> Given:
    """Return what leaves a node, from what arrives at it; raise IntegerError as ``bounds_of`` does."""
    given = arriving[0]
    if isinstance(node, Sum):
        _check_exponent(node.name, node.exponent)
        scaled = [_scaled(each.largest, shift) for each, shift in zip(arriving, node.shifts, strict=True)]
        largest: Whole = np.sum(scaled, 0)
        _check(node.name, int(largest.max()))
        return Given(node.exponent, largest.astype(np.int64))
    if isinstance(node, Flatten):
        return given._replace(largest=given.largest.reshape(-1))
    if isinstance(node, Neuron):
        _of_neurons(node, given.largest)
        return Given(0, np.full(node.shape, node.most_spikes, np.int64))
    largest = _of_sums(node, given.largest)
    _check_exponent(node.name, node.exponent)
    _check(node.name, int(largest.max()))
    return Given(node.exponent, largest)


def _of_sums(node: Synapses | SumPool2d, largest: Whole) -> Whole:
    """Return ``sum |w| largest + |b|``: a bound of each sum and of all its parts, in any order."""
    numbers = {name: getattr(node, name) for name in ("weight", "bias") if hasattr(node, name)}
    sizes = {name: np.abs(each.astype(np.int64)) for name, each in numbers.items()}
    found: Whole = replace(node, **sizes).sums(largest[None])[0]
    return found


def _of_neurons(node: Neuron, largest: Whole) -> int:
    """Return the bound of the sums of neurons, currents from before the step included."""
    _check_exponent(node.name, node.sum_exponent)
    finest, total = node.sum_exponent, _scaled(largest, node.sum_exponent - node.exponent)
    if node.recurrent is not None:
        ones = np.full(node.shape, node.most_spikes, np.int64)
        total = total + _scaled(_of_sums(node.recurrent, ones), finest - node.recurrent.exponent)
    most, held = int(total.max()), max(-node.low, node.high)
    _check(node.name, most)
    # the rounded current, beside a membrane or a current that its decay has not enlarged
    coarser = finest - node.input_bits
    if coarser > _MOST_ROUNDED:
        raise IntegerError(
            node.name,
            "grid",
            f"its sums are in units of 2**{-finest}, of which its membrane rounds {coarser} bits away, so that nothing "
            f"is left; {_MOST_ROUNDED} are the most. Enlarge its weights, or take more fraction_bits",
            float(coarser),
        )
    arriving = (most >> coarser) + 1 if coarser > 0 else most << -coarser
    arriving <<= node.fraction_bits - node.input_bits
    moved = arriving + held + int(np.abs(node.bias).max())
    _check_events(node, arriving)
    if moved > LIMIT:
        _check(node.name, moved)
    return max(most, moved)


def _check_events(node: Neuron, arriving: int) -> None:
    """Raise unless the current of a Xylo neuron stays in its register, whatever the order of events.

    A current i loses at least i / 2**dash of itself, so i + x never exceeds (x + 1) 2**dash.
    """
    if node.kind != "xylo":
        return
    assert node.decay_synapse is not None
    reached = (arriving + 1) << int(np.max(node.decay_synapse[1]))
    if reached > node.high:
        raise IntegerError(
            node.name,
            "events",
            f"its current saturates at each event, and may reach {reached} on the way, beyond {node.high}. Take "
            "smaller weights or a smaller dash of the current",
            float(reached),
        )


def stays_in_register(node: Neuron, arriving: tuple[int, int]) -> bool:
    """Return whether it is proven that no membrane and no current leaves its register, from rest on.

    Args:
        node: neurons; nothing is proven for those of chips.
        arriving: the least and the largest sum that arrives.
    """
    zeros, spikes = np.zeros(node.shape, np.int64), np.full(node.shape, node.most_spikes)
    back = (None, None) if node.recurrent is None else node.recurrent.reach(zeros, spikes)
    x, largest = (node.arriving(zeros + end, sums) for end, sums in zip(arriving, back, strict=True))
    free = replace(node, overflow="saturate", low=-(1 << 60), high=1 << 60)
    grows = all(np.min(decay[0]) >= 0 for decay in (node.decay, node.decay_synapse) if decay is not None)
    least = most = State(zeros, zeros)
    for _ in range(_MOST_STEPS if grows and node.kind in ("if", "lif", "cuba") else 0):
        # an update grows with state and input; a membrane that does not fire is below its threshold
        (lower, u, _), (upper, high, _) = advance(free, least, x), advance(free, most, largest)
        silent = np.minimum(high, node.threshold - (not node.strict))
        reached = [u, high, upper.v, lower.i, upper.i]
        if min(each.min() for each in reached) < node.low or max(each.max() for each in reached) > node.high:
            return False
        before = least, most
        least = State(np.minimum(least.i, lower.i), np.minimum.reduce([least.v, u, silent, upper.v]))
        most = State(np.maximum(most.i, upper.i), np.maximum.reduce([most.v, silent, upper.v]))
        if same(before, (least, most)):
            return True
    return False


def _scaled(a: Whole, bits: int) -> Whole:
    """Return a 2**bits, in whole numbers of any size."""
    return np.asarray(a.astype(object) << bits)


def _check_exponent(path: str, exponent: int) -> None:
    """Raise unless float32 has whole numbers times 2**-exponent."""
    if abs(exponent) > _MOST_EXPONENT:
        raise IntegerError(
            path,
            "grid",
            f"its sums are in units of 2**{-exponent}, beyond the exponents of float32; scale inputs or weights",
            float(exponent),
        )


def _check(path: str, largest: int) -> None:
    """Raise unless sums stay below the limit of exact whole numbers."""
    if largest >= LIMIT:
        raise IntegerError(
            path,
            "sums",
            f"its sums may reach {largest} of their finest unit, and float32 has all whole numbers below {LIMIT} only. "
            "Take fewer bits for weights or inputs, or fewer inputs",
            float(largest),
        )


def check_settings(model: nn.Module, x: Tensor) -> None:
    """Raise unless a network computes plain sums in float32 or float64.

    Raises:
        TypeError: x is no tensor.
        IntegerError: the network or its input is in another dtype or on another device than the CPU, there are no
            samples, autocast is on, products of float32 may be rounded, or convolutions run without oneDNN (mkldnn),
            whose other ways multiply sums of weights and so round.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x is a {type(x).__name__}, expected a tensor (N, T, ...)")
    for what, remedy, some in (("the network has", "model", [*model.parameters()]), ("the input is", "x", [x])):
        wrong = next((each.dtype for each in some if each.dtype not in (torch.float32, torch.float64)), None)
        if wrong is not None:
            raise IntegerError("", "dtype", f"{what} {wrong}, expected float32: {remedy}.float()")
    if x.numel() == 0:
        raise IntegerError(
            "", "input", f"the input of shape {tuple(x.shape)} is empty, and shows nothing; pass samples"
        )
    tensors = [*model.parameters(), x]
    elsewhere = next((each for each in tensors if each.device.type != HOST.type), None)
    if elsewhere is not None:
        raise IntegerError(
            "",
            "dtype",
            f"the network or its input is on {elsewhere.device}, whose libraries may sum in a way of their own. Use "
            "model.cpu() and x.cpu()",
        )
    if torch.is_autocast_enabled(HOST.type):
        dtype = torch.get_autocast_dtype(HOST.type)
        raise IntegerError("", "dtype", f"autocast rounds sums to {dtype}; call it outside of torch.autocast")
    fast = [name for name in ("matmul", "conv") if _precision(name) in ("bf16", "tf32")]
    if fast:
        raise IntegerError(
            "",
            "dtype",
            f"torch.backends.mkldnn.{fast[0]}.fp32_precision is {_precision(fast[0])!r}, so that torch may round what "
            "it multiplies. Set torch.set_float32_matmul_precision('highest'), or that attribute to 'ieee'",
        )
    convolution = next((name for name, each in model.named_modules() if isinstance(each, nn.Conv2d)), None)
    if convolution is not None and x.dtype == torch.float32 and not has_plain_convolutions():
        raise IntegerError(
            convolution.removeprefix("net."),
            "plain",
            "without oneDNN torch may compute a convolution in Winograd's way, which rounds. Set "
            "torch.backends.mkldnn.enabled = True",
        )


def _precision(name: str) -> str:
    """Return in what precision oneDNN multiplies float32."""
    mkldnn: Any = torch.backends.mkldnn
    return str(getattr(mkldnn, name).fp32_precision)


def has_plain_convolutions() -> bool:
    """Return whether convolutions in float32 add products of weights and inputs, and nothing else."""
    mkldnn: Any = torch.backends.mkldnn
    return bool(mkldnn.is_available() and mkldnn.enabled)


def settings_in_words(x: Tensor) -> str:
    """Return the settings of a run, for a certificate."""
    dtype = str(x.dtype).removeprefix("torch.")
    return f"torch {torch.__version__}, {dtype} on the CPU, {torch.get_num_threads()} threads, oneDNN on, autocast off"
