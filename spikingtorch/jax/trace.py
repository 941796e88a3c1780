"""Trace a step written in JAX: to a jaxpr, and to the program of the step and its gradient."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from spikingtorch.functional.core.shapes import broadcast
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.ir import Program
from spikingtorch.functional.fused.lower.builder import Value
from spikingtorch.jax.contract import Call, called
from spikingtorch.jax.lower import Array, Lowering, dtype_name


class Traced(NamedTuple):
    """A step, traced."""

    # the step, a function of the leaves of its state, of its input, of its parameters, and of the arrays that it closes
    # over; it returns the leaves of its state, then those of its outputs
    closed: core.ClosedJaxpr
    states: int  # number of leaves of the state
    xs: int  # number of leaves of the input
    form: Any  # structure of the outputs

    def __call__(self, *leaves: Any) -> list[Any]:
        """Run one step."""
        found: list[Any] = core.jaxpr_as_fun(self.closed)(*leaves)
        return found

    @property
    def types(self) -> list[Any]:
        """The types of the leaves that it takes."""
        return [var.aval for var in self.closed.jaxpr.invars]

    @property
    def results(self) -> list[Any]:
        """The types of the leaves that it returns."""
        return [atom.aval for atom in self.closed.jaxpr.outvars]


def trace(call: Call) -> tuple[Traced, tuple[jax.Array, ...]]:
    """Trace a step once, on the shapes that it is called with; return it and the arrays that it closes over.

    Raise what the step raises, or the contract of a step.
    """
    states, xs, params = call.of_one_step()
    ends = len(states), len(states) + len(xs)
    forms: list[Any] = []

    def flat(*leaves: Any) -> list[Any]:
        after, outs, form = called(call, leaves[: ends[0]], leaves[ends[0] : ends[1]], leaves[ends[1] :])
        forms.append(form)
        return [*after, *outs]

    closed = jax.make_jaxpr(flat)(*states, *xs, *params)
    return Traced(_with_inputs(closed), len(states), len(xs), forms[0]), tuple(closed.consts)


def _with_inputs(closed: core.ClosedJaxpr) -> core.ClosedJaxpr:
    """Return a jaxpr that takes its constants after its arguments."""
    jaxpr = closed.jaxpr
    return core.ClosedJaxpr(jaxpr.replace(constvars=[], invars=[*jaxpr.invars, *jaxpr.constvars]), [])


class Lowered(NamedTuple):
    """The program of a step and its gradient, the numbers of its code, and the shape of its neurons."""

    program: Program
    scalars: tuple[float, ...]
    neurons: tuple[int, ...]


def lower(traced: Traced, half: str | None, stored: Sequence[Any]) -> Lowered:
    """Return the program of a step; raise NotFusible if it is not elementwise.

    ``half`` is the dtype that float32 outputs are rounded to, if they are, and ``stored`` those of the inputs in
    memory.
    """
    types, results = traced.types, traced.results
    params = traced.states + traced.xs
    neurons = _neurons(traced)
    lowering = Lowering(neurons)
    b, roles = lowering.builder, _roles(traced.states, traced.xs, len(types) - params)
    leaves = [lowering.input(role, k, t) for (role, k), t in zip(roles, types, strict=True)]
    found = lowering.values(traced.closed, leaves)
    if wrong := [t.shape for t in results if t.shape != neurons]:
        raise NotFusible(f"has neurons of shape {neurons} and gives a state or output of {wrong[0]}")
    gradients = _gradients(traced, lowering, leaves, found)
    rounded = {"f32": dtype_name(np.dtype(half))} if half else {}
    outs = [dtype_name(t.dtype) for t in results[traced.states :]]
    if half and "f64" in outs:
        raise NotFusible(f"gives a float64 output for inputs of {half}")
    program = Program(
        nodes=tuple(b.nodes),
        states=tuple(dtype_name(t.dtype) for t in types[: traced.states]),
        xs=tuple(dtype_name(dtype) for dtype in stored),
        params=tuple((dtype_name(t.dtype), t.size == 1) for t in types[params:]),
        outs=tuple(rounded.get(out, out) for out in outs),
        scalars=len(b.literals),
        finals=tuple(value.node for value in found[: traced.states]),
        results=tuple(value.node for value in found[traced.states :]),
        gradients=tuple(-1 if value is None else value.node for value in gradients),
        depends=(),
    )
    return Lowered(program, tuple(b.literals), neurons)


def _neurons(traced: Traced) -> tuple[int, ...]:
    types = traced.types
    try:
        neurons = broadcast([t.shape for t in types])
    except ValueError as error:
        neurons, complaint = types[0].shape, str(error)
    else:
        wrong = [t.shape for t in types[: traced.states] if t.shape != neurons]
        complaint = f"has a state of shape {wrong[0]} for neurons of shape {neurons}" if wrong else ""
    if complaint:
        # arrays of other shapes mostly come from a matrix product, which is the better reason to report
        lowering = Lowering(neurons)
        lowering.values(traced.closed, [lowering.input("param", k, t) for k, t in enumerate(types)])
        raise NotFusible(complaint)
    return neurons


def _gradients(
    traced: Traced, lowering: Lowering, leaves: Sequence[Array], found: Sequence[Value]
) -> list[Value | None]:
    """Return the gradient of each leaf; the cotangents become inputs of the program."""
    floats = [k for k, t in enumerate(traced.types) if is_floating(t)]
    outs = [k for k, t in enumerate(traced.results) if is_floating(t)]
    if not floats or not outs:
        return [None] * len(leaves)

    def pulled(given: Sequence[Any], cotangents: Sequence[Any]) -> Any:
        results, pull = vjp_of_step(traced, given)
        return results, pull(cotangents)

    try:
        jaxpr = jax.make_jaxpr(pulled)(traced.types, [traced.results[k] for k in outs])
    except Exception as error:
        raise NotFusible(f"raises {type(error).__name__} when it is differentiated: {error}") from error
    cotangents = [lowering.input("cotangent", k, traced.results[k]) for k in outs]
    both = lowering.values(jaxpr, [*leaves, *cotangents], gradient=True)
    if both[: len(found)] != list(found):
        raise NotFusible("gives another result when it is differentiated, by a custom rule of it")
    gradients: list[Value | None] = [None] * len(leaves)
    for k, value in zip(floats, both[len(found) :], strict=True):
        gradients[k] = _checked(traced, lowering, k, value)
    return gradients


def vjp_of_step(traced: Traced, given: Sequence[Any]) -> tuple[list[Any], Any]:
    """Return the results of a step, and the function from cotangents of floats to gradients of floats."""
    floats = [k for k, t in enumerate(traced.types) if is_floating(t)]

    def of_floats(values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        whole = list(given)
        for k, value in zip(floats, values, strict=True):
            whole[k] = value
        results = traced(*whole)
        return [r for r, t in zip(results, traced.results, strict=True) if is_floating(t)], results

    _, pull, results = jax.vjp(of_floats, [given[k] for k in floats], has_aux=True)
    return results, lambda cotangents: pull(list(cotangents))[0]


def _checked(traced: Traced, lowering: Lowering, k: int, value: Value) -> Value | None:
    """Return a gradient; None where it is zero."""
    b, node = lowering.builder, lowering.builder.nodes[value.node]
    if node.op == "const" and node.args == (0,):
        return None
    if traced.types[k].shape != lowering.neurons and value.node not in b.pending_sums:
        raise NotFusible("has a gradient that is not a sum over neurons for a parameter that they share")
    # operations that take this gradient, such as a convolution, are many times slower for subnormal numbers on x86
    return b.flushed(value) if traced.states <= k < traced.states + traced.xs else value


def is_floating(aval: Any) -> bool:
    """Return True if values of a type have gradients."""
    return bool(jnp.issubdtype(aval.dtype, jnp.inexact))


def _roles(states: int, xs: int, params: int) -> Any:
    for role, count in (("state", states), ("x", xs), ("param", params)):
        yield from ((role, index) for index in range(count))
