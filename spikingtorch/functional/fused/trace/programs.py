"""Find the program for a step and its arguments; it is kept for later calls."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import types_of
from spikingtorch.functional.core.undo import raise_interrupt
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.trace.examples import Spec, is_spec
from spikingtorch.functional.fused.trace.snapshot import whole_snapshot
from spikingtorch.functional.fused.trace.tracer import trace

_LIMIT = 512


class TracedStep(NamedTuple):
    """The plan of a step."""

    program: str  # its program, as text
    literals: tuple[float, ...]  # the floats that the step's own code holds
    # whether the float parameters come before ``literals``; else their values are in the program
    floats_are_inputs: bool
    outputs: int  # the number of outputs
    form: pytree.TreeSpec  # structure of the outputs
    inexact: tuple[str, ...]  # operations because of which states and outputs may differ from the bits of the loop
    saves_states: bool  # whether its gradient needs the states
    differentiable: tuple[bool, ...]  # for each state, input and parameter that is a tensor, whether it has a gradient
    depends: tuple[tuple[bool, ...], ...]  # of its program
    # the indices of the float parameters that cannot be zero, because Python divides by them
    divisors: tuple[int, ...] = ()


class Arguments(NamedTuple):
    """The arguments of a scan without their numbers: a Spec in place of each tensor."""

    states: tuple[Spec, ...]  # of the state
    xs: tuple[Spec, ...]  # of the inputs of one step
    params: tuple[Any, ...]  # of the parameters; other values stay unchanged
    forms: tuple[pytree.TreeSpec, pytree.TreeSpec, pytree.TreeSpec]  # structures of the three
    half: torch.dtype | None  # the dtype that float32 outputs are rounded to; None if they are not rounded


def trace_step(step: Callable[..., Any], arguments: Arguments) -> TracedStep:
    """Return the plan of a step for arguments of this form; raise NotFusible if it cannot be fused."""
    params = arguments.params
    numbers = [leaf for leaf in params if isinstance(leaf, float)]
    floats = tuple(map(repr, numbers))
    fixed = [float if isinstance(leaf, float) else leaf if is_spec(leaf) else None for leaf in params]
    others = [leaf for leaf, known in zip(params, fixed, strict=True) if known is None]
    types = [each for form in arguments.forms for each in types_of(form)]  # a surrogate's methods can read globals
    found = whole_snapshot(step, *types, *others)
    key = found.key, arguments._replace(params=tuple(fixed)), torch.get_default_dtype()

    def attempt(lift_floats: bool) -> TracedStep | NotFusible:
        try:  # the trace leaves everything that the step reads unchanged
            return found.undone(partial(_made, step, arguments, found.tensors, lift_floats))
        except NotFusible as refusal:
            return refusal

    # a float that the trace replaces by a tensor would not look like a float
    known = None if floats and found.looks else _recent.get_or_make(key, lambda: attempt(lift_floats=True))
    if isinstance(known, TracedStep) and any(numbers[place] == 0 for place in known.divisors):
        known = None
    if known is None or (isinstance(known, NotFusible) and floats):
        known = _recent.get_or_make((key, floats), lambda: attempt(lift_floats=False))
    if isinstance(known, NotFusible):
        raise known
    return known


_recent: LRUCache[TracedStep | NotFusible] = LRUCache(_LIMIT)


def _made(step: Callable[..., Any], arguments: Arguments, kept: list[Tensor], lift_floats: bool) -> TracedStep:
    handled = sys.exception()
    try:
        leaves = arguments.states, arguments.xs, arguments.params
        state, xs, params = map(pytree.tree_unflatten, leaves, arguments.forms)
        program, literals, form, divisors = trace(
            step, state, xs, params, arguments.half, lift_floats=lift_floats, kept=kept
        )
    except NotFusible:
        raise
    except Exception as error:
        raise_interrupt(error, handled)
        raise NotFusible(f"raises {type(error).__name__} when it is traced: {error}") from error
    saves_states = bool(program.states) and program.reads_states(program.gradients)
    differentiable = tuple(node >= 0 for node in program.gradients)
    text, inexact = program.to_text(), tuple(program.inexact)
    of_gradient = saves_states, differentiable, program.depends
    return TracedStep(text, literals, lift_floats, len(program.outs), form, inexact, *of_gradient, divisors)
