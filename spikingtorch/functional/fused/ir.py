"""The program of a step: scalar expressions in single assignment, equal for every neuron and time step.

A program can be carried as plain text (``to_text``): operators, exported graphs and other processes rebuild it from
that text. It holds no numbers of the user: floats are slots that are filled at run time. So a sweep over a time
constant runs one compiled kernel.
"""

import itertools
import json
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch

# dtypes that inputs and outputs may have; a step computes in the last five
DTYPES = {
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i8": torch.int8,
    "i16": torch.int16,
    "u8": torch.uint8,
    "f32": torch.float32,
    "f64": torch.float64,
    "i32": torch.int32,
    "i64": torch.int64,
    "bool": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
COMPUTED = ("f32", "f64", "i32", "i64", "bool")

# Operations that round once and in one way only, so every correct implementation gives the same bits. The square root
# is not among them: torch's own on the CPU is sometimes off by one unit in the last place.
EXACT = frozenset(
    {"input", "scalar", "const", "add", "sub", "mul", "div", "neg", "abs", "sign", "min", "max"}
    | {"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "xor", "not", "where", "cast"}
    | {"zeronan", "flush", "trunc", "floor", "ceil", "round"}
)


_WORDS = {"inexact": "an operation of three operands"}


class Node(NamedTuple):
    """One value."""

    op: str  # the operation. ``input`` and ``scalar`` are read, ``const`` is a number of the language of the program.
    dtype: str  # dtype of the computation
    # earlier nodes; for an input its role and index, for a scalar its slot, for a constant its value
    args: tuple[int | float | str, ...]


class Product(NamedTuple):
    """The product between the steps of a recurrence."""

    synapse: str  # its name
    weight: int  # which parameter holds its weights
    neuron: str  # the program of the neuron, as text


class Program(NamedTuple):
    """A step and its gradient."""

    nodes: tuple[Node, ...]  # values in an order in which each comes after its operands
    states: tuple[str, ...]  # dtype of each state
    xs: tuple[str, ...]  # dtype of each input as it lies in memory
    params: tuple[tuple[str, bool], ...]  # of each parameter, its dtype and whether it is one number for all neurons
    outs: tuple[str, ...]  # dtype of each output as it lies in memory
    scalars: int  # the number of floats that are filled in at run time
    finals: tuple[int, ...]  # node of each state after the step
    results: tuple[int, ...]  # node of each output
    # node of the gradient of each state, input and parameter, in this order; -1 where it is zero
    gradients: tuple[int, ...]
    # for each state after the step, then each output: the leaves on which it depends for autograd
    depends: tuple[tuple[bool, ...], ...]
    product: Product | None = None  # of a recurrence; see ``recurrent``

    def to_text(self) -> str:
        """Return the program as JSON."""
        return json.dumps(self.product or self[:-1], separators=(",", ":"))

    @property
    def pointwise_params(self) -> list[int]:
        """Which parameters broadcast to the neurons: all but the weights of a product."""
        return [k for k in range(len(self.params)) if self.product is None or k != self.product.weight]

    def split_gradients(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return the nodes of the gradients of states, of inputs and of parameters."""
        states, streams = len(self.states), len(self.states) + len(self.xs)
        return self.gradients[:states], self.gradients[states:streams], self.gradients[streams:]

    def chosen(self, wanted: Sequence[bool]) -> dict[int, int]:
        """Return the nodes of the gradients of the wanted parameters, by the number of the parameter, without zeros."""
        of_params = self.split_gradients()[2]
        return {k: node for k, node in enumerate(of_params) if wanted[k] and node >= 0}

    def reads_states(self, wanted: Iterable[int]) -> bool:
        """Whether the wanted nodes depend on a state, so that a backward pass needs the states."""
        return any(self.nodes[i].op == "input" and self.nodes[i].args[0] == "state" for i in self.live(wanted))

    @property
    def inexact(self) -> list[str]:
        """The operations because of which states and outputs may differ from the bits of the loop."""
        live = self.live((*self.finals, *self.results))
        return sorted({_WORDS.get(op, op) for op in (self.nodes[i].op for i in live) if op not in EXACT})

    def live(self, wanted: Iterable[int], known: Container[int] = ()) -> list[int]:
        """Return the nodes that the wanted nodes need; see the function ``live``."""
        return live(self.nodes, wanted, known)


def depends_over_time(depends: Sequence[Sequence[bool]], states: int) -> tuple[tuple[bool, ...], ...]:
    """Return the leaves on which the final states and outputs of a scan depend, from those of one step.

    ``depends`` is that of a ``Program``, whose first leaves are the states.
    """
    over_time = tuple([tuple(row) for row in depends])
    for _ in range(states):  # a path passes through each state at most once
        over_time = tuple(
            [
                tuple([has or any([row[k] and over_time[k][i] for k in range(states)]) for i, has in enumerate(row)])
                for row in depends
            ]
        )
    return over_time


def live(nodes: Sequence[Node], wanted: Iterable[int], known: Container[int] = ()) -> list[int]:
    """Return the numbers of the wanted nodes and of all nodes that they need, in order; -1 stands for none.

    The values of ``known`` nodes are known, so that their operands are not needed.
    """
    found: set[int] = set()
    stack = [index for index in wanted if index >= 0]
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            stack += () if index in known else operands(nodes[index])
    return sorted(found)


def operands(node: Node) -> tuple[int, ...]:
    """Return the operands of a node."""
    return () if node.op in ("input", "scalar", "const") else tuple(int(arg) for arg in node.args)


@lru_cache(maxsize=256)
def from_text(text: str) -> Program:
    """Return the program of a text from ``to_text``."""
    first, *fields = _as_tuples(json.loads(text))
    if isinstance(first, str):
        return recurrent(Product(first, *fields))
    return Program(tuple(itertools.starmap(Node, first)), *fields)


def neuron_of(text: str) -> str:
    """Return the program of the neuron of a recurrence, as text; any other program unchanged."""
    product = from_text(text).product
    return text if product is None else product.neuron


def recurrent(product: Product) -> Program:
    """Return the program of a neuron whose first output feeds back to its first input, through a product.

        state[t], s[t], ... = neuron(state[t-1], x[t] + product(s[t-1], weights))

    Its last state is s. The nodes are those of the neuron.
    """
    neuron = from_text(product.neuron)
    states = len(neuron.states)
    place = states + len(neuron.xs) + product.weight  # of the weights among the neuron's leaves

    def widened(row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a row for all leaves: s and the weights act through the first input."""
        return (*row[:states], row[states], *row[states:place], row[states], *row[place:])

    rows = (*neuron.depends[:states], neuron.depends[states], *neuron.depends[states:])
    params = neuron.params
    return neuron._replace(
        states=(*neuron.states, neuron.outs[0]),
        params=(*params[: product.weight], (neuron.outs[0], False), *params[product.weight :]),
        finals=(*neuron.finals, neuron.results[0]),
        gradients=widened(neuron.gradients),
        depends=tuple(map(widened, rows)),
        product=product,
    )


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
