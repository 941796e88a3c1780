"""Fixed-point layers as neurons in whole numbers."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.neurons import FixedPointCubaLIF, FixedPointIF, FixedPointLIF
from spikingtorch.quantize.arithmetic import Whole
from spikingtorch.quantize.chain import Call
from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.integer import Diagonal, Linear, Neuron, Synapses
from spikingtorch.quantize.lower_weights import conv_node, weights_of

_KINDS: dict[type[StatefulLayer], str] = {FixedPointIF: "if", FixedPointLIF: "lif", FixedPointCubaLIF: "cuba"}
_RESETS: dict[Any, str] = {F.to_zero: "zero", F.by_subtraction: "subtraction", F.none: "none"}


def lowered_neurons(call: Call, exponent: int, largest: Whole) -> Neuron:
    """Return the node of a layer of neurons.

    Args:
        call: the layer.
        exponent: of the sums that arrive.
        largest: largest absolute values of these sums.

    Raises:
        IntegerError: the neurons are no fixed-point neurons, or their sums may be inexact in float32.
    """
    layer: Any = call.layer
    kind = _KINDS.get(type(layer))
    if kind is None:
        raise IntegerError(
            call.path,
            "neurons",
            f"{type(layer).__name__} computes with numbers that are not whole, such as a decay that is no k / 2**m or "
            "an exponential; use FixedPointIF, FixedPointLIF or FixedPointCubaLIF",
        )
    _check_options(call.path, layer)
    bits = layer.fraction_bits
    reset, v_reset = _reset(call, layer, bits)
    return Neuron(
        name=call.path,
        kind=kind,
        shape=call.before,
        exponent=exponent,
        fraction_bits=bits,
        decay=_decay(call, layer.decay_numbers),
        decay_synapse=_decay(call, layer.decay_synapse_numbers) if kind == "cuba" else None,
        low=-(1 << layer.membrane_bits - 1),
        high=(1 << layer.membrane_bits - 1) - 1,
        threshold=_own(call, layer.threshold, bits, "threshold"),
        strict=isinstance(layer.surrogate, F.Strict),
        reset=reset,
        v_reset=v_reset,
        rounding=layer.rounding,
        overflow=layer.overflow,
        recurrent=_recurrent(call, layer),
        bound=int(largest.max()),
    )


def _check_options(path: str, layer: Any) -> None:
    if layer.returns != "spikes":
        raise IntegerError(path, "chain", f"it returns {layer.returns}, expected spikes alone: returns='spikes'")
    if layer.refractory is not None:
        raise IntegerError(path, "neurons", "it has a refractory period, for which there are no integers")
    if hasattr(layer.surrogate, "fire") and not isinstance(layer.surrogate, F.Strict):
        raise IntegerError(path, "neurons", f"it fires by {layer.surrogate}, expected spikes of 0 and 1")


def _own(call: Call, value: Any, bits: int, name: str) -> Any:
    """Return a parameter in units of 2**-bits: an int, or an array of the shape of the neurons."""
    numbers = torch.as_tensor(value).detach().double() * 2.0**bits
    whole = numbers.round().long()
    if not torch.equal(numbers, whole.double()):
        raise IntegerError(call.path, "grid", f"its {name} is no multiple of 2**-{bits}: {value}")
    return _broadcast(call, whole)


def _broadcast(call: Call, whole: Tensor) -> Any:
    if whole.numel() == 1:
        return int(whole)
    return whole.broadcast_to((1, *call.before))[0].cpu().numpy().astype(np.int64)


def _decay(call: Call, numbers: tuple[Any, int]) -> tuple[Any, int]:
    factor, bits = numbers
    return (_broadcast(call, factor) if isinstance(factor, Tensor) else int(factor)), int(bits)


def _reset(call: Call, layer: Any, bits: int) -> tuple[str, Any]:
    rule: Any = layer.reset_rule
    inner = rule.rule if isinstance(rule, F.Detached) else rule
    if inner in _RESETS:
        return _RESETS[inner], 0
    if hasattr(layer, "v_reset"):
        return "value", _own(call, layer.v_reset, bits, "v_reset")
    raise IntegerError(
        call.path, "neurons", f"its reset is {rule}, expected one of to_zero, by_subtraction, to_value, none"
    )


def _recurrent(call: Call, layer: Any) -> Synapses | None:
    recurrent, path = layer.recurrent, f"{call.path}.recurrent" if call.path else "recurrent"
    if recurrent is None:
        return None
    if isinstance(recurrent, nn.Linear) and len(call.before) == 1:
        return Linear(path, *weights_of(path, recurrent.weight, recurrent.bias, 0))
    if isinstance(recurrent, nn.Conv2d):
        return conv_node(path, recurrent, 0, call.before, call.before)
    if isinstance(recurrent, Tensor):
        each = recurrent.detach().broadcast_to((1, *call.before))[0]
        weight, _, exponent = weights_of(path, each, None, 0)
        return Diagonal(path, weight, exponent)
    raise IntegerError(
        path,
        "layers",
        f"it is a {type(recurrent).__name__} for neurons {call.before}, expected Linear for one axis of neurons, and "
        "Conv2d or a tensor of weights for images",
    )
