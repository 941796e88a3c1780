"""Layers of the neurons of Xylo, Loihi and Speck, as the public models of these chips compute them."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias, Unpack

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.attributes import shown
from spikingtorch.layers.limits import POSITIVE, Limits
from spikingtorch.layers.options import StepOptions, Value, constructor_of
from spikingtorch.layers.whole_numbers import Decay, FixedPointLayer, check_whole, check_whole_numbers
from spikingtorch.validation import check_parameter, check_plain

# one for all neurons, or a tensor with one for each
Number: TypeAlias = int | Tensor
# the bits of Loihi's decays, and those that its weights and thresholds have less than its membrane
_LOIHI_DECAY, _LOIHI_SHIFT = 12, 6
_PLAIN: dict[str, Any] = {**FixedPointLayer.limits, "surrogate": Limits(test=check_plain)}


class XyloLIF(FixedPointLayer):
    """Apply neurons of Xylo to an input: they leak by shifts, saturate at 16 bits, and may fire several times a step.

        j[t] = O(i[t-1] + R(x[t])),  i[t] = j[t] - L(j[t] 2^-dash_syn)
        u[t] = O(v[t-1] + O(O(i[t] - L(v[t-1] 2^-dash_mem)) + bias))
        s[t] = min(floor(u[t] / threshold), most_spikes),  v[t] = u[t] - s[t] threshold

    L rounds down to the grid of the membrane, and where this gives 0, to one unit towards zero. The numbers are those
    of the chip's model, ``xylosim``, if no part of a sum of events leaves the 16 bits, because the chip saturates at
    each event.

    Args:
        dash_mem: bits that the membrane is shifted by, from 0 to 15, a whole number or a tensor with one a neuron.
        dash_syn: those of the current.
        threshold: membrane per spike, positive, a multiple of 2^-fraction_bits.
        bias: added to the membrane at each step, a multiple of 2^-fraction_bits.
        most_spikes: in one step; 31 of the hidden neurons of Xylo, 1 of its outputs.
        fraction_bits: bits of the membrane after the point: a weight of the chip is a multiple of 2^-fraction_bits.
        surrogate: a plain spike function.
        **options: recurrent, refractory and returns, as in FixedPointLIF.

    >>> import torch
    >>> XyloLIF(dash_mem=1, dash_syn=1)(torch.tensor([1.0, 4.0]), init=True)
    tensor([0., 2.])
    """

    limits: Mapping[str, Any] = _PLAIN | {"threshold": POSITIVE, "most_spikes": Limits(least=1.0)}
    on_grid: ClassVar[tuple[str, ...]] = ("threshold", "bias")

    def __init__(
        self,
        dash_mem: Number = 3,
        dash_syn: Number = 2,
        threshold: Value = 1.0,
        bias: Value = 0.0,
        *,
        most_spikes: int = 31,
        fraction_bits: int = 8,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        **options: Unpack[StepOptions],
    ) -> None:
        owner = type(self).__name__
        leak_syn, leak = (_power(owner, *dash) for dash in (("dash_syn", dash_syn), ("dash_mem", dash_mem)))
        most = check_whole(owner, "most_spikes", most_spikes, 1, 2**15)
        given: dict[str, Any] = {"leak_syn": leak_syn, "leak": leak, "threshold": threshold, "bias": bias}
        given |= {"most_spikes": most, **options}
        form: dict[str, Any] = {"fraction_bits": fraction_bits, "membrane_bits": 16}
        super().__init__(F.chips.xylo_lif_step, F.chips.XyloLIFState, **form, **given, surrogate=surrogate)

    @property
    def dash_mem(self) -> Number:
        """The bits that the membrane is shifted by."""
        return _bits(self.leak)

    @property
    def dash_syn(self) -> Number:
        """The bits that the current is shifted by."""
        return _bits(self.leak_syn)

    @property
    def decay_numbers(self) -> Decay | None:
        """None: a shift that takes away one unit at least leaves no multiple of the membrane."""
        return None

    def _check_limits(self, name: str, value: Any, learns: bool) -> None:
        super()._check_limits(name, value, learns)
        if name in ("leak", "leak_syn"):
            check_parameter(type(self).__name__, name, value, least=2.0**-15, most=1.0)
            exponents = torch.log2(torch.as_tensor(value).double())
            if not torch.equal(exponents, exponents.round()):
                raise ValueError(
                    f"XyloLIF: {name} is no power of two, 2**-dash; make another layer with dash_mem=, dash_syn="
                )

    def _arguments(self) -> dict[str, str]:
        dashes = {"leak": f"dash_mem={shown(self.dash_mem)}", "leak_syn": f"dash_syn={shown(self.dash_syn)}"}
        return dashes | {"most_spikes": f"most_spikes={self.most_spikes:g}"}


def _power(owner: str, name: str, dash: Number) -> Value:
    dash = check_whole_numbers(owner, name, dash, 0, 15)
    if isinstance(dash, Tensor):
        return (1.0 / (1 << dash.long()).double()).to(torch.get_default_dtype())
    return math.ldexp(1.0, -dash)


def _bits(leak: Any) -> Number:
    return -torch.log2(leak.detach()).round().long() if isinstance(leak, Tensor) else -round(math.log2(leak))


class LoihiLIF(FixedPointLayer):
    """Apply current-based LIF neurons of Loihi to an input: decays of 12 bits, current and membrane of 24.

        i[t] = W(R(k_syn i[t-1]) + Q(x[t])),  k_syn = (4095 - du) / 2^12
        u[t] = C(R(k v[t-1]) + i[t] + bias),  k = (4096 - dv) / 2^12
        s[t] = 1 where u[t] > threshold, else 0,  v[t] = (1 - s[t]) u[t]

    R rounds towards zero to multiples of 2^-fraction_bits, and Q to those of 2^(6 - fraction_bits), of which weights
    and thresholds are made. W wraps the current at 24 bits, and C saturates the membrane. The numbers are those of the
    bit-accurate LIF of lava, which calls the current u: its ``vth`` is threshold 2^(fraction_bits - 6), and its bias, a
    mantissa times a power of two, is bias 2^fraction_bits.

    Args:
        du: decay of the current, from 0 to 4095, a whole number or a tensor with one a neuron.
        dv: decay of the membrane, likewise.
        threshold: membrane above which the neuron fires, a multiple of 2^(6 - fraction_bits).
        bias: added to the membrane at each step, a multiple of 2^-fraction_bits.
        fraction_bits: bits of current and membrane after the point.
        surrogate: a plain spike function.
        **options: recurrent, refractory and returns, as in FixedPointLIF.

    >>> import torch
    >>> LoihiLIF(du=4095, dv=0)(torch.tensor([1.0, 1.5]), init=True)
    tensor([0., 1.])
    """

    limits: Mapping[str, Any] = _PLAIN | {"threshold": Limits()}  # it fires above its threshold, which may be 0
    attribute_names: ClassVar[Mapping[str, str]] = {"reset": "reset_rule", "decay_syn": "decay_synapse"}
    decays: ClassVar[Mapping[str, str]] = {"decay_synapse": "decay_syn", "decay": "decay"}
    on_grid: ClassVar[tuple[str, ...]] = ("threshold", "bias")

    def __init__(
        self,
        du: Number = 1024,
        dv: Number = 512,
        threshold: Value = 1.0,
        bias: Value = 0.0,
        *,
        fraction_bits: int = 12,
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        **options: Unpack[StepOptions],
    ) -> None:
        owner = type(self).__name__
        unity = 2**_LOIHI_DECAY
        synapse = unity - 1 - check_whole_numbers(owner, "du", du, 0, unity - 1)
        membrane = unity - check_whole_numbers(owner, "dv", dv, 0, unity - 1)
        form: dict[str, Any] = {"fraction_bits": fraction_bits, "membrane_bits": 24, "rounding": "trunc"}
        decays = {"decay_synapse": (synapse, _LOIHI_DECAY), "decay": (membrane, _LOIHI_DECAY)}
        given: dict[str, Any] = decays | {"threshold": threshold, "bias": bias, **options}
        super().__init__(F.chips.loihi_lif_step, F.chips.LoihiLIFState, **form, **given, surrogate=surrogate)

    @property
    def du(self) -> Number:
        """The decay of the current, from 0 to 4095."""
        found: Number = 2**_LOIHI_DECAY - 1 - self._numbers("decay_synapse")[0]
        return found

    @property
    def dv(self) -> Number:
        """The decay of the membrane, from 0 to 4095."""
        found: Number = 2**_LOIHI_DECAY - self._numbers("decay")[0]
        return found

    @property
    def low(self) -> float:
        """The least membrane, the greatest one turned over."""
        return -self.grid.high

    def _check_multiple(self, name: str, value: Tensor | float, bits: int) -> None:
        super()._check_multiple(name, value, bits - _LOIHI_SHIFT if name == "threshold" else bits)

    def _arguments(self) -> dict[str, str]:
        return {"decay_synapse": f"du={shown(self.du)}", "decay": f"dv={shown(self.dv)}"}


class SpeckIAF(FixedPointLayer):
    """Apply integrate-and-fire neurons of Speck to an input: without a leak, once for each threshold that fits.

        u[t] = v[t-1] + R(x[t]),  s[t] = floor(u[t] / threshold) where u[t] > 0, else 0
        v[t] = max(u[t] - s[t] threshold, v_min)

    The numbers are those of the discretised IAF of Sinabs. The chip itself has no steps, so that its spikes may differ.

    Args:
        threshold: membrane per spike, positive, a multiple of 2^-fraction_bits.
        v_min: the least membrane, at most 0, a multiple of 2^-fraction_bits.
        fraction_bits: bits of the membrane after the point: a weight of the chip is a multiple of 2^-fraction_bits.
        rounding: of inputs, as in FixedPointLIF.
        surrogate: a plain spike function.
        **options: recurrent, refractory and returns, as in FixedPointLIF.

    >>> import torch
    >>> SpeckIAF()(torch.tensor([0.5, 2.5]), init=True)
    tensor([0., 2.])
    """

    limits: Mapping[str, Any] = _PLAIN | {"threshold": POSITIVE, "v_min": Limits(most=0.0)}
    on_grid: ClassVar[tuple[str, ...]] = ("threshold", "v_min")

    @constructor_of(F.chips.speck_iaf_step, F.chips.SpeckIAFState, membrane_bits=16)
    def __init__(
        self,
        threshold: Value = 1.0,
        v_min: Value = -1.0,
        *,
        fraction_bits: int = 8,
        rounding: str = "floor",
        surrogate: F.Surrogate = F.Sigmoid(beta=5.0),
        **options: Unpack[StepOptions],
    ) -> None: ...

    @property
    def low(self) -> Any:
        """The least membrane, v_min."""
        return self.v_min
