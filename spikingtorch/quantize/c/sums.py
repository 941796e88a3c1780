"""C of sums: loops over the events that arrive, which add rows of weights."""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from spikingtorch.quantize.c.text import Tables, quotient, signed
from spikingtorch.quantize.nodes import Conv2d, Diagonal, Linear, SumPool2d

Sums: TypeAlias = Linear | Conv2d | SumPool2d | Diagonal


class Source(NamedTuple):
    """Where the inputs of a node are."""

    # "events" are places of spikes, "graded" are places with values, "dense" is an array of all values
    form: Literal["events", "graded", "dense"]
    name: str  # of the C array
    entries: str  # C text of the number of its entries
    size: int  # number of places
    low: int  # bounds of a value
    high: int


class Target(NamedTuple):
    """The array of sums: its C name, its type, and the bounds of its numbers."""

    name: str
    type: str


def size_of(node: Sums) -> int:
    """Return the number of sums."""
    if isinstance(node, Conv2d | SumPool2d):
        return int(np.prod(node.output_shape))
    return len(node.weight) if isinstance(node, Linear) else node.weight.size


def started(node: Sums, target: Target, tables: Tables, symbol: str, fresh: bool = True) -> list[str]:
    """Return C that lets the sums begin at the bias; ``fresh`` tells whether the array holds nothing yet."""
    size = size_of(node)
    bias = node.bias if isinstance(node, Linear | Conv2d) else np.zeros(1, np.int8)
    before = "" if fresh else f"{target.name}[i] + "
    if not bias.any():
        return [f"for (i = 0; i < {size}u; i++) {target.name}[i] = 0;"] if fresh else []
    tables.add(f"b{symbol}", bias)
    if len(bias) == size:
        return [f"for (i = 0; i < {size}u; i++) {target.name}[i] = ({target.type})({before}b{symbol}[i]);"]
    return [
        f"for (i = 0, o = 0; o < {len(bias)}u; o++) {{",
        f"    for (j = 0; j < {size // len(bias)}u; j++, i++) "
        f"{target.name}[i] = ({target.type})({before}b{symbol}[o]);",
        "}",
    ]


def added(node: Sums, source: Source, target: Target, tables: Tables, symbol: str) -> list[str]:
    """Return C that adds what the inputs contribute to the sums."""
    if isinstance(node, Linear):
        inner = _row(node, source, target, tables, symbol)
    elif isinstance(node, Diagonal):
        tables.add(f"w{symbol}", node.weight)
        inner = [f"{target.name}[q] = ({target.type})({target.name}[q] + {_term(source, f'w{symbol}[q]')});"]
    else:
        inner = _window(node, source, target, tables, symbol)
    value = signed(source.low, source.high)
    if source.form == "dense":
        head = [f"for (q = 0; q < {source.size}u; q++) {{", f"    const {value} x = {source.name}[q];"]
        head.append("    if (x == 0) continue;")
    else:
        place = f"{source.name}[j]" + (".index" if source.form == "graded" else "")
        head = [f"for (j = 0; j < {source.entries}; j++) {{", f"    const uint32_t q = {place};"]
        if source.form == "graded":
            head.append(f"    const {value} x = {source.name}[j].value;")
    return [*head, *[f"    {line}" for line in inner], "}"]


def scattered(source: Source, target: Target, factor: int = 1) -> list[str]:
    """Return C that adds inputs, times a factor, to the sums of their own places."""
    if source.form == "dense":
        head, at, value = f"for (j = 0; j < {source.size}u; j++)", "j", f"{source.name}[j]"
    else:
        graded = source.form == "graded"
        head, at = f"for (j = 0; j < {source.entries}; j++)", f"{source.name}[j]" + ".index" * graded
        value = f"{source.name}[j].value" if graded else "1"
    if factor > 1:
        value = str(factor) if value == "1" else f"(int32_t){value} * {factor}"
    return [f"{head} {target.name}[{at}] = ({target.type})({target.name}[{at}] + {value});"]


def _term(source: Source, weight: str) -> str:
    return weight if source.form == "events" else f"(int32_t)x * {weight}"


def _row(node: Linear, source: Source, target: Target, tables: Tables, symbol: str) -> list[str]:
    kind = tables.add(f"w{symbol}", node.weight.T)
    outs = len(node.weight)
    return [
        f"const {kind} *w = w{symbol} + q * {outs}u;",
        f"for (o = 0; o < {outs}u; o++) {target.name}[o] = ({target.type})({target.name}[o] + "
        f"{_term(source, 'w[o]')});",
    ]


