"""The three primitives of JAX that stand for a scan, its derivative in a direction, and its gradient.

``scan_p`` runs a step over time. Its derivative in a direction is ``tangent_p``, which is linear in the direction.
``backward_p`` is the transpose of that, the gradient. The first and the last have kernels on the CPU. All else is
computed by ``jax.lax.scan``: ``tangent_p`` itself, derivatives of higher order, and all three on other platforms.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad as _ad
from jax.interpreters import batching, mlir, partial_eval

from spikingtorch.functional.core.names import level_of_user
from spikingtorch.jax import handler, launch, reference
from spikingtorch.jax.spec import ScanSpec
from spikingtorch.jax.varying import aval_like, unified

PLATFORM = "cpu"  # where there are kernels
Arrays = Sequence[jax.Array]

ad: Any = _ad  # without types, as are primitives
scan_p: Any = Primitive("spikingtorch_scan")
tangent_p: Any = Primitive("spikingtorch_scan_tangent")
backward_p: Any = Primitive("spikingtorch_scan_backward")


def scan(spec: ScanSpec, operands: Arrays, *, keep: bool = False) -> list[jax.Array]:
    """Return final states and outputs and, with ``keep``, the states that ``backward`` starts from."""
    found: list[jax.Array] = scan_p.bind(*unified(operands), spec=spec, keep=keep)
    return found


def tangent(spec: ScanSpec, operands: Arrays, kept: Arrays, dots: Arrays, given: tuple[bool, ...]) -> list[jax.Array]:
    """Return the derivatives of floating results in a direction; see ``reference.tangent``."""
    found: list[jax.Array] = tangent_p.bind(*unified([*operands, *kept, *dots]), spec=spec, given=given)
    return found


def backward(
    spec: ScanSpec, operands: Arrays, kept: Arrays, coming: Arrays, given: tuple[bool, ...], wanted: tuple[bool, ...]
) -> list[jax.Array]:
    """Return the gradients of floating operands; see ``reference.backward``."""
    arrays = unified([*operands, *kept, *coming])
    found: list[jax.Array] = backward_p.bind(*arrays, spec=spec, given=given, wanted=wanted)
    return found


def _split(spec: ScanSpec, args: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the operands, the kept states, and what follows."""
    first = len(spec.step.types)
    return list(args[:first]), list(args[first : first + spec.states]), list(args[first + spec.states :])


def _wanted(spec: ScanSpec, wanted: tuple[bool, ...]) -> list[int]:
    return [k for k, want in zip(spec.floats, wanted, strict=True) if want]


# --- types ------------------------------------------------------------------------------------------------------------


def _scan_types(*avals: Any, spec: ScanSpec, keep: bool) -> Any:
    return [aval_like(avals[0], *each) for each in spec.results(spec.batch_of(avals), keep=keep)]


def _tangent_types(*avals: Any, spec: ScanSpec, given: tuple[bool, ...]) -> Any:  # noqa: ARG001
    results = spec.results(spec.batch_of(avals), keep=False)
    return [aval_like(avals[0], *results[k]) for k in spec.float_results]


def _backward_types(*avals: Any, spec: ScanSpec, given: tuple[bool, ...], wanted: tuple[bool, ...]) -> Any:  # noqa: ARG001
    batch = spec.batch_of(avals)
    return [aval_like(avals[0], spec.shape_of(k, batch), avals[k].dtype) for k in _wanted(spec, wanted)]


for _each, _types in ((scan_p, _scan_types), (tangent_p, _tangent_types), (backward_p, _backward_types)):
    _each.multiple_results = True
    _each.def_abstract_eval(_types)


# --- by jax.lax.scan --------------------------------------------------------------------------------------------------


def _scan_by_scan(*args: jax.Array, spec: ScanSpec, keep: bool) -> list[jax.Array]:
    return reference.forward(spec, args, keep=keep)


def _tangent_by_scan(*args: jax.Array, spec: ScanSpec, given: tuple[bool, ...]) -> list[jax.Array]:
    operands, _, dots = _split(spec, args)
    return reference.tangent(spec, operands, dots, given)


def _backward_by_scan(
    *args: jax.Array, spec: ScanSpec, given: tuple[bool, ...], wanted: tuple[bool, ...]
) -> list[jax.Array]:
    operands, _, coming = _split(spec, args)
    return reference.backward(spec, operands, coming, given, wanted)


# --- derivatives ------------------------------------------------------------------------------------------------------


