"""The fused scan inside torch.compile.

Dynamo runs Python symbolically, where a step cannot be traced. It takes the plan of a step as a constant instead, and the
scan becomes one operator in its graph, whatever T is. A constant has no guards, so Dynamo also runs the step once for
itself: that makes the compiled code depend on all that the step reads, and what it computes is dropped.
"""

from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from spikingtorch.functional import _backend
from spikingtorch.functional import _contract as contract
from spikingtorch.functional._tree import tree_map
from spikingtorch.functional.fused import autograd, kernels
from spikingtorch.functional.fused.builder import Refusal
from spikingtorch.functional.fused.plan import Arguments, plan
from spikingtorch.functional.fused.trace import Spec
from spikingtorch.functional.state import lift


def scan(call: _backend.Call, backend: _backend.Backend) -> tuple[Any, Any] | None:
    """Run a scan fused inside torch.compile, or return None where the loop is to run it.

    Raises:
        ValueError: ``backend="fused"`` was asked for and cannot be.
    """
    if backend == "loop":
        return None
    reason = _unsuited(call)
    if reason is None:
        first = tree_map(lambda x: x.select(call.dim, 0), call.xs)
        form = pytree.tree_structure(contract.checked(call.step)(call.state, lift(first), **call.params)[1])
        skeleton, specs, floats, tensors = _described((call.state, first, call.params))
        half = call.dtype if call.dtype in (torch.float16, torch.bfloat16) else None
        found, reason = _plan(call.step, skeleton, tuple(specs), half)
        if found is not None:
            return _run(found, call, floats, tensors, form)
    if backend == "fused":
        raise ValueError(f"scan: backend='fused' cannot run this step inside torch.compile, which {reason}")
    return None


def _unsuited(call: _backend.Call) -> str | None:
    """Return why the loop is the way to run a scan inside torch.compile, if it is."""
    functions = [call.step, *pytree.tree_leaves(call.params)]
    if any(isinstance(function, MethodType) for function in functions):
        return "is a method: pass a function, and what it reads of the object in params"
    if any(function.__code__.co_freevars for function in functions if isinstance(function, FunctionType)):
        return "is a closure: pass what it reads in params"
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return "is inside torch.func, where torch.compile takes the loop"
    leaves = pytree.tree_leaves((call.state, call.xs, call.params))
    if any(leaf.device.type != "cpu" or leaf.is_complex() for leaf in leaves if isinstance(leaf, Tensor)):
        return "has tensors that are not real numbers on the CPU"
    return None


def _described(trees: Any) -> tuple[Any, list[Any], list[float], list[Tensor]]:
    """Return trees with names for tensors, what the names stand for, the floats and the tensors."""
    leaves, form = pytree.tree_flatten(trees)
    specs: list[Any] = []
    floats: list[float] = []
    tensors: list[Tensor] = []
    named: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            named.append(f"<tensor {len(specs)}>")
            specs.append((leaf.dtype, tuple([1 if size == 1 else 2 for size in leaf.shape])))
            tensors.append(leaf)
        elif isinstance(leaf, float):
            named.append(0.5)  # any number: a plan that depends on it is not taken
            floats.append(leaf)
        else:
            named.append(leaf)
    return pytree.tree_unflatten(named, form), specs, floats, tensors


def _plan(step: Any, skeleton: Any, specs: Any, half: torch.dtype | None) -> tuple[Any, str]:
    """Return what of a plan torch.compile can carry, and why there is none."""
    known = {f"<tensor {index}>": Spec(dtype, tuple(shape)) for index, (dtype, shape) in enumerate(specs)}
    state, xs, params = tree_map(lambda leaf: known.get(leaf, leaf) if isinstance(leaf, str) else leaf, skeleton)
    try:
        found = plan(step, Arguments(state, xs, params, half))
        if not found.lifts_floats:
            raise Refusal("decides by the value of a float, which torch.compile does not fix")
        kernels.ready(found.program)
    except Refusal as refusal:
        _backend.warn(step, refusal)
        return None, str(refusal)
    return (found.program, found.literals, found.outputs, found.keeps, found.differentiable), ""


# torch.compiler.assume_constant_result, without the second that importing the compiler takes
_plan._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _run(found: Any, call: _backend.Call, floats: list[float], tensors: list[Tensor], form: Any) -> tuple[Any, Any]:
    program, literals, outputs, keeps, differentiable = found
    states, state_form = pytree.tree_flatten(call.state)
    xs = pytree.tree_leaves(call.xs)
    params = tensors[len(states) + len(xs) :]
    rank = len(torch.broadcast_shapes(*[tensor.shape for tensor in tensors]))
    dim = call.dim if call.dim >= 0 else rank + 1 + call.dim
    streams = [_backend.aligned(x, call.dim % x.ndim, dim, rank) for x in xs]
    counts = (len(states), len(streams), len(params), outputs)
    leaves = [*states, *streams, *params]
    results = autograd.fused_scan(program, dim, keeps, differentiable, (*floats, *literals), counts, leaves)
    finals, outs = results[: len(states)], results[len(states) : len(states) + outputs]
    return pytree.tree_unflatten(list(finals), state_form), pytree.tree_unflatten(list(outs), form)