def _window(node: Conv2d | SumPool2d, source: Source, target: Target, tables: Tables, symbol: str) -> list[str]:
    (_, high, wide), (outs, *image) = node.input_shape, node.output_shape
    area = int(np.prod(image))
    wide_kernel = kernel_of(node)[1]
    for axis, (over, scale) in enumerate(((wide_kernel, image[1]), (1, 1))):
        first, entries, places = reached(node, axis)
        letter = "yx"[axis]
        tables.add(f"{letter}{symbol}", first, index=True)
        if isinstance(node, Conv2d):
            tables.add(f"{letter}k{symbol}", entries * over, index=True)
        tables.add(f"{letter}o{symbol}", places * scale, index=True)
    lines = [
        f"const uint32_t c = {quotient('q', high * wide, source.size)};",
        f"const uint32_t p = q - c * {high * wide}u;",
        f"const uint32_t y = {quotient('p', wide, high * wide)};",
        f"const uint32_t z = p - y * {wide}u;",
        "uint32_t a, b;",
        f"for (a = y{symbol}[y]; a < y{symbol}[y + 1]; a++) {{",
        f"    for (b = x{symbol}[z]; b < x{symbol}[z + 1]; b++) {{",
    ]
    at = f"(uint32_t)yo{symbol}[a] + xo{symbol}[b]"
    name, kind = target
    if isinstance(node, SumPool2d):
        one = "1" if source.form == "events" else "x"
        body = [f"const uint32_t to = c * {area}u + {at};", f"{name}[to] = ({kind})({name}[to] + {one});"]
    else:
        of_group = outs // node.groups
        if node.groups > 1:
            # the first sum of the group of a channel
            channel = np.arange(node.input_shape[0]) // node.weight.shape[1]
            tables.add(f"g{symbol}", channel * of_group * area, index=True)
        own = tables.add(f"w{symbol}", by_channel(node))
        row = f"(c * {int(np.prod(node.weight.shape[2:]))}u + yk{symbol}[a] + xk{symbol}[b])"
        start = f"(uint32_t)g{symbol}[c] + {at}" if node.groups > 1 else at
        body = [
            f"const {own} *w = w{symbol} + {row} * {of_group}u;",
            f"uint32_t to = {start};",
            f"for (o = 0; o < {of_group}u; o++, to += {area}u) {name}[to] = ({kind})({name}[to] + "
            f"{_term(source, 'w[o]')});",
        ]
    return [*lines, *[f"        {line}" for line in body], "    }", "}"]


def kernel_of(node: Conv2d | SumPool2d) -> tuple[int, int]:
    """Return the rows and columns of a window."""
    if isinstance(node, SumPool2d):
        return node.kernel
    return node.weight.shape[2], node.weight.shape[3]


def by_channel(node: Conv2d) -> np.ndarray:
    """Return weights as the loops read them: (channels in, rows, columns, channels out of the group)."""
    outs, ins, *kernel = node.weight.shape
    split = node.weight.reshape(node.groups, outs // node.groups, ins, *kernel)
    return split.transpose(0, 2, 3, 4, 1).reshape(node.groups * ins, *kernel, outs // node.groups)


def reached(node: Conv2d | SumPool2d, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which entries of a kernel lead from each row (or column) of the input to which row of the output.

    Returns:
        (first, entries, places): pairs first[y] to first[y + 1] - 1 belong to row y of the input.
    """
    size, outs, kernel = node.input_shape[axis + 1], node.output_shape[axis + 1], kernel_of(node)[axis]
    padding = 0 if isinstance(node, SumPool2d) else node.padding[axis]
    dilation = 1 if isinstance(node, SumPool2d) else node.dilation[axis]
    pairs = [
        [
            (k, (y + padding - k * dilation) // node.stride[axis])
            for k in range(kernel)
            if (y + padding - k * dilation) % node.stride[axis] == 0
        ]
        for y in range(size)
    ]
    pairs = [[(k, place) for k, place in row if 0 <= place < outs] for row in pairs]
    first = np.cumsum([0, *map(len, pairs)])
    flat = np.array([pair for row in pairs for pair in row], np.int64).reshape(-1, 2)
    return first, flat[:, 0], flat[:, 1]
