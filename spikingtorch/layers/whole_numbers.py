"""The base of layers whose neurons compute with whole numbers: formats, decays, and what is refused."""

import inspect
import math
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, ClassVar, TypeAlias, TypeGuard

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.layers.attributes import shown
from spikingtorch.layers.base import Memory
from spikingtorch.layers.limits import FIRES, Limits
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.validation import check_parameter, has_values

# k / 2^m as (k, m); k is a number, or a tensor with one for each neuron
Decay: TypeAlias = tuple[int | Tensor, int]

ROUNDINGS: dict[str, F.rounding.Rounding] = {
    "floor": F.rounding.round_floor,
    "trunc": F.rounding.round_trunc,
    "half_up": F.rounding.round_half_up,
    "half_even": F.rounding.round_half_even,
}
OVERFLOWS: dict[str, F.rounding.Overflow] = {
    "saturate": F.rounding.saturate,
    "wrap": F.rounding.wrap,
    "error": F.rounding.overflow_to_nan,
}
# float32 has 24 bits; a number of more bits would be rounded
_MOST_BITS, _MOST_FRACTION = 24, 32
_OF_FORMAT = ("fraction_bits", "membrane_bits", "rounding", "overflow")


def check_whole(owner: str, name: str, value: object, least: int, most: int) -> int:
    """Return a whole number; raise unless it is one from least to most."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise ValueError(f"{owner}: {name}={value!r}, expected a whole number from {least} to {most}")
    return int(value)


def check_whole_numbers(owner: str, name: str, value: Any, least: int, most: int) -> int | Tensor:
    """Return a whole number or a tensor of whole numbers; raise unless they are from least to most."""
    if not isinstance(value, Tensor):
        return check_whole(owner, name, value, least, most)
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{owner}: {name} is a tensor of {value.dtype}, expected whole numbers: {name}.int()")
    if has_values(value) and not (least <= int(value.min()) and int(value.max()) <= most):
        came = f"values from {int(value.min())} to {int(value.max())}"
        raise ValueError(f"{owner}: {name} has {came}, expected whole numbers from {least} to {most}")
    return value


def share_of(owner: str, name: str, decay: object, membrane_bits: int) -> tuple[Tensor | float, int]:
    """Return k / 2^m and m of a decay (k, m); raise unless products with it are exact in float32."""
    if not isinstance(decay, tuple | list) or len(decay) != 2:
        near = f"; near it is ({round(decay * 256)}, 8)" if isinstance(decay, float) and 0 <= decay <= 1 else ""
        raise TypeError(f"{owner}: {name}={decay!r}, expected a pair (k, m) of whole numbers for k / 2**m{near}")
    m = check_whole(owner, f"m of {name}", decay[1], 0, max(12, 25 - membrane_bits))
    k = check_whole_numbers(owner, f"k of {name}", decay[0], 0, 2**m)
    return (k.double() / 2.0**m).to(torch.get_default_dtype()) if isinstance(k, Tensor) else math.ldexp(k, -m), m


class FixedPointLayer(StepLayer):
    """Neurons that compute with whole numbers, times 2^-fraction_bits.

    The format of the membrane is given as in FixedPointLIF. ``**params`` are the other parameters of the step, and
    options of StepLayer; those in ``decays`` are pairs (k, m).
    """

    limits: Mapping[str, Any] = {"grid": Limits(test=lambda *_: None), **FIRES}
    fixed: ClassVar[tuple[str, ...]] = ("grid",)
    # the decays among the arguments, with their names in the step
    decays: ClassVar[Mapping[str, str]] = {}
    # the parameters that are multiples of the unit of the membrane
    on_grid: ClassVar[tuple[str, ...]] = ("threshold", "v_reset")
    grid: F.rounding.FixedPoint
    _decay_bits: dict[str, int]  # m of each decay

    def __init__(
        self,
        step: Callable[..., tuple[Any, Any]],
        state_type: type[Any],
        *,
        fraction_bits: int,
        membrane_bits: int,
        rounding: str = "floor",
        overflow: str = "saturate",
        **params: Any,
    ) -> None:
        owner = type(self).__name__
        if "dt" in params:
            raise TypeError(f"{owner}: dt gives time constants a unit, and {owner} has none; leave dt out")
        fraction = check_whole(owner, "fraction_bits", fraction_bits, 0, _MOST_FRACTION)
        bits = check_whole(owner, "membrane_bits", membrane_bits, 2, _MOST_BITS)
        named: Any = (("rounding", rounding, ROUNDINGS), ("overflow", overflow, OVERFLOWS))
        for name, value, known in named:
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"{owner}: {name}={value!r}, expected one of {', '.join(map(repr, known))}")
        grid = F.rounding.FixedPoint(fraction, bits, ROUNDINGS[rounding], OVERFLOWS[overflow])
        given: dict[str, Any] = {"grid": grid}
        object.__setattr__(self, "_decay_bits", {})
        for name, of_step in self.decays.items():
            given[of_step], self._decay_bits[name] = share_of(owner, name, params.pop(name), bits)
        super().__init__(step, state_type, **given, **params)

    @property
    def fraction_bits(self) -> int:
        """The number of bits after the point: membranes are multiples of 2^-fraction_bits."""
        return self.grid.fraction_bits

    @property
    def membrane_bits(self) -> int:
        """The number of bits of a membrane, with its sign."""
        return self.grid.membrane_bits

    @property
    def rounding(self) -> str:
        """How products and inputs are rounded to the grid."""
        return next(name for name, rule in ROUNDINGS.items() if rule is self.grid.rounding)

    @property
    def overflow(self) -> str:
        """What becomes of a sum outside of the range."""
        return next(name for name, rule in OVERFLOWS.items() if rule is self.grid.overflow)

    @property
    def low(self) -> float:
        """The least membrane."""
        return self.grid.low

    @property
    def high(self) -> float:
        """The greatest membrane."""
        return self.grid.high

    @property
    def decay_numbers(self) -> Decay | None:
        """The decay k / 2^m of the membrane, as (k, m); without a leak (1, 0)."""
        return self._numbers("decay") if "decay" in self._decay_bits else (1, 0)

    @property
    def decay_synapse_numbers(self) -> Decay | None:
        """The decay k / 2^m of the current, as (k, m); None for a neuron without one."""
        return self._numbers("decay_synapse") if "decay_synapse" in self._decay_bits else None

    def _numbers(self, name: str) -> Decay:
        share, m = getattr(self, name), self._decay_bits[name]
        if isinstance(share, Tensor):
            return (share.detach().double() * 2.0**m).round().long(), m
        return round(math.ldexp(share, m)), m

    def _check_limits(self, name: str, value: Any, learns: bool) -> None:
        owner = type(self).__name__
        if learns:
            raise ValueError(
                f"{owner}: {self._name(name)} cannot learn, because it would leave the grid of its whole numbers. Train"
                " the weights; or train a neuron of floating point, and round its parameters"
            )
        super()._check_limits(name, value, learns)
        if name in self._decay_bits:
            check_parameter(owner, name, value, least=0.0, most=1.0)
            self._check_multiple(name, value, self._decay_bits[name])
        elif name in self.on_grid:
            check_parameter(owner, self._name(name), value, least=self.grid.low, most=self.grid.high)
            self._check_multiple(name, value, self.fraction_bits)

    def _check_multiple(self, name: str, value: Tensor | float, bits: int) -> None:
        """Raise unless a parameter is a multiple of 2^-bits."""
        if isinstance(value, Tensor) and not has_values(value):
            return
        whole = torch.as_tensor(value).detach().double() * 2.0**bits
        if not torch.equal(whole, whole.round()):
            off = whole[whole != whole.round()].flatten()[0].item()
            unit = 2.0**-bits
            raise ValueError(
                f"{type(self).__name__}: {self._name(name)} has the value {off * unit:g}, expected a multiple of "
                f"2**-{bits}: {math.floor(off) * unit:g} and {math.ceil(off) * unit:g} are next to it"
            )

    def _check_inputs(self, inputs: Tensor | tuple[Tensor, ...], *, looks: bool = True) -> Tensor:
        first = super()._check_inputs(inputs, looks=looks)
        holds = 1 - round(math.log2(torch.finfo(first.dtype).eps))
        if holds < self.membrane_bits:
            raise TypeError(
                f"{type(self).__name__}: x is {first.dtype}, whose numbers have {holds} bits, and the membrane has "
                f"{self.membrane_bits}. Pass x.float(), without autocast; or take membrane_bits={holds} or less"
            )
        return first

    def _rehearse(self, inputs: Any) -> Any:
        # the noise of the proof may overflow where data does not, and outputs of the right form are all that it needs
        return super()._rehearse(tree_map(torch.zeros_like, inputs))

    def _finish(self, memory: Memory | None) -> None:
        is_strict = self.grid.overflow is F.rounding.overflow_to_nan
        checked = leaves_of(memory.state) if memory is not None and is_strict else []
        if any(bool(leaf.isnan().any()) for leaf in checked if _is_float(leaf)):
            raise ValueError(
                f"{type(self).__name__}: a membrane or a current has left the range from {self.low:g} to "
                f"{self.high:g} of {self.membrane_bits} bits, and overflow='error'. Take more membrane_bits, "
                "fewer fraction_bits, or overflow='saturate'"
            )
        super()._finish(memory)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FixedPointLayer":
        before = {name: value.double() for name, value in self._buffers.items() if _is_float(value)}
        super()._apply(fn, recurse)
        for name, value in before.items():
            after = self._buffers[name]
            if _is_float(after) and not torch.equal(after.double().cpu(), value.cpu()):
                raise ValueError(
                    f"{type(self).__name__}: {self._name(name)} does not fit into {after.dtype} without rounding; keep "
                    "the layer in float32"
                )
        return self

    def extra_repr(self) -> str:
        """Name the arguments of the constructor."""
        takes = inspect.signature(type(self).__init__).parameters
        own = [f"{name}={getattr(self, name)!r}" for name in _OF_FORMAT if name in takes]
        text = super().extra_repr().replace(f"grid={shown(self.grid)}", ", ".join(own))
        for name, argument in self._arguments().items():
            text = text.replace(f"{self._name(name)}={shown(getattr(self, name))}", argument, 1)
        return text

    def _arguments(self) -> dict[str, str]:
        """Return what the constructor was given for an attribute, if that is something else."""
        numbers = {name: self._numbers(name) for name in self._decay_bits}
        return {name: f"{name}=({shown(k)}, {m})" for name, (k, m) in numbers.items()}


def _is_float(value: object) -> TypeGuard[Tensor]:
    """Return True for a tensor of floating values that Python can read."""
    return isinstance(value, Tensor) and value.is_floating_point() and has_values(value)
