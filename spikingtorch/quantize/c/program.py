"""The C of a network: its nodes one after the other, what is kept between two steps, and what of it takes memory."""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from spikingtorch.quantize.c.header import Cost, neuron_cost, sum_of_branches_cost, sums_cost
from spikingtorch.quantize.c.neurons import HELPERS, Sum, count_type, current_type, membrane_type, updated
from spikingtorch.quantize.c.sums import Source, Target, added, scattered, started
from spikingtorch.quantize.c.text import BYTES, Tables, index_of, signed
from spikingtorch.quantize.network import WholeNetwork
from spikingtorch.quantize.neurons import Neuron
from spikingtorch.quantize.nodes import Flatten
from spikingtorch.quantize.nodes import Sum as SumNode

# sums are added as they arrive in numbers of at most 32 bits
_LARGEST_SUM = 1 << 30


@dataclass
class Part:
    """What a node contributes to the text: a function of its own, which may take the events of the input."""

    node: Any
    symbol: str
    lines: list[str]
    cost: Cost
    takes_input: bool


@dataclass
class Program:
    """The pieces of a text."""

    model: WholeNetwork
    prefix: str  # the beginning of public names
    tables: Tables = field(default_factory=Tables)
    parts: list[Part] = field(default_factory=list)
    # declarations of sums, in two unions that take turns
    banks: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    bank_sizes: list[int] = field(default_factory=lambda: [0, 0])
    states: dict[str, int] = field(default_factory=dict)  # declarations of what is kept between steps, and its bytes
    resets: list[str] = field(default_factory=list)  # C that lets a sequence start
    helpers: set[tuple[str, int]] = field(default_factory=set)  # rounding functions in use
    source: Source | None = None  # where the output of the last node is

    @property
    def flag(self) -> str:
        """The variable that tells of an overflow."""
        return f"{self.prefix}_overflow"

    @property
    def has_flag(self) -> bool:
        """Whether an overflow is to be told."""
        return any(isinstance(node, Neuron) and node.overflow == "error" for node in self.model.nodes)

    def declare(self, kind: str, name: str, size: int, bytes_each: int | None = None) -> None:
        """Keep an array between steps."""
        self.states[f"static {kind} {name}[{size}];"] = size * (bytes_each or BYTES[kind])


class Value(NamedTuple):
    """What a node gives out, and its array if it gives out sums."""

    source: Source
    sums: Sum | None = None
    target: Target | None = None
    brief: bool = False  # whether the next node alone reads the array


def program_of(model: WholeNetwork, prefix: str) -> Program:
    """Return the pieces of the text of a network; raise ValueError for sums that exceed 32 bits."""
    program = Program(model, prefix)
    low, high = model.input_range
    size, graded = int(np.prod(model.input_shape)), not (low >= 0 and high <= 1)
    values = [Value(Source("graded" if graded else "events", "in", "count", size, min(low, 0), max(high, 0)))]
    turn = 0
    for place, (node, sources) in enumerate(model.steps()):
        given = [values[source + 1] for source in sources]
        if isinstance(node, Flatten):
            values.append(given[0])
        elif isinstance(node, Neuron):
            values.append(Value(_add_neurons(program, node, str(place), given[0], turn)))
        else:
            values.append(_add_sums(program, node, place, given, turn))
            turn = 1 - turn if values[-1].brief else turn
    program.source = values[-1].source
    return program


def _reader(model: WholeNetwork, place: int) -> Any:
    """Return the node that alone takes sums, if it is the next one, or the next one behind a Flatten; else None."""
    taking = [index for index, (_, sources) in enumerate(model.steps()) for source in sources if source == place]
    if len(taking) != 1 or taking[0] != place + 1:
        return None
    node = model.nodes[place + 1]
    return _reader(model, place + 1) if isinstance(node, Flatten) else node


def _sum_type(owner: str, low: int, high: int) -> str:
    if max(-low, high) >= _LARGEST_SUM:
        raise ValueError(f"{owner}: sums reach {max(-low, high)}, and C adds them in 32 bits, up to {_LARGEST_SUM}")
    return signed(low, high)


