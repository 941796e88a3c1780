"""Backend "parallel": run neurons without a reset, all steps at once.

A state that follows from the one before by a linear function,

    v[t] = a[t] v[t-1] + b[t]

needs no loop: two steps in a row form one step of the same kind, so T steps form a tree of depth log2 T (G. E.
Blelloch, "Prefix sums and their applications", 1990; in networks E. Martin, C. Cundy, ICLR 2018, arXiv:1709.04057).
Several states are solved one after the other, if each depends only on those before it.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from spikingtorch.functional.core.precision import lift, rounded
from spikingtorch.functional.core.sharing import unshared
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.fused.ir import Program, operands

_LINEAR = {"add", "sub", "neg"}
_FLOATING = {"f32", "f64"}
_NEURONS = 4  # the number of neurons to try a step on


def order_of_states(program: Program) -> list[int] | None:
    """Return the order in which the states of a step can be solved; None if one is no linear function of itself."""
    reads = [_dependence(program, final) for final in program.finals]
    linear = [_degree(program, final, state) <= 1 for state, final in enumerate(program.finals)]
    order: list[int] = []
    while len(order) < len(reads):
        ready = [k for k, read in enumerate(reads) if k not in order and read <= {k, *order}]
        if not ready or not all(linear):
            return None
        order += ready
    return order


def _dependence(program: Program, node: int) -> set[int]:
    """Return the states that a value depends on."""
    inputs = [program.nodes[index] for index in program.live([node]) if program.nodes[index].op == "input"]
    return {int(each.args[1]) for each in inputs if each.args[0] == "state"}


def _degree(program: Program, node: int, state: int) -> int:
    """Return the degree of a value as a polynomial in a state; 2 for higher degrees and other functions."""
    degrees: dict[int, int] = {}
    for index in program.live([node]):
        op, args = program.nodes[index].op, [degrees[arg] for arg in operands(program.nodes[index])]
        if op == "input" and program.nodes[index].args == ("state", state):
            found = 1
        elif op == "mul":
            found = sum(args)
        elif op == "div":
            found = args[0] if args[1] == 0 else 2
        elif op == "where":
            found = max(args[1:]) if args[0] == 0 else 2
        elif op in _LINEAR or not any(args) or _keeps_numbers(program, index):
            found = max(args, default=0)
        else:
            found = 2
        degrees[index] = min(found, 2)
    return degrees[node]


def drops_gradients(step: Callable[..., tuple[Any, Any]], state: Any, xs: Any, params: dict[str, Any]) -> bool:
    """Return True if a state passes a ``detach`` on its way to the next step, so that slope and gradient differ.

    The slope of a few neurons with random numbers is computed with and without ``detach``. ``state`` and ``xs`` are
    trees of the form and dtypes of the state and of the inputs of one step.
    """
    draw = np.random.default_rng(0)  # vmap restricts torch's random numbers

    def drawn(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            return leaf
        return torch.from_numpy(draw.random(_NEURONS)).to(leaf.device, leaf.dtype)

    few, x, keywords = (tree_map(drawn, each) for each in (state, xs, params))
    leaves, form = pytree.tree_flatten(few)
    if not leaves:
        return False

    def after(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(pytree.tree_leaves(step(pytree.tree_unflatten(list(values), form), x, **keywords)[0]))

    slopes = []
    for mode in (contextlib.nullcontext(), _WithoutDetach()):
        with mode:
            ones = tuple([torch.ones_like(leaf) for leaf in leaves])
            slopes.append(torch.func.jvp(after, tuple(leaves), ones)[1])
    return not all([torch.equal(one, other) for one, other in zip(*slopes, strict=True)])


class _WithoutDetach(TorchFunctionMode):
    """Let gradients through ``detach``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in (Tensor.detach, torch.detach) else func(*args, **(kwargs or {}))


