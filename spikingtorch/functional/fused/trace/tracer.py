"""Trace a step and its gradient to a program.

The step runs once on small example tensors, while a dispatch mode records each aten operation. Autograd then runs in
the same way. So everything that torch differentiates is differentiated here, including an old-style autograd Function.
"""

import sys
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from spikingtorch.functional.core import contract
from spikingtorch.functional.core.modes import HOST, within
from spikingtorch.functional.core.surroundings import isolated, python_random_state, set_autocast
from spikingtorch.functional.core.torch_private import DisableTorchFunction, EnableTorchFunction, pytree
from spikingtorch.functional.core.undo import raise_interrupt
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.ir import Program
from spikingtorch.functional.fused.lower.builder import Value
from spikingtorch.functional.fused.trace.examples import SIZES, Examples, Spec, is_spec
from spikingtorch.functional.fused.trace.queries import TensorQueries
from spikingtorch.functional.fused.trace.recorder import Recorder, Watch, dtype_name
from spikingtorch.functional.fused.trace.snapshot import NotHeld, NoWrites, SideEffect

T = TypeVar("T")


class Traced(NamedTuple):
    """A step, traced."""

    program: Program  # the program of the step and its gradient
    literals: tuple[float, ...]  # the floats that the step's own code holds, which follow the float parameters
    form: pytree.TreeSpec  # structure of the outputs
    divisors: tuple[int, ...]  # the indices of the float parameters that divide a float: there, zero is a Python error


def trace(
    step: Callable[..., Any],
    state: Any,
    xs: Any,
    params: Any,
    half: torch.dtype | None,
    *,
    lift_floats: bool,
    kept: Sequence[Tensor] = (),
) -> Traced:
    """Trace a step.

    Args:
        step: as in scan.
        state: tree of the state, a Spec for each tensor.
        xs: tree of the inputs of one step, likewise.
        params: tree of the parameters, a Spec for each tensor; all else is passed to the step unchanged.
        half: the dtype that float32 outputs are rounded to; None if they are not rounded.
        lift_floats: whether the floats of params become inputs of the program. A step may use a float in a way that no
            tensor allows: branch on it, or pass it to math.exp. Then the trace fails with True; with False, the program
            holds their values.
        kept: tensors outside of the step, to which it must not write.

    Raises:
        NotFusible: the step is not a pointwise program; the text says why.
        Exception: whatever the step raises.
    """

    def both() -> list[Traced]:  # the second trace sees other random numbers than the first
        return [_trace_once(step, Examples((state, xs, params), lift_floats, sizes), xs, half, kept) for sizes in SIZES]

    small, large = _with_fixed_modes(both)
    if small != large:
        raise NotFusible("has operations or numbers that change from call to call, or with the sizes of its tensors")
    return small


def _trace_once(
    step: Callable[..., Any], examples: Examples, xs: Any, half: torch.dtype | None, kept: Sequence[Tensor]
) -> Traced:
    asked, recorder = TensorQueries(), Recorder(examples)
    asked.recorder = recorder
    drawn, handled = python_random_state(), sys.exception()
    given = [pytree.tree_flatten(tree) for tree in examples.trees]

    def run() -> tuple[Any, list[Any], pytree.TreeSpec, Any]:
        try:
            after, out = contract.checked(step)(*examples.trees[:2], **examples.trees[2])
        except Exception as error:
            raise_interrupt(error, handled)
            _check_given(examples.trees, given)
            if isinstance(error, SideEffect | NotHeld):
                raise
            raise recorder.refusal or asked.refusal or error from error
        _check_given(examples.trees, given)
        results, form = pytree.tree_flatten(out)
        return after, results, form, recorder.differentiate([*pytree.tree_leaves(after), *results])

    def asking() -> Traced:
        after, results, form, gradients = within((NoWrites(kept), recorder), run)
        if (refusal := recorder.refusal or asked.refusal) is not None:
            raise refusal
        if python_random_state() != drawn:
            raise NotFusible("draws random numbers of Python or numpy, numbers that change from call to call")
        return _assemble(recorder, pytree.tree_leaves(after), results, form, gradients, xs, half)

    return within((asked,), asking)


