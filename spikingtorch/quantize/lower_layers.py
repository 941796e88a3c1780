"""Weights and fixed-point layers as whole numbers."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spikingtorch import functional as F
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.delayed_recurrence import DelayedRecurrence
from spikingtorch.layers.neurons import FixedPointCubaLIF, FixedPointIF, FixedPointLIF, LoihiLIF, SpeckIAF, XyloLIF
from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.grid import exponent_of, whole_numbers
from spikingtorch.quantize.neurons import Neuron
from spikingtorch.quantize.nodes import Conv2d, Diagonal, Ints, Linear, Synapses, Whole
from spikingtorch.step_graph.recorder import Call

# whole numbers of more bits are floats that were never rounded
_WEIGHT_BITS = 16
_KINDS: dict[type[StatefulLayer], str] = {
    FixedPointIF: "if",
    FixedPointLIF: "lif",
    FixedPointCubaLIF: "cuba",
    XyloLIF: "xylo",
    LoihiLIF: "loihi",
    SpeckIAF: "speck",
}
_RESETS: dict[Any, str] = {F.to_zero: "zero", F.by_subtraction: "subtraction", F.none: "none"}


def weights_of(path: str, weight: Tensor, bias: Tensor | None, arriving: int) -> tuple[Ints, Ints, int]:
    """Return weights and bias as whole numbers, and the exponent of their sums.

    Raises:
        IntegerError: they are on no grid of few bits.
    """
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and not bool(tensor.isfinite().all()):
            raise IntegerError(path, "grid", f"its {name} holds NaN or infinities, which are no whole numbers")
    own = exponent_of(weight)
    bits = _bits(weight, own)
    if bias is not None and bool(bias.any()):
        own = max(own, exponent_of(bias) - arriving)
    aligned = max(_bits(weight, own), 0 if bias is None else _bits(bias, own + arriving))
    if bits > _WEIGHT_BITS or aligned > 31:
        raise IntegerError(
            path,
            "grid",
            f"its weights are whole numbers of {bits} bits times a power of two, and with the bias in one unit of "
            f"{aligned}; {_WEIGHT_BITS} and 31 are the most. Round them: prepare_qat(model) before training, "
            "quantize(model, data) after it",
            float(bits),
        )
    whole = _small(whole_numbers(weight, own))
    if bias is None:
        return whole, np.zeros(len(whole), np.int32), own + arriving
    return whole, whole_numbers(bias, own + arriving).cpu().numpy().astype(np.int32), own + arriving


def _bits(tensor: Tensor, exponent: int) -> int:
    """Return the bits, with a sign, of a tensor times 2**exponent."""
    if not tensor.numel():
        return 1
    low, high = (float(edge) * 2.0**exponent for edge in torch.aminmax(tensor.detach().double()))
    return 1 + max(math.ceil(math.log2(max(-low, 1.0))), math.ceil(math.log2(max(high, 0.0) + 1.0)))


def _small(whole: Tensor) -> Ints:
    array: Ints = whole.cpu().numpy()
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    kinds: Any = (np.int8, np.int16, np.int32)
    return array.astype(next(kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max))


def conv_node(path: str, layer: nn.Conv2d, arriving: int, before: tuple[int, ...], after: tuple[int, ...]) -> Conv2d:
    """Return the node of a convolution."""
    if layer.padding_mode != "zeros":
        raise IntegerError(path, "layers", f"padding_mode is {layer.padding_mode!r}, expected 'zeros'")
    padding = layer.padding
    if isinstance(padding, str):
        spans = [(k - 1) * d for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
        if padding == "same" and any(span % 2 for span in spans):
            raise IntegerError(path, "layers", "padding 'same' of an even kernel has two sides of different sizes")
        padding = tuple(span // 2 for span in spans) if padding == "same" else (0, 0)
    numbers = weights_of(path, layer.weight, layer.bias, arriving)
    stride, around, dilation = ((int(a), int(b)) for a, b in (layer.stride, padding, layer.dilation))
    return Conv2d(path, *numbers, stride, around, dilation, layer.groups, before, after)


def lowered_neurons(call: Call, exponent: int, largest: Whole) -> Neuron:
    """Return the node of a layer of neurons, for the exponent and the largest absolute values of sums that arrive.

    Raises:
        IntegerError: the neurons are no fixed-point neurons, or their sums may be inexact in float32.
    """
    layer: Any = call.module
    # prepare_qat makes a class of its own for a layer whose recurrent weights are a tensor
    own_class = type(layer).__bases__[0] if parametrize.is_parametrized(layer) else type(layer)
    kind = _KINDS.get(own_class)
    if kind is None:
        raise IntegerError(
            call.path,
            "neurons",
            f"{type(layer).__name__} computes with numbers that are not whole, such as a decay that is no k / 2**m or "
            "an exponential; use FixedPointLIF for instance",
        )
    _check_options(call.path, layer)
    # a layer that was loaded from a checkpoint may have floats for them
    bits, half = int(layer.fraction_bits), 1 << int(layer.membrane_bits) - 1
    numbers: dict[str, Any] = {
        "decay": (1, 0),
        "decay_synapse": None,
        "low": -half,
        "high": half - 1,
        "threshold": _own(call, layer.threshold, bits, "threshold"),
        "strict": isinstance(layer.surrogate, F.Strict),
        "v_reset": 0,
        "rounding": layer.rounding,
        "overflow": layer.overflow,
        "recurrent": _recurrent(call, layer),
        "bound": int(largest.max()),
    }
    own = {"xylo": _xylo, "loihi": _loihi, "speck": _speck}.get(kind, _plain)
    given = Neuron(call.path, kind, call.before, exponent, bits, **(numbers | own(call, layer, numbers)))
    return given if kind != "speck" else _with_most_spikes(given)


def _plain(call: Call, layer: Any, numbers: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    reset, v_reset = _reset(call, layer, int(layer.fraction_bits))
    synapse = None
    if isinstance(layer, FixedPointCubaLIF):
        synapse = _decay(call, "decay_synapse", layer.decay_synapse_numbers)
    return {
        "decay": _decay(call, "decay", layer.decay_numbers),
        "decay_synapse": synapse,
        "reset": reset,
        "v_reset": v_reset,
    }


def _xylo(call: Call, layer: Any, numbers: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    return {
        "decay": (0, _dash(call, "leak", layer.dash_mem)),
        "decay_synapse": (0, _dash(call, "leak_syn", layer.dash_syn)),
        "strict": False,
        "reset": "subtraction",
        "bias": _own(call, layer.bias, int(layer.fraction_bits), "bias"),
        "max_spikes": int(layer.most_spikes),
    }


def _dash(call: Call, name: str, dash: Any) -> Any:
    share = torch.as_tensor(getattr(call.module, name)).detach().double()
    bits = torch.as_tensor(dash)
    if not torch.equal(torch.ldexp(share, bits), torch.ones_like(share)):
        raise IntegerError(call.path, "grid", f"its {name} is no power of two, 2**-dash: {share.tolist()}")
    return _broadcast(call, bits)


def _loihi(call: Call, layer: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    return {
        "decay": _decay(call, "decay", layer.decay_numbers),
        "decay_synapse": _decay(call, "decay_synapse", layer.decay_synapse_numbers),
        "low": -numbers["high"],
        "strict": True,
        "reset": "zero",
        "bias": _own(call, layer.bias, int(layer.fraction_bits), "bias"),
    }


def _speck(call: Call, layer: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    low = _own(call, layer.v_min, int(layer.fraction_bits), "v_min")
    if np.unique(low).size > 1:
        raise IntegerError(call.path, "neurons", "its v_min differs from neuron to neuron, and a register has one end")
    if numbers["recurrent"] is not None:
        raise IntegerError(
            call.path, "sums", "it fires without a limit and feeds itself, so that its sums have no bound"
        )
    # spikes leave less than a threshold
    high = int(np.max(numbers["threshold"])) - 1
    limits = {"low": int(np.min(low)), "high": max(high, int(np.min(low)) + 1)}
    return limits | {"strict": False, "reset": "subtraction", "overflow": "saturate"}


def _with_most_spikes(node: Neuron) -> Neuron:
    """Return neurons of Speck with the most spikes that their sums allow."""
    coarser = node.exponent - node.fraction_bits
    arriving = (node.bound >> coarser) + 1 if coarser > 0 else node.bound << -coarser
    return replace(node, max_spikes=max((node.high + arriving) // int(np.min(node.threshold)), 1))


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


def _decay(call: Call, name: str, numbers: Any) -> tuple[Any, int]:
    bits = int(numbers[1])
    return _own(call, getattr(call.module, name, 1.0), bits, name), bits


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
    if isinstance(recurrent, nn.Linear) and not isinstance(recurrent, DelayedRecurrence) and len(call.before) == 1:
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
