"""Check the arguments of scan and the result of a step, and flatten them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.core.shapes import without_time
from spikingtorch.jax.varying import aval_like, unified

BACKENDS = ("auto", "fused", "loop")
HALF = ("float16", "bfloat16")


class Call(NamedTuple):
    """The arguments of a scan, flat: what it computes with, and how to build the step's arguments from that."""

    step: Callable[..., Any]  # of the user
    states: tuple[jax.Array, ...]  # leaves of the state, in the precision that the step computes in
    xs: tuple[jax.Array, ...]  # leaves of the inputs
    params: tuple[jax.Array, ...]  # the arrays among the leaves of the parameters, like the states
    forms: tuple[Any, Any, Any]  # structures of the three
    fixed: tuple[Any, ...]  # the leaves of the parameters, with None in the place of each array
    dim: int  # the axis of time, counted from the front
    steps: int  # T
    half: str | None  # the dtype that float32 outputs are rounded to, if they are

    @classmethod
    def of(cls, step: Callable[..., Any], state: Any, xs: Any, params: Mapping[str, Any] | None, dim: int) -> "Call":
        """Return the arguments of ``scan`` as a call.

        Raise ValueError if a shape or a length does not fit, TypeError if something is no array, or no input is
        floating.
        """
        streams = {name: jnp.asarray(x) for name, x in _named("xs", xs).items()}
        dim, steps = _time(streams, dim)
        dtype = jnp.result_type(*[x.dtype for x in streams.values() if not _is_key(x)])
        states = {name: _of_state(jnp.asarray(leaf), dtype) for name, leaf in _named("state", state).items()}
        values, form = jax.tree.flatten(dict(params or {}))
        given = {
            name: leaf for name, leaf in _named("params", dict(params or {}), others=True).items() if _is_array(leaf)
        }
        _check_same_kind({**streams, **states, **{name: leaf for name, leaf in given.items() if np.ndim(leaf)}})
        lifted = [
            *map(_strong, map(_lifted, states.values())),
            *(_lifted(jnp.asarray(leaf)) for leaf in given.values()),
        ]
        arrays = unified([*lifted, *map(_strong, streams.values())])
        first_x = len(lifted)
        return cls(
            step=step,
            states=tuple(arrays[: len(states)]),
            xs=tuple(arrays[first_x:]),
            params=tuple(arrays[len(states) : first_x]),
            forms=(jax.tree.structure(state), jax.tree.structure(xs), form),
            fixed=tuple(None if _is_array(leaf) else leaf for leaf in values),
            dim=dim,
            steps=steps,
            half=dtype.name if dtype.name in HALF else None,
        )

    def arguments(self, states: Any, xs: Any, params: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return the arguments of the step, for leaves in place of those of this call."""
        arrays = iter(params)
        leaves = [next(arrays) if leaf is None else leaf for leaf in self.fixed]
        trees = zip(self.forms, (states, xs, leaves), strict=True)
        state, x, keywords = [jax.tree.unflatten(form, list(each)) for form, each in trees]
        return state, x, keywords

    def of_one_step(self) -> tuple[list[Any], list[Any], list[Any]]:
        """Return the types of states, inputs and parameters at one step, as the step computes with them."""

        def of_x(x: jax.Array) -> Any:
            dtype = np.dtype(np.float32) if x.dtype.name in HALF else x.dtype
            return aval_like(jax.typeof(x), without_time(x.shape, self.dim), dtype)

        return [*map(jax.typeof, self.states)], [*map(of_x, self.xs)], [*map(jax.typeof, self.params)]


def check_backend(backend: str) -> None:
    """Raise ValueError if there is no such backend."""
    if backend not in BACKENDS:
        raise ValueError(f"scan: backend={backend!r} is not one of {', '.join(map(repr, BACKENDS))}")


def called(call: Call, states: Any, xs: Any, params: Any) -> tuple[list[jax.Array], list[jax.Array], Any]:
    """Call the step, and return leaves of its state, leaves of its outputs, and the structure of the outputs.

    Raise TypeError or ValueError if the step returns no pair, or its state has another form than it was given.
    """
    state, x, keywords = call.arguments(states, xs, params)
    try:
        result = call.step(state, x, **keywords)
    except Exception as error:
        error.add_note(f"scan: raised in {step_name(call.step)}, called with the state {_form(state)} and x {_form(x)}")
        raise
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(
            f"scan: {step_name(call.step)} returned {type(result).__name__}; a step returns the pair (state, output)"
        )
    _check_form(call, state, result[0])
    after = [_strong(leaf) for leaf in jax.tree.leaves(result[0])]
    outputs = _named("output", result[1], where=step_name(call.step))
    return after, [jnp.asarray(leaf) for leaf in outputs.values()], jax.tree.structure(result[1])


def _check_form(call: Call, before: Any, after: Any) -> None:
    name = step_name(call.step)
    was_form: Any = jax.tree.structure(before)
    if was_form != jax.tree.structure(after):
        kind, fields = type(before).__name__, getattr(before, "_fields", None)
        remedy = f"return a {kind}, output" if fields is None else f"return {kind}({', '.join(fields)}), output"
        raise TypeError(
            f"scan: {name} was given the state {_form(before)} and returned {_form(after)}. A step returns its state "
            f"in the form that it was given: {remedy}"
        )
    was, now = _named("state", before), _named("state", after, others=True)
    for (place, old), new in zip(was.items(), now.values(), strict=True):
        if not _is_array(new):
            raise TypeError(f"scan: {name} returned {place} = {new!r}, expected an array")
        if new.shape != old.shape:
            raise ValueError(
                f"scan: {name} turned {place} of shape {old.shape} into {new.shape}. The initial state needs the shape "
                "of one input, as zeros_state(type, x) makes it, and parameters must broadcast to it"
            )
        if new.dtype != old.dtype:
            raise TypeError(
                f"scan: {name} turned {place} from {old.dtype} into {new.dtype}; give the initial state the dtype that "
                "the step computes in"
            )


def _time(streams: dict[str, jax.Array], dim: int) -> tuple[int, int]:
    """Return the axis of time, counted from the front, and the number of steps."""
    if not streams:
        raise ValueError("scan: xs holds no array; give at least one input with a time axis")
    for name, x in streams.items():
        if not -x.ndim <= dim < x.ndim:
            raise ValueError(f"scan: {name} has shape {x.shape}, which has no time axis dim={dim}")
    lengths = {name: x.shape[dim] for name, x in streams.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"scan: inputs differ in length along dim={dim}: {lengths}")
    if not any(jnp.issubdtype(x.dtype, jnp.inexact) for x in streams.values()):
        got = ", ".join(f"{name} is {x.dtype}" for name, x in streams.items())
        raise TypeError(f"scan: no input is floating: {got}. Convert it, for instance with xs.astype(jnp.float32)")
    places = {dim % x.ndim for x in streams.values()}
    if len(places) > 1:
        shapes = {name: x.shape for name, x in streams.items()}
        raise ValueError(f"scan: dim={dim} is another axis in each input: {shapes}. Count it from the front")
    return places.pop(), next(iter(lengths.values()))


def _check_same_kind(arrays: dict[str, Any]) -> None:
    dtypes = {name: _computed(a.dtype) for name, a in arrays.items() if jnp.issubdtype(a.dtype, jnp.inexact)}
    if len(set(dtypes.values())) > 1:
        one = next(iter(dtypes.values()))
        raise TypeError(f"scan: mixed dtypes: {dtypes}. Convert them to one, for instance with .astype({one!r})")


def _named(root: str, tree: Any, *, others: bool = False, where: str | None = None) -> dict[str, Any]:
    """Return the leaves of a tree by their names; with ``others``, those that are no arrays as well."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {root + jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    for name, leaf in named.items():
        if not (others or _is_array(leaf) or isinstance(leaf, bool | int | float)):
            came = f"scan: {where} returned" if where else "scan:"
            is_ = "=" if where else f"is a {type(leaf).__name__}, expected an array:"
            raise TypeError(
                f"{came} {name} {is_} {leaf!r}" + ("; outputs are arrays or trees of them" if where else "")
            )
    return named


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def _computed(dtype: Any) -> str:
    name = dtype.name
    return "float32" if name in (*HALF, "complex64") else "float64" if name == "complex128" else name


def _strong(leaf: jax.Array) -> jax.Array:
    """Return an array whose dtype does not yield to others, as that of a Python number does."""
    return leaf if _is_key(leaf) else jax.lax.convert_element_type(leaf, leaf.dtype)


def _of_state(leaf: jax.Array, dtype: Any) -> jax.Array:
    """Return a state in the precision that the step computes in; a Python number has the precision of the inputs."""
    yields = jax.typeof(leaf).weak_type and jnp.issubdtype(leaf.dtype, jnp.floating)
    return _strong(_lifted(leaf.astype(jnp.promote_types(dtype, jnp.float32)) if yields else leaf))


def _lifted(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float32) if leaf.dtype.name in HALF else leaf


def _form(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: leaf.shape if _is_array(leaf) else leaf, tree))