def _scan_jvp(primals: Arrays, tangents: Sequence[Any], *, spec: ScanSpec, keep: bool) -> Any:
    found = scan(spec, primals, keep=True)
    results, kept = found[: len(spec.step.results)], found[len(spec.step.results) :]
    directions = [tangents[k] for k in spec.floats]
    given = tuple(type(direction) is not ad.Zero for direction in directions)
    launch.begin(spec, given)
    dots = [direction for direction, has in zip(directions, given, strict=True) if has]
    derivatives = dict(zip(spec.float_results, tangent(spec, primals, kept, dots, given), strict=True))
    # kept states only repeat what operands say: no derivative passes through them
    of_results = [derivatives.get(k, _zero(x)) for k, x in enumerate(results)]
    return (found, [*of_results, *map(_zero, kept)]) if keep else (results, of_results)


def _jvp_by_scan(primitive: Any, by_scan: Callable[..., Any], primals: Arrays, tangents: Any, **options: Any) -> Any:
    """Return the results of ``tangent_p`` or ``backward_p``, and their derivatives by ``jax.lax.scan``."""
    moving = [k for k, dot in enumerate(tangents) if type(dot) is not ad.Zero]

    def of(*moved: jax.Array) -> Any:
        arrays = dict(enumerate(primals)) | dict(zip(moving, moved, strict=True))
        return by_scan(*arrays.values(), **options)

    _, dots = jax.jvp(of, [primals[k] for k in moving], [tangents[k] for k in moving])
    return primitive.bind(*unified(primals), **options), dots


def _tangent_transpose(cotangents: Sequence[Any], *args: Any, spec: ScanSpec, given: tuple[bool, ...]) -> Any:
    operands, kept, dots = _split(spec, args)
    has = tuple(type(c) is not ad.Zero for c in cotangents)
    asked = iter(dots)
    wanted = tuple(give and ad.is_undefined_primal(next(asked)) for give in given)
    coming = [c for c, there in zip(cotangents, has, strict=True) if there]
    found = iter(backward(spec, operands, kept, coming, has, wanted))
    of_dots = [_of_shape(spec, next(found), d) if ad.is_undefined_primal(d) else None for d in dots]
    return [*[None] * (len(operands) + len(kept)), *of_dots]


def _backward_transpose(
    cotangents: Sequence[Any], *args: Any, spec: ScanSpec, given: tuple[bool, ...], wanted: tuple[bool, ...]
) -> Any:
    operands, kept, coming = _split(spec, args)
    present = iter(cotangents)
    along = [next(present) if want else None for want in wanted]
    has = tuple(each is not None and type(each) is not ad.Zero for each in along)
    dots: list[Any] = [each for each, there in zip(along, has, strict=True) if there]
    found = tangent(spec, operands, kept, dots, has)
    chosen = iter([dot for dot, give in zip(found, given, strict=True) if give])
    pairs = [(next(chosen), c) for c in coming]
    of_coming = [_of_shape(spec, x, c) if ad.is_undefined_primal(c) else None for x, c in pairs]
    return [*[None] * (len(operands) + len(kept)), *of_coming]


def _of_shape(spec: ScanSpec, cotangent: jax.Array, of: Any) -> jax.Array:
    """Return a cotangent in the shape of what it belongs to, summed over axes of ``jax.vmap`` that are not mapped."""
    return launch.summed(cotangent, of.aval.shape, spec.batch)


def _scan_transpose(cotangents: Sequence[Any], *args: Any, spec: ScanSpec, keep: bool) -> Any:
    linear = [k for k, x in enumerate(args) if ad.is_undefined_primal(x)]

    def of(*moved: jax.Array) -> list[jax.Array]:
        whole = dict(enumerate(args)) | dict(zip(linear, moved, strict=True))
        return reference.forward(spec, [*whole.values()], keep=keep)

    # the gradient of a linear function, at any place, is its transpose
    _, pull = jax.vjp(of, *[jnp.zeros(args[k].aval.shape, args[k].aval.dtype) for k in linear])
    found = dict(zip(linear, pull([ad.instantiate_zeros(c) for c in cotangents]), strict=True))
    return [found.get(k) for k in range(len(args))]


def _zero(array: jax.Array) -> Any:
    return ad.Zero(jax.typeof(array).to_tangent_aval())


ad.primitive_jvps[scan_p] = _scan_jvp
ad.primitive_jvps[tangent_p] = partial(_jvp_by_scan, tangent_p, _tangent_by_scan)
ad.primitive_jvps[backward_p] = partial(_jvp_by_scan, backward_p, _backward_by_scan)
ad.primitive_transposes[scan_p] = _scan_transpose
ad.primitive_transposes[tangent_p] = _tangent_transpose
ad.primitive_transposes[backward_p] = _backward_transpose


