"""Fixed-point neurons in whole numbers, and their step in NumPy's int64."""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spikingtorch.quantize.nodes import (
    BaseNode,
    Conv2d,
    Flatten,
    Linear,
    Shape,
    Sum,
    SumPool2d,
    Synapses,
    Whole,
    expect,
)

ROUNDINGS = ("floor", "trunc", "half_up", "half_even")
OVERFLOWS = ("saturate", "wrap", "error")
KINDS = ("if", "lif", "cuba", "xylo", "loihi", "speck")
RESETS = ("zero", "subtraction", "value", "none")
# bits that sums of Loihi have less after the point than its membranes
LOIHI_SHIFT = 6
# bits that a decay may shift by
_MOST_SHIFT = 31


@dataclass(frozen=True, eq=False)
class Neuron(BaseNode):
    """Fixed-point neurons; all their numbers are whole, in units of 2**-fraction_bits.

        E = max(exponent, recurrent.exponent),  X = the sum and the recurrent sum, in units of 2**-E
        x = R(X 2**(fraction_bits - E))                R = the rounding, where E is larger
        I = O(R(k_s I / 2**m_s) + x)                   "cuba" alone; for others I = x
        U = O(R(k V / 2**m) + I),  s = U >= threshold (or >, if strict),  V = O(reset(U, s))

    "if" has no decay. "xylo", "loihi" and "speck" are the models of these chips, as ``XyloLIF``, ``LoihiLIF`` and
    ``SpeckIAF`` have them.
    Numbers may differ from neuron to neuron: threshold, v_reset, bias and the numbers of the decays may be arrays of
    the neurons' shape.

    Attributes:
        kind: one of "if", "lif", "cuba", "xylo", "loihi", "speck".
        shape: of the neurons of one sample.
        exponent: of the incoming sum.
        fraction_bits: the membrane's grid is 2**-fraction_bits.
        decay, decay_synapse: (k, m), the factor k / 2**m; of "xylo" m is the dash, and k is not used.
        low, high: what the membrane's register holds.
        threshold, strict: whether the neuron fires at ``>`` instead of ``>=``.
        reset, v_reset: what a spike does to the membrane; v_reset of "value".
        rounding, overflow: R and O above.
        recurrent: weights for the neurons' own spikes of the step before; None without any.
        bound: proven largest absolute value of the sum that arrives, without the recurrent one.
        bias: of the membrane; of "xylo" and "loihi".
        max_spikes: of a step; more than one for "xylo" and "speck" alone. Speck has no limit, so that it is a proven
            bound.
    """

    kind: str
    shape: Shape
    exponent: int
    fraction_bits: int
    decay: tuple[Any, Any]
    decay_synapse: tuple[Any, Any] | None
    low: int
    high: int
    threshold: Any
    strict: bool
    reset: str
    v_reset: Any
    rounding: str
    overflow: str
    recurrent: Synapses | None
    bound: int
    bias: Any = 0
    max_spikes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {"kind": KINDS, "reset": RESETS, "rounding": ROUNDINGS, "overflow": OVERFLOWS}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{self.name}: {name} is {getattr(self, name)!r}, expected one of {', '.join(values)}")
        size = self.high - self.low + 1
        if size <= 1 or (self.overflow == "wrap" and size & (size - 1)):
            raise ValueError(f"{self.name}: a register that wraps round has 2**b values, not {self.low} to {self.high}")
        if (self.kind in ("cuba", "xylo", "loihi")) != (self.decay_synapse is not None):
            raise ValueError(f"{self.name}: decay_synapse is {self.decay_synapse} for neurons of kind {self.kind!r}")
        several = self.kind in ("xylo", "speck")
        if self.kind == "speck" and self.recurrent is not None:
            raise ValueError(f"{self.name}: neurons of Speck fire without a limit, and cannot feed themselves")
        if self.max_spikes != 1 and not several:
            raise ValueError(
                f"{self.name}: neurons of kind {self.kind!r} fire once a step, not {self.max_spikes} times"
            )
        for name in ("threshold", "v_reset", "bias", "decay", "decay_synapse"):
            _check_neurons(self, name, getattr(self, name))
        if several and np.min(self.threshold) <= 0:
            raise ValueError(f"{self.name}: neurons that fire several times a step need thresholds above zero")
        if self.recurrent is not None:
            expect(f"{self.name}: recurrent", self.recurrent.output_shape_of(self.shape), self.shape)

    def output_shape_of(self, shape: Shape) -> Shape:
        """Return the shape of the spikes of one sample."""
        expect(self.name, shape, self.shape)
        return shape

    @property
    def most_spikes(self) -> int:
        """Largest number of spikes of a neuron in a step."""
        if self.kind != "xylo":
            return self.max_spikes
        return min(self.max_spikes, max(self.high // int(np.min(self.threshold)), 0))

    @property
    def input_bits(self) -> int:
        """Bits after the point of the current x, to which sums are rounded; Loihi has 6 less than for its membrane."""
        return self.fraction_bits - (LOIHI_SHIFT if self.kind == "loihi" else 0)

    @property
    def sum_exponent(self) -> int:
        """Exponent of the sum of incoming and recurrent currents."""
        return self.exponent if self.recurrent is None else max(self.exponent, self.recurrent.exponent)

    def current(self, x: Whole, s: Whole) -> Whole:
        """Return x of the equation above, from the incoming sums and the spikes of the step before."""
        return self.arriving(x, None if self.recurrent is None else self.recurrent.sums(s))

    def arriving(self, x: Whole, back: Whole | None) -> Whole:
        """Return x of the equation above, from the incoming sums and the recurrent ones."""
        finest = self.sum_exponent
        total = x << np.int64(finest - self.exponent)
        if self.recurrent is not None and back is not None:
            total = total + (back << np.int64(finest - self.recurrent.exponent))
        return aligned(total, finest, self.input_bits, self.rounding) << np.int64(self.fraction_bits - self.input_bits)


Node: TypeAlias = Linear | Conv2d | SumPool2d | Flatten | Sum | Neuron


def _check_neurons(node: Neuron, name: str, value: Any) -> None:
    """Raise unless a parameter is a whole number or an array with one for each neuron; a decay is two of them."""
    pair = name.startswith("decay")
    for each in value if pair and value is not None else (value,):
        array = isinstance(each, np.ndarray)
        if isinstance(each, str) or (each is None and not pair) or (array and each.shape not in (node.shape, (1,))):
            came = f"an array {each.shape}" if array else repr(each)
            raise ValueError(f"{node.name}: {name} is {came}, expected one number, or one a neuron {node.shape}")
    if pair and value is not None and not 0 <= np.min(value[1]) <= np.max(value[1]) <= _MOST_SHIFT:
        raise ValueError(f"{node.name}: {name} is {value}, expected (k, m) with m from 0 to {_MOST_SHIFT}")


class State(NamedTuple):
    """Synaptic current i (zero where a neuron has none) and membrane v of neurons, in units of their grid."""

    i: Whole
    v: Whole


def at_rest(neuron: Neuron, samples: int) -> State:
    """Return the state at which a sequence starts."""
    zeros = np.zeros((samples, *neuron.shape), np.int64)
    return State(zeros, zeros)


def advance(neuron: Neuron, state: State, x: Whole) -> tuple[State, Whole, Whole]:
    """Return the next state, the membrane u before the reset, and the spikes, for an input (N, *shape) on the grid."""
    if neuron.kind == "xylo":
        i, u = _xylo(neuron, state, x)
    else:
        i, u = _leaky(neuron, state, x)
    if neuron.kind in ("xylo", "speck"):
        s = (u // neuron.threshold).clip(0, neuron.max_spikes)
        return State(i, _limit(neuron, u - s * neuron.threshold)), u, s
    s = (u > neuron.threshold if neuron.strict else u >= neuron.threshold).astype(np.int64)
    after = {"zero": 0, "subtraction": u - neuron.threshold, "value": neuron.v_reset, "none": u}[neuron.reset]
    return State(i, _limit(neuron, np.where(s == 1, after, u))), u, s


def _limit(neuron: Neuron, a: Whole) -> Whole:
    return limited(a, neuron.low, neuron.high, neuron.overflow, neuron.name)


def _leaky(neuron: Neuron, state: State, x: Whole) -> tuple[Whole, Whole]:
    i = state.i
    if neuron.decay_synapse is not None:
        x = i = _decayed(neuron, i, neuron.decay_synapse) + x
        if neuron.kind == "loihi":
            # the current wraps round once, and alone may be high + 1
            size = neuron.high - neuron.low + 2
            x = i = i - size * ((i > neuron.high + 1).astype(np.int64) - (i < neuron.low))
        else:
            x = i = _limit(neuron, i)
    if neuron.kind == "speck":
        return i, state.v + x + neuron.bias
    v = state.v if neuron.kind == "if" else _decayed(neuron, state.v, neuron.decay)
    return i, _limit(neuron, v + x + neuron.bias)


def _decayed(neuron: Neuron, a: Whole, decay: tuple[Any, Any]) -> Whole:
    factor, bits = decay
    return rounded(a * factor, bits, neuron.rounding)


def _xylo(neuron: Neuron, state: State, x: Whole) -> tuple[Whole, Whole]:
    assert neuron.decay_synapse is not None
    i = _limit(neuron, state.i + x)
    i = i - _change(i, neuron.decay_synapse[1])
    change = _limit(neuron, _limit(neuron, i - _change(state.v, neuron.decay[1])) + neuron.bias)
    return i, _limit(neuron, state.v + change)


def _change(a: Whole, dash: Any) -> Whole:
    """Return a / 2**dash rounded down, or one towards zero where that would be nothing."""
    change = a >> np.asarray(dash, np.int64)
    return np.where(change == 0, np.sign(a), change)


def rounded(a: Whole, bits: Any, how: str) -> Whole:
    """Return a / 2**bits rounded to whole numbers; floor, trunc (towards zero), half_up or half_even."""
    bits = np.asarray(bits, np.int64)
    half = (np.int64(1) << bits) >> 1
    up: Whole = (a + half) >> bits
    if how == "half_up":
        return up
    if how == "half_even":
        # halfway, and the upper one of the two is odd
        tie: NDArray[np.bool_] = (bits > 0) & (a + half == up << bits) & (up & 1 == 1)
        return np.where(tie, up - 1, up)
    down: Whole = a >> bits
    return down if how == "floor" else np.where(a < 0, -(-a >> bits), down)


def aligned(a: Whole, exponent: int, fraction_bits: int, how: str) -> Whole:
    """Return a sum in units of 2**-exponent in units of 2**-fraction_bits, rounded if these are coarser."""
    if exponent > fraction_bits:
        return rounded(a, exponent - fraction_bits, how)
    finer: Whole = a << np.int64(fraction_bits - exponent)
    return finer


def limited(a: Whole, low: int, high: int, how: str, owner: str) -> Whole:
    """Return numbers as a register from low to high holds them; with "error" raise OverflowError for others."""
    if how == "saturate":
        return a.clip(low, high)
    if how == "wrap":
        return ((a - low) & np.int64(high - low)) + low
    if a.size and (a.min() < low or a.max() > high):
        raise OverflowError(
            f"{owner}: a membrane from {a.min()} to {a.max()} does not fit into {low} to {high}, and the overflow is "
            "'error'; take more bits, or overflow='saturate'"
        )
    return a
