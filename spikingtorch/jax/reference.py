"""The scan of a step by ``jax.lax.scan``, its derivative in a direction, and its gradient.

These are what the kernels compute, for platforms without a kernel, and what is differentiated further: each is one
``lax.scan`` whose body calls the step or its derivative, so that JAX differentiates the body by the rules of the user.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from spikingtorch.jax.handler import CHUNK
from spikingtorch.jax.spec import ScanSpec
from spikingtorch.jax.trace import vjp_of_step

Arrays = Sequence[jax.Array]


def forward(spec: ScanSpec, operands: Arrays, *, keep: bool = False) -> list[jax.Array]:
    """Return final states and outputs and, with ``keep``, the state before each chunk but the first."""
    return _over_batch(spec, partial(_forward, spec, keep=keep), operands)


def tangent(spec: ScanSpec, operands: Arrays, tangents: Arrays, given: tuple[bool, ...]) -> list[jax.Array]:
    """Return the derivatives of floating final states and outputs in the direction of the tangents.

    ``tangents`` are those of the floating operands that have one, and ``given`` says for each whether it does.
    """
    return _over_batch(spec, partial(_tangent, spec, given=given), operands, tangents)


def backward(
    spec: ScanSpec, operands: Arrays, cotangents: Arrays, given: tuple[bool, ...], wanted: tuple[bool, ...]
) -> list[jax.Array]:
    """Return the gradients of floating operands, of those that are ``wanted``.

    ``cotangents`` are the incoming gradients of floating final states and outputs, of those that have one, and
    ``given`` says for each whether it does.
    """
    return _over_batch(spec, partial(_backward, spec, given=given, wanted=wanted), operands, cotangents)


def _over_batch(spec: ScanSpec, function: Callable[..., list[jax.Array]], *groups: Arrays) -> list[jax.Array]:
    batch = spec.batch_of([x for group in groups for x in group])
    whole = [[jnp.broadcast_to(x, (*batch, *x.shape[spec.batch :])) for x in group] for group in groups]
    for _ in range(spec.batch):
        function = jax.vmap(function)
    return function(*whole)


def _forward(spec: ScanSpec, operands: Arrays, keep: bool) -> list[jax.Array]:
    states, xs, params = _parts(spec, operands)

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        results = spec.step(*carry, *_lifted(spec, x), *params)
        return results[: spec.states], (_rounded(spec, results[spec.states :]), carry if keep else ())

    final, (outs, before) = jax.lax.scan(body, states, xs, length=spec.steps)
    kept = [_from_front(spec, each[CHUNK::CHUNK]) for each in before] if keep else []
    return [*final, *(_from_front(spec, out) for out in outs), *kept]


def _tangent(spec: ScanSpec, operands: Arrays, tangents: Arrays, given: tuple[bool, ...]) -> list[jax.Array]:
    # one array for each floating operand, zeros where none is given
    places = dict(zip([k for k, has in zip(spec.floats, given, strict=True) if has], tangents, strict=True))
    dots = {k: places.get(k, jnp.zeros_like(operands[k])) for k in spec.floats}
    states, xs, params = _parts(spec, operands)
    dstates = [dots[k] for k in spec.floats if k < spec.states]
    dxs = [_to_front(spec, dots[k]) for k in spec.floats if k in spec.streams]
    dparams = [dots[k] for k in spec.floats if k >= spec.streams.stop]
    float_states = [k for k in spec.float_results if k < spec.states]

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        before, dbefore = carry
        given_x, dx = x
        leaves = [*before, *_lifted(spec, given_x), *params]
        directions = [
            *dbefore,
            *(d.astype(leaves[k].dtype) for k, d in zip(_float_xs(spec), dx, strict=True)),
            *dparams,
        ]
        after, dafter = _jvp_of_step(spec, leaves, directions)
        ends = len(float_states)
        return (after[: spec.states], dafter[:ends]), _rounded_tangents(spec, dafter[ends:])

    (_, dfinal), douts = jax.lax.scan(body, (states, dstates), (xs, dxs), length=spec.steps)
    return [*dfinal, *(_from_front(spec, out) for out in douts)]


def _jvp_of_step(spec: ScanSpec, leaves: list[Any], directions: list[Any]) -> tuple[list[Any], list[Any]]:
    def of_floats(*values: Any) -> tuple[list[Any], list[Any]]:
        whole = list(leaves)
        for k, value in zip(spec.floats, values, strict=True):
            whole[k] = value
        results = spec.step(*whole)
        return [results[k] for k in spec.float_results], results

    _, dots, results = jax.jvp(of_floats, [leaves[k] for k in spec.floats], directions, has_aux=True)
    return results, dots


def _backward(
    spec: ScanSpec, operands: Arrays, cotangents: Arrays, given: tuple[bool, ...], wanted: tuple[bool, ...]
) -> list[jax.Array]:
    states, xs, params = _parts(spec, operands)

    def ahead(carry: Any, x: Any) -> tuple[Any, Any]:
        return spec.step(*carry, *_lifted(spec, x), *params)[: spec.states], carry

    _, before = jax.lax.scan(ahead, states, xs, length=spec.steps)
    coming = dict(zip([k for k, has in zip(spec.float_results, given, strict=True) if has], cotangents, strict=True))
    of_finals = [coming.get(k, jnp.zeros_like(operands[k])) for k in spec.float_results if k < spec.states]
    of_outs = [_cotangent_stream(spec, k, coming.get(k)) for k in spec.float_results if k >= spec.states]
    first_param = spec.streams.stop
    zeros = [jnp.zeros_like(operands[k]) for k in spec.floats if k >= first_param]

    def back(carry: Any, at: Any) -> tuple[Any, Any]:
        of_states, of_params = carry
        state, x, of_out = at
        leaves = [*state, *_lifted(spec, x), *params]
        results, pull = vjp_of_step(spec.step, leaves)
        outs = zip([k for k in spec.float_results if k >= spec.states], of_out, strict=True)
        grads = pull([*of_states, *(ct.astype(results[k].dtype) for k, ct in outs)])
        by_operand = dict(zip(spec.floats, grads, strict=True))
        of_xs = [by_operand[k].astype(x[k - spec.states].dtype) for k in _float_xs(spec)]
        sums = [a + by_operand[k] for a, k in zip(of_params, [k for k in spec.floats if k >= first_param], strict=True)]
        return ([by_operand[k] for k in spec.floats if k < spec.states], sums), of_xs

    (of_states, of_params), of_xs = jax.lax.scan(
        back, (of_finals, zeros), (before, xs, of_outs), length=spec.steps, reverse=True
    )
    found = [*of_states, *(_from_front(spec, grad) for grad in of_xs), *of_params]
    return [grad for grad, want in zip(found, wanted, strict=True) if want]


def _cotangent_stream(spec: ScanSpec, k: int, cotangent: jax.Array | None) -> jax.Array:
    if cotangent is not None:
        return _to_front(spec, cotangent)
    result = spec.step.results[k]
    return jnp.zeros((spec.steps, *result.shape), result.dtype)


def _parts(spec: ScanSpec, operands: Arrays) -> tuple[list[jax.Array], list[jax.Array], list[jax.Array]]:
    streams = [_to_front(spec, operands[k]) for k in spec.streams]
    return list(operands[: spec.states]), streams, list(operands[spec.streams.stop :])


def _float_xs(spec: ScanSpec) -> list[int]:
    return [k for k in spec.floats if k in spec.streams]


def _to_front(spec: ScanSpec, stream: jax.Array) -> jax.Array:
    return jnp.moveaxis(stream, spec.dim, 0)


def _from_front(spec: ScanSpec, stream: jax.Array) -> jax.Array:
    return jnp.moveaxis(stream, 0, spec.dim)


def _lifted(spec: ScanSpec, xs: Sequence[jax.Array]) -> list[jax.Array]:
    return [x.astype(spec.step.types[k].dtype) for k, x in zip(spec.streams, xs, strict=True)]


def _rounded(spec: ScanSpec, outs: Sequence[jax.Array]) -> list[jax.Array]:
    return [out.astype(dtype) for out, dtype in zip(outs, spec.out_dtypes, strict=True)]


def _rounded_tangents(spec: ScanSpec, dots: Sequence[jax.Array]) -> list[jax.Array]:
    places = [k - spec.states for k in spec.float_results if k >= spec.states]
    return [dot.astype(spec.out_dtypes[k]) for dot, k in zip(dots, places, strict=True)]
