"""Backend "compile": ``torch.compile`` over some steps at a time.

It takes every step that torch can compile, also one with a matrix product, on every device. The steps of a chunk are
unrolled in one graph, and the same graph runs chunk after chunk. So the time to compile does not depend on T. The
remaining steps run one by one, through a second graph.
"""

from collections.abc import Callable, Hashable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core import contract
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.torch_private import forward_level, peek_interpreter_stack
from spikingtorch.functional.core.tree import leaves_of, tree_map

# more steps in a graph save calls, but take longer to compile
CHUNK = 16
_LIMIT = 64


def scan(step: Callable[..., Any], state: Any, xs: Any, params: dict[str, Any], dim: int) -> tuple[Any, Any]:
    """Run a step over time, its arguments lifted and checked; see ``spikingtorch.functional.scan``.

    Raises:
        ValueError: the call is inside a transform of ``torch.func`` or ``torch.compile``, which cannot call compiled
            code.
    """
    _check_circumstances()
    in_front = tree_map(lambda x: x.movedim(dim, 0).contiguous(), xs)
    T = len(leaves_of(in_front)[0])
    with torch.no_grad():
        contract.checked(step)(state, tree_map(lambda x: x[0], in_front), **params)
    tensors = [leaf for leaf in leaves_of((state, xs, params)) if isinstance(leaf, Tensor)]
    differentiates = torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])
    if differentiates:
        # the first chunk has the same form as later chunks, which would need another graph otherwise
        state = tree_map(_differentiable, state)
    leaves = leaves_of((state, xs, params))
    kinds = [(leaf.dtype, leaf.ndim, leaf.requires_grad) for leaf in leaves if isinstance(leaf, Tensor)]
    outputs: list[Any] = []
    first = 0
    while first < T:
        length = CHUNK if T - first >= CHUNK else 1
        chunk = tree_map(lambda x, first=first, length=length: x[first : first + length], in_front)
        state, out = _compiled(step, (length, differentiates, *kinds))(state, chunk, params)
        outputs.append(out)
        first += length
    return state, tree_map(lambda *parts: torch.cat(parts).movedim(0, dim), *outputs)


def _check_circumstances() -> None:
    if torch.compiler.is_dynamo_compiling():
        raise ValueError(
            "scan: backend='compile' does not work inside torch.compile. Use backend='auto' there: it fuses the "
            "scan if it can, and leaves the rest to the outer compiler"
        )
    if peek_interpreter_stack() is not None or forward_level() >= 0:
        raise ValueError(
            "scan: backend='compile' cannot be differentiated or mapped by torch.func: vmap, grad, jvp and the like do "
            "not reach into compiled code. Take backend='auto' or 'loop' there, or put "
            "torch.compile around the transform"
        )


def _differentiable(leaf: Tensor) -> Tensor:
    return leaf if leaf.requires_grad or not leaf.is_floating_point() else leaf.detach().requires_grad_()


_known: LRUCache[Callable[..., Any]] = LRUCache(_LIMIT)


def _compiled(step: Callable[..., Any], kind: Hashable) -> Callable[..., Any]:
    """Return the compiled chunk of a step: it maps (state, xs, params) to the state after it, and outputs over time.

    ``kind`` is everything that needs another graph, except sizes: a second size makes the graph take any size.
    """
    key: Hashable = (step, kind)
    try:
        hash(key)
    except TypeError:  # a step without a hash
        key = (id(step), kind)
    known = _known.get(key)
    if known is not None:
        return known

    def chunk(state: Any, xs: Any, params: dict[str, Any]) -> tuple[Any, Any]:
        outs = []
        for t in range(len(leaves_of(xs)[0])):
            state, out = step(state, tree_map(lambda x, t=t: x[t], xs), **params)
            outs.append(out)
        return state, tree_map(lambda *each: torch.stack(each), *outs)

    # its own code object: torch.compile counts the compilations of each code object, and stops after a limit
    own = FunctionType(chunk.__code__.replace(), globals(), closure=chunk.__closure__)
    compiled: Callable[..., Any] = torch.compile(own, fullgraph=True)
    _known.keep(key, compiled)
    return compiled