def _keeps_numbers(program: Program, index: int) -> bool:
    """Return True if a value is another value in a different floating dtype."""
    node = program.nodes[index]
    kinds = {node.dtype, *(program.nodes[arg].dtype for arg in operands(node))}
    return node.op == "cast" and kinds <= _FLOATING


def scan(
    step: Callable[..., tuple[Any, Any]],
    state: Any,
    xs: Any,
    params: dict[str, Any],
    dim: int,
    dtype: torch.dtype,
    order: list[int],
) -> tuple[Any, Any]:
    """Run a step over time, its arguments checked; see ``spikingtorch.functional.scan``.

    A state that grows without bound, or an infinite input, can give NaN here where a loop gives a number. The reason is
    that products of many slopes overflow, and 0 times infinity is NaN.

    Outputs are rounded to ``dtype`` if that is float16 or bfloat16, and the states are solved in ``order``.
    """
    first, form = pytree.tree_flatten(lift(state))
    keywords = lift(params)
    inputs = _aligned(tree_map(lambda x: lift(x).movedim(dim, 0), xs), max([leaf.ndim for leaf in first], default=0))
    T = len(pytree.tree_leaves(inputs)[0])
    # the value of each state before each step; states that are not solved yet are not needed
    before = [leaf.expand(T, *leaf.shape) for leaf in first]
    for k in order:

        def next_state(value: Tensor, k: int = k) -> Tensor:
            states = [*before[:k], value, *before[k + 1 :]]
            after, _ = step(pytree.tree_unflatten(states, form), inputs, **keywords)
            found: Tensor = pytree.tree_leaves(after)[k]
            return found

        # a linear function's value at zero, and its slope
        b, a = torch.func.jvp(next_state, (torch.zeros_like(before[k]),), (torch.ones_like(before[k]),))[:2]
        b = torch.cat([b[:1] + a[:1] * first[k], b[1:]])
        before[k] = torch.cat([first[k].unsqueeze(0), linear_recurrence(a, b)[:-1]])
    after, out = step(pytree.tree_unflatten(before, form), inputs, **keywords)
    with torch.no_grad():
        one = step(lift(state), tree_map(lambda x: x[0], inputs), **keywords)[1]
    # an output that does not depend on time has no axis of time
    whole = tree_map(lambda leaf, shown: leaf.expand(T, *shown.shape), out, one)
    final = tree_map(lambda leaf: leaf[-1].clone(), after)
    outputs = unshared(tree_map(lambda leaf: leaf.movedim(0, dim), whole), (state, xs, params))
    return unshared(final, (state, xs, params)), rounded(outputs, dtype)


def _aligned(inputs: Any, rank: int) -> Any:
    """Return inputs (T, *N) with all axes of the neurons after the axis of time."""
    rank = max([rank, *(x.ndim - 1 for x in pytree.tree_leaves(inputs))])
    return tree_map(lambda x: x.reshape(len(x), *(1,) * (rank + 1 - x.ndim), *x.shape[1:]), inputs)


def linear_recurrence(a: Tensor, b: Tensor) -> Tensor:
    """Return v[t] = a[t] v[t-1] + b[t] for v[-1] = 0, in a tree of depth log2 T with O(T) products.

    Args:
        a: shape (T, *N).
        b: shape (T, *N).

    >>> linear_recurrence(torch.full((4,), 0.5), torch.ones(4))
    tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    if len(b) < 2:
        return b
    pairs = len(b) // 2
    (a_even, a_odd), (b_even, b_odd) = (each[: 2 * pairs].unflatten(0, (pairs, 2)).unbind(1) for each in (a, b))
    # two steps in a row form one, from an odd time to the next
    at_odd = linear_recurrence(a_odd * a_even, a_odd * b_even + b_odd)
    at_even = torch.cat([b_even[:1], a_even[1:] * at_odd[:-1] + b_even[1:]])
    found = torch.stack([at_even, at_odd], 1).flatten(0, 1)
    return found if len(b) % 2 == 0 else torch.cat([found, a[-1:] * found[-1:] + b[-1:]])