def _check_given(trees: Sequence[Any], given: Sequence[tuple[list[Any], pytree.TreeSpec]]) -> None:
    """Raise if a step has changed a list or a dict among its arguments."""
    for name, tree, (leaves, form) in zip(("state", "inputs", "parameters"), trees, given, strict=True):
        now, now_form = pytree.tree_flatten(tree)
        if now_form != form or not all(map(is_, now, leaves)):
            raise SideEffect(f"changes a list or a dict among its {name}")


def not_pointwise(
    step: Callable[..., Any], state: Any, x: Any, params: Any, kept: Sequence[Tensor]
) -> NotFusible | None:
    """Return the first operation of a step that is not pointwise, for tensors, or Specs of any shapes."""

    def example(leaf: Any) -> Any:
        return torch.ones(leaf.shape, dtype=leaf.dtype) if isinstance(leaf, Tensor | Spec) else leaf

    watch, handled = Watch(), sys.exception()

    def run() -> None:
        try:
            trees = [pytree.tree_map(example, tree, is_leaf=is_spec) for tree in (state, x, params)]
            step(trees[0], trees[1], **trees[2])
        except SideEffect:
            raise
        except Exception as error:
            raise_interrupt(error, handled)

    def plainly() -> None:
        torch.set_grad_enabled(False)
        within((TensorQueries(), NoWrites(kept), watch), run)

    _with_fixed_modes(plainly)
    found: NotFusible | None = watch.refusal
    return found


def _assemble(
    recorder: Recorder,
    after: Sequence[Tensor],
    results: Sequence[Tensor],
    form: pytree.TreeSpec,
    gradients: Sequence[Value | None],
    xs: Any,
    half: torch.dtype | None,
) -> Traced:
    builder, examples = recorder.builder, recorder.examples
    if wrong := [t for t in (*after, *results) if tuple(t.shape) != examples.shape]:
        raise NotFusible(
            f"has neurons of shape {examples.shape} and gives a state or output of {tuple(wrong[0].shape)}"
        )
    stored = [dtype_name(leaf.dtype) for leaf in pytree.tree_leaves(xs, is_leaf=is_spec)]
    rounded = {torch.float32: half} if half is not None else {}
    program = Program(
        nodes=tuple(builder.nodes),
        states=tuple(dtype_name(t.dtype) for t in examples.tensors[0]),
        xs=tuple(stored),
        params=tuple((dtype_name(t.dtype), t.numel() == 1) for t in examples.tensors[2]),
        outs=tuple(dtype_name(rounded.get(t.dtype, t.dtype)) for t in results),
        scalars=len(examples.floats) + len(builder.literals),
        finals=tuple(recorder.value(t).node for t in after),
        results=tuple(recorder.value(t).node for t in results),
        gradients=tuple(-1 if value is None else value.node for value in gradients),
        depends=tuple(_depends_on(result, examples.leaves) for result in (*after, *results)),
    )
    return Traced(program, tuple(builder.literals), form, tuple(sorted(recorder.divisors)))


def _depends_on(result: Tensor, leaves: Sequence[Tensor]) -> tuple[bool, ...]:
    """Return for each leaf whether the result requires a gradient if the leaf does; that gradient may be zero."""
    seen: set[Any] = set()
    ahead: list[Any] = [result.grad_fn]
    found = {id(result)} if result.requires_grad else set[int]()
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.add(id(getattr(node, "variable", None)))  # the node that accumulates a leaf's gradient
            ahead += [function for function, _ in node.next_functions]
    return tuple(id(leaf) in found for leaf in leaves)


def _with_fixed_modes(work: Callable[[], T]) -> T:
    """Isolate the trace from the caller's transforms, modes, hooks, autocast and random numbers."""

    def inside() -> T:
        torch.set_grad_enabled(True)
        set_autocast(HOST.type, False, None, torch.is_autocast_cache_enabled())
        with EnableTorchFunction():
            return work()

    # first, because a mode of torch.export would record the others
    with DisableTorchFunction():
        return isolated(HOST, inside)
