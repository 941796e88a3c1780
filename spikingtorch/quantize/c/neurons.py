"""C of neurons: one loop over the neurons of a node, which updates their membranes and lists their spikes."""

from typing import Any, NamedTuple

import numpy as np

from spikingtorch.quantize.c.text import Tables, index_of, number, signed
from spikingtorch.quantize.neurons import Neuron

_FLOOR = "return a >= 0 ? a >> bits : ~(~a >> bits);"
# by the name of a function: what it computes. No shift of a negative number, which a compiler may round as it likes
HELPERS = {
    "floor": [_FLOOR],
    "trunc": ["return a >= 0 ? a >> bits : -(-a >> bits);"],
    "half_up": ["return floor_{n}(a + (((int{n}_t)1 << bits) >> 1), bits);"],
    "half_even": [
        "const int{n}_t b = a + (((int{n}_t)1 << bits) >> 1), up = floor_{n}(b, bits);",
        "return up - (bits > 0 && b == up * ((int{n}_t)1 << bits) && (up & 1));",
    ],
}


class Sum(NamedTuple):
    """A C array of sums, their largest absolute value, and the exponent of their unit."""

    name: str
    bound: int
    exponent: int


class Body(NamedTuple):
    """C of a neuron node: the lines of its loop, the helpers that it calls, and the type of its arithmetic."""

    lines: list[str]
    helpers: set[tuple[str, int]]
    type: str


class _Writer:
    """Writes the update of neuron i."""

    def __init__(self, node: Neuron, sums: list[Sum], tables: Tables, symbol: str, flag: str) -> None:
        self.node, self.sums, self.tables, self.symbol, self.flag = node, sums, tables, symbol, flag
        self.bits = next((bits for bits in (32, 64) if _largest(node, sums) < 1 << (bits - 1)), 0)
        if not self.bits:
            raise ValueError(f"{node.name}: its numbers reach {_largest(node, sums)}, and C has 64 bits for them")
        self.type = f"int{self.bits}_t"
        _check_wrap(node, sums)
        self.helpers: set[tuple[str, int]] = set()

    def rounded(self, text: str, bits: Any, how: str, name: str) -> str:
        if np.ndim(bits) == 0 and int(bits) == 0:
            return text
        self.helpers |= {(how, self.bits)} | ({("floor", self.bits)} if how.startswith("half") else set())
        shift = self.tables.entry(f"{name}{self.symbol}", bits, "i", index=True)
        return f"{how}_{self.bits}({text}, {shift})"

    def own(self, name: str, value: Any) -> str:
        return self.tables.entry(f"{name}{self.symbol}", value, "i")

    def limited(self, variable: str, low: int, high: int, how: str) -> list[str]:
        least, most = number(low), number(high)
        if how == "wrap":
            u = f"u{self.type}"
            return [f"{variable} = ({self.type})(({u})({variable} - ({least})) & {high - low}u) + ({least});"]
        note = f"{self.flag} = 1, " if how == "error" else ""
        return [
            f"if ({variable} < {least}) {note}{variable} = {least};",
            f"if ({variable} > {most}) {note}{variable} = {most};",
        ]

    def register(self, variable: str) -> list[str]:
        return self.limited(variable, self.node.low, self.node.high, self.node.overflow)

    def decayed(self, variable: str, decay: tuple[Any, Any], name: str) -> str:
        factor, bits = decay
        if (np.asarray(factor) == np.left_shift(1, bits)).all():
            return variable
        return self.rounded(f"{variable} * {self.own(f'k{name}', factor)}", bits, self.node.rounding, f"m{name}")

    def current(self) -> list[str]:
        node, finest = self.node, self.node.sum_exponent
        terms = []
        for each in self.sums:
            scale = 1 << (finest - each.exponent)
            terms.append(f"({self.type}){each.name}[i]" + (f" * {number(scale)}" if scale > 1 else ""))
        total, steps = " + ".join(terms), node.input_bits - finest
        if steps < 0:
            total = self.rounded(f"{total}", -steps, node.rounding, "")
        elif steps:
            total = f"({total}) * {number(1 << steps)}"
        if node.input_bits < node.fraction_bits:
            total = f"({total}) * {number(1 << (node.fraction_bits - node.input_bits))}"
        return [f"const {self.type} x = {total};"]

    def leaky(self) -> list[str]:
        node, arriving, lines = self.node, "x", []
        if node.decay_synapse is not None:
            lines.append(
                f"{self.type} c = {self.decayed(f'({self.type})i{self.symbol}[i]', node.decay_synapse, 's')} + x;"
            )
            wraps = self.limited("c", node.low, node.high + 1, "wrap")
            lines += wraps if node.kind == "loihi" else self.register("c")
            lines.append(f"i{self.symbol}[i] = ({current_type(node)})c;")
            arriving = "c"
        bias = self.own("bias", node.bias)
        arriving += "" if bias == "0" else f" + {bias}"
        before = f"({self.type})v{self.symbol}[i]"
        held = before if node.kind in ("if", "speck") else self.decayed(before, node.decay, "v")
        limits = [] if node.kind == "speck" else self.register("u")
        return [*lines, f"{self.type} u = {held} + {arriving};", *limits]

    def xylo(self) -> list[str]:
        node = self.node
        assert node.decay_synapse is not None
        lines = [f"{self.type} c = i{self.symbol}[i] + x, u = v{self.symbol}[i], d;", *self.register("c")]
        for variable, bits, name in (("c", node.decay_synapse[1], "ds"), ("u", node.decay[1], "dv")):
            change = self.rounded(variable, bits, "floor", name)
            sign = f"({variable} > 0) - ({variable} < 0)"
            lines += [f"d = {change};", f"if (d == 0) d = {sign};"]
            if name == "ds":
                lines += ["c -= d;", f"i{self.symbol}[i] = ({current_type(node)})c;"]
        lines += ["d = c - d;", *self.register("d"), f"d += {self.own('bias', node.bias)};", *self.register("d")]
        return [*lines, "u += d;", *self.register("u")]

    def fired(self) -> list[str]:
        node, symbol, threshold = self.node, self.symbol, self.own("t", self.node.threshold)
        if node.kind in ("xylo", "speck"):
            graded = node.most_spikes > 1
            keeps = ["e{0}[n].index = ({1})i;", "e{0}[n].value = ({2})many;"] if graded else ["e{0}[n] = ({1})i;"]
            kept = " ".join(keeps).format(symbol, index_of(int(np.prod(node.shape))), count_type(node))
            return [
                "many = 0;",
                f"while (u >= {threshold} && many < {node.max_spikes}) {{ u -= {threshold}; many++; }}",
                f"if (many > 0) {{ {kept} n++; }}",
                *self.register("u"),
            ]
        after = {"zero": "u = 0;", "subtraction": f"u -= {threshold};", "none": "", "value": ""}[node.reset]
        if node.reset == "value":
            after = f"u = {self.own('r', node.v_reset)};"
        fires = ">" if node.strict else ">="
        lines = [
            f"if (u {fires} {threshold}) {{ e{symbol}[n] = ({index_of(int(np.prod(node.shape)))})i; n++; {after} }}"
        ]
        rest = np.asarray(node.v_reset if node.reset == "value" else 0)
        holds = node.reset != "subtraction" and (rest >= node.low).all() and (rest <= node.high).all()
        return lines if node.reset == "none" or holds else [*lines, *self.register("u")]