def _bank(program: Program, turn: int, kind: str, name: str, size: int) -> str:
    program.banks[turn].append(f"{kind} {name}[{size}];")
    program.bank_sizes[turn] = max(program.bank_sizes[turn], -(-size * BYTES[kind] // 4) * 4)
    return f"bank{turn}.{name}"


def _add_sums(program: Program, node: Any, place: int, given: list[Value], turn: int) -> Value:
    low, high = program.model.reaches[place]
    scaled: list[tuple[Source, int]] = []
    if isinstance(node, SumNode):  # on the way, a part of the branches may reach farther than all of them
        scaled = [(each.source, 1 << shift) for each, shift in zip(given, node.shifts, strict=True)]
        low, high = sum(each.low * scale for each, scale in scaled), sum(each.high * scale for each, scale in scaled)
    low, high = min(low, 0), max(high, 0)
    reader, symbol, size = _reader(program.model, place), str(place), int(np.prod(program.model.shapes[place + 1]))
    brief = reader is not None or place == len(program.model.nodes) - 1
    extra = _shared(reader, node.exponent)
    kind = _sum_type(node.name, low - extra, high + extra)
    if brief:
        target = Target(_bank(program, turn, kind, f"s{symbol}", size), kind)
    else:
        target = Target(f"s{symbol}", kind)
        program.declare(kind, target.name, size)
    if isinstance(node, SumNode):
        lines = [f"for (i = 0; i < {size}u; i++) {target.name}[i] = 0;"]
        for value, scale in scaled:
            lines += scattered(value, target, scale)
        cost = sum_of_branches_cost(len(given), size)
    else:
        lines = started(node, target, program.tables, symbol)
        lines += added(node, given[0].source, target, program.tables, symbol)
        cost = sums_cost(node, given[0].source)
    program.parts.append(Part(node, symbol, lines, cost, any(each.source.name == "in" for each in given)))
    source = Source("dense", target.name, str(size), size, low, high)
    return Value(source, Sum(target.name, max(-low, high), node.exponent), target, brief)


def _recurrent_bound(node: Neuron) -> int:
    if node.recurrent is None:
        return 0
    zeros = np.zeros(node.shape, np.int64)
    return max(int(np.abs(each).max()) for each in node.recurrent.reach(zeros, zeros + node.most_spikes))


def _shared(node: Any, exponent: int) -> int:
    """Return what recurrent currents add to the sums before a node, if they are added to the same array."""
    if isinstance(node, Neuron) and node.recurrent is not None and node.recurrent.exponent == exponent:
        return _recurrent_bound(node)
    return 0


def _add_neurons(program: Program, node: Neuron, symbol: str, given: Value, turn: int) -> Source:
    size, tables, lines, cost, source = int(np.prod(node.shape)), program.tables, [], Cost(), given.source
    sums, target, brief = given.sums, given.target, given.brief
    if sums is None or target is None:
        # spikes or inputs that lead to neurons without weights between
        extra = _shared(node, node.exponent)
        kind = _sum_type(node.name, source.low - extra, source.high + extra)
        target = Target(_bank(program, turn, kind, f"s{symbol}", size), kind)
        lines = [f"for (i = 0; i < {size}u; i++) {target.name}[i] = 0;", *scattered(source, target)]
        sums, brief = Sum(target.name, max(-source.low, source.high), node.exponent), True
        turn = 1 - turn
    arrays, own = [sums], f"e{symbol}"
    graded = node.most_spikes > 1
    spikes = Source("graded" if graded else "events", own, f"n{symbol}", size, 0, node.most_spikes)
    if node.recurrent is not None:
        # other nodes read an array that is not brief
        bound, together = _recurrent_bound(node), brief and node.recurrent.exponent == node.exponent
        if not together:
            kind = _sum_type(node.name, -bound, bound)
            target = Target(_bank(program, turn, kind, f"r{symbol}", size), kind)
            arrays.append(Sum(target.name, bound, node.recurrent.exponent))
        else:
            arrays = [Sum(sums.name, sums.bound + bound, sums.exponent)]
        lines += started(node.recurrent, target, tables, f"r{symbol}", fresh=not together)
        lines += added(node.recurrent, spikes, target, tables, f"r{symbol}")
        cost = cost + sums_cost(node.recurrent, spikes)
    body = updated(node, arrays, tables, symbol, program.flag)
    program.helpers |= body.helpers
    cost = cost + neuron_cost(node, body.type == "int64_t")
    program.parts.append(Part(node, symbol, [*lines, *body.lines], cost, source.name == "in"))
    _declare(program, node, symbol, size)
    return spikes


def _declare(program: Program, node: Neuron, symbol: str, size: int) -> None:
    program.declare(membrane_type(node), f"v{symbol}", size)
    cleared = [f"v{symbol}[i] = 0;"]
    if node.decay_synapse is not None:
        program.declare(current_type(node), f"i{symbol}", size)
        cleared.append(f"i{symbol}[i] = 0;")
    index = index_of(size)
    if node.most_spikes > 1:
        value = count_type(node)
        width = max(BYTES[index], BYTES[value])
        last = all(isinstance(each, Flatten) for each in program.model.nodes[int(symbol) + 1 :])
        kind = f"{program.prefix}_output" if last else f"struct {{ {index} index; {value} value; }}"
        program.declare(kind, f"e{symbol}", size, 2 * width)
    else:
        program.declare(index, f"e{symbol}", size)
    program.states[f"static uint32_t n{symbol};"] = 4
    program.resets += [f"for (i = 0; i < {size}u; i++) {{ {' '.join(cleared)} }}", f"n{symbol} = 0;"]


def helper_lines(helpers: set[tuple[str, int]]) -> list[str]:
    """Return the rounding functions that are called."""
    lines = []
    for how, bits in sorted(helpers, key=lambda each: (each[1], list(HELPERS).index(each[0]))):
        inner = [f"    {line.format(n=bits)}" for line in HELPERS[how]]
        lines += [f"static int{bits}_t {how}_{bits}(int{bits}_t a, unsigned bits)", "{", *inner, "}", ""]
    return lines


def function_lines(part: Part, prefix: str) -> list[str]:
    """Return the function of a node."""
    text = "\n".join(part.lines)
    names = [name for name in ("i", "j", "o", "q", "n", "many") if re.search(rf"\b{name} = 0", text)]
    declared = [f"    {'int32_t' if name == 'many' else 'uint32_t'} {name};" for name in names]
    arguments = f"const {prefix}_input *in, uint32_t count" if part.takes_input else "void"
    safe = re.sub(r"\*/|/\*|[^\x20-\x7e]", "?", part.node.name)
    head = [f"/* {safe}: {type(part.node).__name__} */", f"static void node{part.symbol}({arguments})", "{"]
    return [*head, *declared, *[f"    {line}" for line in part.lines], "}", ""]