# --- vmap -------------------------------------------------------------------------------------------------------------


def _batch(primitive: Any, args: Arrays, dims: Sequence[Any], *, spec: ScanSpec, **options: Any) -> Any:
    moved = [jnp.expand_dims(x, 0) if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(args, dims, strict=True)]
    found = primitive.bind(*moved, spec=spec.batched(), **options)
    return found, [0] * len(found)


for _each in (scan_p, tangent_p, backward_p):
    batching.primitive_batchers[_each] = partial(_batch, _each)


# --- what runs them ---------------------------------------------------------------------------------------------------


def _scan_by_kernel(*args: jax.Array, spec: ScanSpec, keep: bool) -> list[jax.Array]:
    return launch.forward(spec, args, keep=keep)


def _backward_by_kernel(
    *args: jax.Array, spec: ScanSpec, given: tuple[bool, ...], wanted: tuple[bool, ...]
) -> list[jax.Array]:
    return launch.backward(spec, *_split(spec, args), given, wanted)


def _lower(by_scan: Callable[..., Any], by_kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that a primitive becomes on the CPU."""

    def lowered(*args: jax.Array, spec: ScanSpec, **options: Any) -> Any:
        if not launch.takes(spec, spec.batch_of(args)):
            return by_scan(*args, spec=spec, **options)
        try:
            return by_kernel(*args, spec=spec, **options)
        except handler.FAILURES as error:
            warn_once(f"scan: neurons run by jax.lax.scan (slower) because no kernel can be compiled: {error}")
        return by_scan(*args, spec=spec, **options)

    return lowered


def _elsewhere(by_scan: Callable[..., Any], ctx: Any, *args: Any, **options: Any) -> Any:
    """Lower a primitive for a platform without kernels."""
    where = " and ".join(each for each in ctx.module_context.platforms if each != PLATFORM)
    warn_once(f"scan: kernels of spikingtorch.jax run on the CPU. On {where}, jax.lax.scan runs (slower)")
    return mlir.lower_fun(by_scan, multiple_results=True)(ctx, *args, **options)


@lru_cache(maxsize=256)
def warn_once(text: str) -> None:
    """Warn once."""
    warnings.warn(text, RuntimeWarning, stacklevel=level_of_user())


for _each, _scanned, _kernel in (
    (scan_p, _scan_by_scan, _scan_by_kernel),
    (backward_p, _backward_by_scan, _backward_by_kernel),
):
    mlir.register_lowering(_each, partial(_elsewhere, _scanned))
    mlir.register_lowering(_each, mlir.lower_fun(_lower(_scanned, _kernel), multiple_results=True), platform=PLATFORM)


def _needed_tangent(*args: jax.Array, **options: Any) -> Any:
    """Return the results of ``tangent_p`` without what none of them needs, which JAX may have no rule for."""
    closed = jax.make_jaxpr(partial(_tangent_by_scan, **options))(*args)
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    return jaxpr_as_fun(ClosedJaxpr(jaxpr, closed.consts))(*args)


# a jaxpr inside another one, such as this scan, is lowered as it is
mlir.register_lowering(tangent_p, mlir.lower_fun(_needed_tangent, multiple_results=True))


def _compiled(primitive: Any) -> Callable[..., Any]:
    """Return the function that runs a primitive outside of ``jax.jit``: a compiled one, which JAX keeps."""

    @partial(jax.jit, static_argnames="options")
    def run(args: Arrays, options: tuple[tuple[str, Any], ...]) -> Any:
        return primitive.bind(*args, **dict(options))

    def compiled(*args: jax.Array, **options: Any) -> Any:
        # without jit, ``run`` would call itself, as it would to tell where a NaN comes from
        with jax.disable_jit(False), jax.debug_nans(False), jax.debug_infs(False):
            found = run(args, tuple(sorted(options.items())))
        _check_numbers(primitive, found)
        return found

    return compiled


def _check_numbers(primitive: Any, arrays: Arrays) -> None:
    """Raise FloatingPointError as JAX does in its modes that debug NaN and infinities."""
    config: Any = jax.config
    for asked, odd, name in ((config.jax_debug_nans, jnp.isnan, "nan"), (config.jax_debug_infs, jnp.isinf, "inf")):
        if asked and any(jnp.issubdtype(x.dtype, jnp.inexact) and bool(odd(x).any()) for x in arrays):
            raise FloatingPointError(f"invalid value ({name}) encountered in {primitive.name}")


for _each in (scan_p, tangent_p, backward_p):
    _each.def_impl(_compiled(_each))