def updated(node: Neuron, sums: list[Sum], tables: Tables, symbol: str, flag: str) -> Body:
    """Return the loop over the neurons of a node.

    ``sums`` are the incoming ones, and the recurrent ones if they have an array of their own. ``tables`` takes numbers
    that differ from neuron to neuron. ``symbol`` ends the C names of the node, and ``flag`` tells of an overflow.
    """
    writer = _Writer(node, sums, tables, symbol, flag)
    inner = [*writer.current(), *(writer.xylo() if node.kind == "xylo" else writer.leaky()), *writer.fired()]
    inner.append(f"v{symbol}[i] = ({membrane_type(node)})u;")
    size = int(np.prod(node.shape))
    lines = ["n = 0;", f"for (i = 0; i < {size}u; i++) {{", *[f"    {line}" for line in inner], "}", f"n{symbol} = n;"]
    return Body(lines, writer.helpers, writer.type)


def membrane_type(node: Neuron) -> str:
    """Return the type of a membrane."""
    return signed(node.low, node.high)


def current_type(node: Neuron) -> str:
    """Return the type of a synaptic current."""
    return signed(node.low, node.high + (node.kind == "loihi"))


def count_type(node: Neuron) -> str:
    """Return the type of the number of a neuron's spikes in a step."""
    return signed(0, node.most_spikes)


def _largest(node: Neuron, sums: list[Sum]) -> int:
    """Return a bound of all numbers that the update of a neuron computes on its way."""
    finest, held = node.sum_exponent, max(-node.low, node.high + 1)
    total = sum(each.bound << (finest - each.exponent) for each in sums)
    unit = 1 << max(finest - node.input_bits, 0)
    x = total + unit if finest > node.input_bits else total << (node.input_bits - finest)
    x <<= node.fraction_bits - node.input_bits
    bias = int(np.abs(node.bias).max())
    products = [held]
    for factor, bits in [each for each in (node.decay, node.decay_synapse) if each is not None]:
        one = int(np.max(np.left_shift(np.int64(1), bits)))
        products.append(held * max(int(np.abs(factor).max()), 1) + one)
    # a membrane, what it was reset by, a current as large as a membrane, and what arrives; the span of a wrap
    span = 4 * held + x + bias + int(np.abs(node.threshold).max())
    return max(*products, total + unit, x, span + max(products[1:], default=0) if _grows(node) else span)


def _check_wrap(node: Neuron, sums: list[Sum]) -> None:
    """Raise if a current of Loihi may wrap round twice in a step, where its model wraps it once."""
    x = sum(each.bound << max(node.fraction_bits - each.exponent, 0) for each in sums)
    if node.kind == "loihi" and x > node.high - node.low + 2:
        raise ValueError(f"{node.name}: currents of up to {x} may wrap round twice in a step; take smaller weights")


def _grows(node: Neuron) -> bool:
    """Return whether a decay may enlarge what it acts on."""
    decays = [each for each in (node.decay, node.decay_synapse) if each is not None]
    return any((np.abs(factor) > np.left_shift(np.int64(1), bits)).any() for factor, bits in decays)
