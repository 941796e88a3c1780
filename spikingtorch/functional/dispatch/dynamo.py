"""The fused scan inside torch.compile.

Dynamo runs Python symbolically, and a step cannot be traced there. It takes the plan of a step as a constant instead,
and the scan becomes one operator in its graph, whatever T is. A constant has no guards. So Dynamo also runs the step
once by itself, and the compiled code depends on all that the step reads. The results of this run are dropped.
"""

import functools
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType, NoneType
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core import contract
from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.core.torch_private import (
    OpOverload,
    OpOverloadPacket,
    forward_level,
    pytree,
    transforms_active,
)
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.dispatch import bind, explain
from spikingtorch.functional.dispatch.backend import Backend
from spikingtorch.functional.dispatch.call import ScanCall, product_of
from spikingtorch.functional.dispatch.recurrent import trace_recurrence
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.runtime.targets import DEVICES, has_target, target_on
from spikingtorch.functional.fused.trace.examples import Spec, is_spec
from spikingtorch.functional.fused.trace.programs import Arguments, TracedStep, trace_step
from spikingtorch.functional.fused.trace.snapshot import NotHeld, SideEffect
from spikingtorch.functional.recurrent import Recurrent

# torch.compile takes these as constants, or as tensors. It can neither carry another object nor see when that object
# changes.
_NUMBERS = (Tensor, int, float, complex, str, NoneType, torch.dtype, torch.device)
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodDescriptorType, type, OpOverload, OpOverloadPacket)


def scan(call: ScanCall, backend: Backend) -> tuple[Any, Any] | None:
    """Run a scan fused inside torch.compile, or return None if the loop has to run it.

    Raises:
        ValueError: ``backend="fused"`` was requested and cannot run the step.
    """
    if backend == "loop":
        return None
    try:
        traced = _known(call) if product_of(call.step) is None else trace_recurrence(call, _known)
        return bind.run(traced, call, None)
    except NotFusible as refusal:
        if backend == "fused":
            raise ValueError(
                f"scan: backend='fused' cannot run this step inside torch.compile because it {refusal}"
            ) from None
    return None


def _known(call: ScanCall) -> TracedStep:
    """Return the plan of a scan; raise NotFusible if there is none."""
    if reason := _unsuited(call):
        raise NotFusible(reason)
    first = [lift(x.select(call.dim, 0)) for x in call.xs]
    trees = [
        pytree.tree_unflatten(leaves, form)
        for leaves, form in zip((call.states, first, call.params), call.forms, strict=True)
    ]
    step: Any = call.step
    # torch.compile passes a step that is a NamedTuple without its fields
    functions = (step.step, step.synapse) if isinstance(step, Recurrent) else (step,)
    found, reason, pure = _plan(functions, *_described(trees), call.half, call.xs[0].device.type)
    if not pure:
        raise NotFusible(reason)
    out = contract.checked(step)(trees[0], trees[1], **trees[2])[1]
    if found is None:
        raise NotFusible(reason)
    program, literals, outputs, *rest = found
    return TracedStep(program, literals, True, outputs, pytree.tree_structure(out), *rest)


def _unsuited(call: ScanCall) -> str | None:
    """Return why the loop has to run a scan inside torch.compile, or None."""
    parts = [*_parts(call.step), *_parts(call.params)]
    if any(isinstance(part, MethodType) for part in parts):
        return "is a method: pass a function, and what it reads of the object in params"
    if any(part.__code__.co_freevars for part in parts if isinstance(part, FunctionType)):
        return "is a closure: pass what it reads in params"
    for part in parts:
        if not isinstance(part, (*_NUMBERS, *_FUNCTIONS)):
            return (
                f"reads a {type(part).__name__}, an object: pass a function, and what it reads of the object in params"
            )
    if transforms_active() or forward_level() >= 0:
        return "is inside torch.func, where torch.compile takes the loop"
    if any(not has_target(tensor.device) or tensor.is_complex() for tensor in call.tensors):
        return f"has tensors that are not real numbers on {DEVICES}"
    if any(tensor.device != call.tensors[0].device for tensor in call.tensors):
        return "has tensors on several devices; move them to one with .to(...)"
    return None


def _parts(value: Any) -> list[Any]:
    """Return the parts of a step or a parameter: the values inside it if it is a tree or a partial."""
    found = []
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, functools.partial):
            found += [part for each in (leaf.func, leaf.args, leaf.keywords) for part in _parts(each)]
        else:
            found.append(leaf)
    return found


def _described(trees: Any) -> tuple[Any, Any]:
    """Return trees with names in place of tensors, and the dtype and shape that each name stands for."""
    leaves, form = pytree.tree_flatten(trees)
    specs: list[Any] = []
    named: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            named.append(f"<tensor {len(specs)}>")
            specs.append((leaf.dtype, tuple([1 if size == 1 else 2 for size in leaf.shape])))
        else:
            named.append(0.5 if isinstance(leaf, float) else leaf)  # any float: a plan that depends on it is refused
    return pytree.tree_unflatten(named, form), tuple(specs)


def _plan(functions: Any, trees: Any, specs: Any, half: torch.dtype | None, device: str) -> tuple[Any, str, bool]:
    """Return the part of a plan that torch.compile can carry, why there is none, and whether the step may run."""
    step: Any = Recurrent(*functions) if len(functions) > 1 else functions[0]
    known = {f"<tensor {index}>": Spec(dtype, tuple(shape)) for index, (dtype, shape) in enumerate(specs)}
    trees = tree_map(lambda leaf: known.get(leaf, leaf) if isinstance(leaf, str) else leaf, trees)
    flat = [pytree.tree_flatten(tree, is_leaf=is_spec) for tree in trees]
    (states, state_form), (xs, xs_form), (params, params_form) = flat
    forms = (state_form, xs_form, params_form)
    try:
        found = trace_step(step, Arguments(tuple(states), tuple(xs), tuple(params), forms, half))
        if not found.floats_are_inputs:
            raise NotFusible("decides by the value of a float, which torch.compile does not fix")
        target_on(torch.device(device)).ensure_compiled(found.program)
    except NotFusible as refusal:
        explain.warn(step, refusal)
        return None, str(refusal), not isinstance(refusal, SideEffect | NotHeld)
    of_gradient = found.saves_states, found.differentiable, found.depends
    return (found.program, found.literals, found.outputs, found.inexact, *of_gradient), "", True


# as torch.compiler.assume_constant_result does, without importing the compiler, which takes a second
_plan._dynamo_marked_constant = True  # type: ignore[attr-defined]
