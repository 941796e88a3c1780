"""Sparse products, with gradients of every order.

    T(x, w, g) = sum over samples n and edges e from i to o of x[n, i] w[e] g[n, o]

Outputs are the derivative of T by g, and the gradients of x and w are those by x and w. Each of the three is linear in
the two others: so the gradients of one of them are the two others, and one function has them all.
"""

import math
from typing import Any, Literal

from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.modes import HOST, are_plain, in_eager, plain_keys
from spikingtorch.functional.core.precision import lift, without_autocast
from spikingtorch.functional.sparse.connections import Connections, functions

# what a product leaves open: it takes the two others in the order of T
Open = Literal["x", "w", "g"]
_TAKEN: dict[Open, tuple[Open, Open]] = {"x": ("w", "g"), "w": ("x", "g"), "g": ("x", "w")}
_PLAIN = plain_keys(HOST.type)


def sparse_linear(x: Tensor, weight: Tensor, connections: Connections) -> Tensor:
    """Multiply inputs by the weights of a sparse matrix.

        y[..., o] = sum over edges e from i to o of weight[e] x[..., i]

    On the CPU, in eager mode, in float32 and float64, senders with x = 0 cost nothing forward, and nothing in the
    gradient of the weights. A weight or gradient that is not finite meets all senders: zero times infinity is not zero.
    Elsewhere torch's operations compute it, which take memory for each edge and sample. Results do not depend on the
    number of threads. No dense matrix is made, in no derivative.

    Args:
        x: inputs, shape (..., senders).
        weight: shape (E,), sorted as ``connections.indices`` are; or (1,) or (), one number for all edges. Groups of
            edges share numbers by ``weight[groups]``.
        connections: the edges.

    Returns:
        Shape (..., receivers), in the dtype of x.

    Raises:
        TypeError: dtypes differ.
        ValueError: x or weight does not fit the connections.

    >>> import torch
    >>> connections = Connections(torch.tensor([[0, 1, 1], [0, 0, 2]]), (2, 3))
    >>> sparse_linear(torch.tensor([1.0, 5.0, 1.0]), torch.tensor([0.1, 0.2, 0.3]), connections)
    tensor([0.1000, 0.5000])
    """
    _check(x, weight, connections)
    full = lift(weight).expand(len(connections))
    with without_autocast(x.device):
        flat = lift(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return product("g", connections, flat, full).reshape(*x.shape[:-1], connections.shape[0]).to(x.dtype)


def product(open_: Open, connections: Connections, a: Tensor, b: Tensor) -> Tensor:
    """Return the derivative of T by what is open: x (N, senders), w (E,), or g (N, receivers)."""
    run = functions(a.dtype) if in_eager() and are_plain((a, b), _PLAIN) else None
    if run is None:
        return _by_torch(open_, connections, a, b)
    found: Tensor = _apply(open_, connections, a, b)
    return found


class _Product(Function):
    """``apply(open, connections, a, b)``: see ``product``."""

    @staticmethod
    def forward(ctx: Any, open_: Open, connections: Connections, a: Tensor, b: Tensor) -> Tensor:
        """Return the product by a kernel."""
        ctx.save_for_backward(a, b)
        ctx.open, ctx.connections = open_, connections
        return _by_kernel(open_, connections, *map(allocation.contiguous, (a.detach(), b.detach())))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of both: the products in which one of them is open."""
        open_, taken = ctx.open, _TAKEN[ctx.open]
        known = {open_: grad, **dict(zip(taken, ctx.saved_tensors, strict=True))}
        grads = [
            product(each, ctx.connections, *(known[name] for name in _TAKEN[each])) if wanted else None
            for each, wanted in zip(taken, ctx.needs_input_grad[2:], strict=True)
        ]
        return None, None, *grads


_apply: Any = getattr(super(Function, _Product), "apply")  # noqa: B009 - torch does not annotate it


def _by_kernel(open_: Open, connections: Connections, a: Tensor, b: Tensor) -> Tensor:
    run, rows = functions(a.dtype), len(b if open_ == "x" else a)
    receivers, senders = connections.shape
    shape = {"x": (rows, senders), "w": (len(connections),), "g": (rows, receivers)}[open_]
    out, record = allocation.empty(shape, a.dtype, a.device), connections.record(rows)
    given = [each.data_ptr() for each in (a, b, out)]
    if open_ == "x":  # which takes the weights last
        run.to_senders(record, given[1], given[0], given[2])
        return out
    skips = bool(b.sum().isfinite())  # the weights, or the gradients of the outputs
    (run.to_edges if open_ == "w" else run.to_receivers)(record, *given, skips)
    return out


def _by_torch(open_: Open, connections: Connections, a: Tensor, b: Tensor) -> Tensor:
    receivers, senders = connections.indices.to(a.device)
    if open_ == "w":
        return (a[:, senders] * b[:, receivers]).sum(0)
    if open_ == "x":
        return a.new_zeros(len(b), connections.shape[1]).index_add(1, senders, b[:, receivers] * a)
    return a.new_zeros(len(a), connections.shape[0]).index_add(1, receivers, a[:, senders] * b)


def _check(x: Any, weight: Any, connections: Any) -> None:
    """Raise an error unless inputs and weights fit the connections."""
    if not isinstance(connections, Connections):
        raise TypeError(
            f"sparse_linear: connections is a {type(connections).__name__}, expected Connections(indices, shape)"
        )
    for name, given in (("x", x), ("weight", weight)):
        if not isinstance(given, Tensor) or not given.is_floating_point():
            kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
            raise TypeError(f"sparse_linear: {name} is {kind}, expected a tensor of floats")
    if lift(x).dtype != lift(weight).dtype:
        raise TypeError(f"sparse_linear: x is {x.dtype} and weight {weight.dtype}; convert one of them")
    if x.ndim == 0 or x.shape[-1] != connections.shape[1]:
        raise ValueError(
            f"sparse_linear: x has shape {tuple(x.shape)}, expected (..., {connections.shape[1]}) for {connections}"
        )
    if weight.shape not in ((), (1,), (len(connections),)):
        raise ValueError(
            f"sparse_linear: weight has shape {tuple(weight.shape)}, expected ({len(connections)},), one for each edge "
            f"of {connections}, or a single number"
        )
