"""Layers of neurons that compute with whole numbers: IF, LIF and CubaLIF."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from spikingtorch import functional as F
from spikingtorch.layers.options import StepOptions, Value, constructor_of
from spikingtorch.layers.whole_numbers import Decay, FixedPointLayer

# exp(-1 / 8) and exp(-1 / 4), to the nearest multiple of 2^-8
_MEMBRANE, _SYNAPSE = (226, 8), (199, 8)


class FixedPointIF(FixedPointLayer):
    """Apply integrate-and-fire neurons with membranes of whole numbers to an input, one step per call.

        u[t] = O(v[t-1] + R(x[t])),  s[t] = H(u[t] - threshold),  v[t] = O(reset(u[t], s[t], threshold))

    Args:
        threshold: membrane at which the neuron fires, a multiple of 2^-fraction_bits within the range.
        fraction_bits, membrane_bits, rounding, overflow, surrogate, reset, **options: as in FixedPointLIF.
    """

    @constructor_of(F.fixed_point.fixed_point_if_step, F.fixed_point.FixedPointIFState)
    def __init__(
        self,
        threshold: Value = 1.0,
        *,
        fraction_bits: int = 8,
        membrane_bits: int = 16,
        rounding: str = "floor",
        overflow: str = "saturate",
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[StepOptions],
    ) -> None: ...


class FixedPointLIF(FixedPointLayer):
    """Apply leaky integrate-and-fire neurons with membranes of whole numbers to an input, one step per call.

        u[t] = O(R(decay v[t-1]) + R(x[t])),  s[t] = H(u[t] - threshold),  v[t] = O(reset(u[t], s[t], threshold))

    R rounds to the grid of the membrane, multiples of 2^-fraction_bits, and O keeps membranes within their bits. In
    float32 the numbers are those of an integer program, if no sum of weights, bias and membrane reaches 2^24 units of
    the finest grid. Gradients pass R unchanged.

    Args:
        decay: k / 2^m, given as (k, m), with 0 <= k <= 2^m; k may be a tensor of whole numbers. m is 12 at most, or
            25 - membrane_bits if that is more.
        threshold: membrane at which the neuron fires, a multiple of 2^-fraction_bits within the range.
        fraction_bits: bits of the membrane after the point. Inputs with more of them are rounded.
        membrane_bits: bits of the membrane with its sign, from 2 to 24.
        rounding: of products and inputs: "floor", "trunc" (towards zero), "half_up" or "half_even".
        overflow: of sums: "saturate", "wrap" as two's complement does, or "error". "error" raises after the call, and
            makes a GPU wait; inside ``torch.compile`` and ``torch.func`` the membrane is NaN instead.
        surrogate: spike function.
        reset: what a spike does to the membrane, as in IF; a value is on the grid.
        **options: recurrent, refractory and returns, as in StepLayer. Nothing is learnable, because it would leave
            the grid.

    >>> import torch
    >>> layer = FixedPointLIF(decay=(3, 2), fraction_bits=2, membrane_bits=8)
    >>> [layer(torch.tensor([0.6]), init=(t == 0)).item() for t in range(4)], layer.low, layer.high
    ([0.0, 0.0, 1.0, 0.0], -32.0, 31.75)
    """

    decays: ClassVar[Mapping[str, str]] = {"decay": "decay"}

    @constructor_of(F.fixed_point.fixed_point_lif_step, F.fixed_point.FixedPointLIFState)
    def __init__(
        self,
        decay: Decay = _MEMBRANE,
        threshold: Value = 1.0,
        *,
        fraction_bits: int = 8,
        membrane_bits: int = 16,
        rounding: str = "floor",
        overflow: str = "saturate",
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[StepOptions],
    ) -> None: ...


class FixedPointCubaLIF(FixedPointLayer):
    """Apply current-based LIF neurons with whole numbers for current and membrane to an input.

        i[t] = O(R(decay_synapse i[t-1]) + R(x[t])),  u[t] = O(R(decay v[t-1]) + i[t])
        s[t] = H(u[t] - threshold),  v[t] = O(reset(u[t], s[t], threshold)),  R and O as in FixedPointLIF

    Args:
        decay_synapse: share of the current kept over a step, k / 2^m given as (k, m).
        decay: that of the membrane, likewise.
        threshold, fraction_bits, membrane_bits, rounding, overflow, surrogate, reset, **options: as in FixedPointLIF;
            current and membrane have the same bits.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"reset": "reset_rule", "decay_syn": "decay_synapse"}
    decays: ClassVar[Mapping[str, str]] = {"decay_synapse": "decay_syn", "decay": "decay"}

    @constructor_of(F.fixed_point.fixed_point_cuba_lif_step, F.fixed_point.FixedPointCubaLIFState)
    def __init__(
        self,
        decay_synapse: Decay = _SYNAPSE,
        decay: Decay = _MEMBRANE,
        threshold: Value = 1.0,
        *,
        fraction_bits: int = 8,
        membrane_bits: int = 16,
        rounding: str = "floor",
        overflow: str = "saturate",
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        reset: F.Reset = F.to_zero,
        **options: Unpack[StepOptions],
    ) -> None: ...
