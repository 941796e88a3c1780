"""Steps that also return their state, and the membrane before the reset with its threshold."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.jax_reference.firing import Watched
from spikingtorch.functional.jax_reference.scan import lift
from spikingtorch.functional.jax_reference.wrappers import RefractoryState, inner_rest


class Recorded(NamedTuple):
    """A step whose output is a pair: its own output, and a dict of records.

        state[t], (out[t], {name: record[t]}) = ...

    A record is a field of the state after the step; "u", the membrane before the reset, or the v of a neuron that
    rests; or "threshold", in the shape of u. A name that is not known is an error if strict, and left out if not.
    """

    step: Callable[..., Any]
    names: tuple[str, ...]
    strict: bool = True

    def __call__(self, state: Any, x: Any, **params: Any) -> Any:
        """Advance one step; ValueError if a strict name is not known."""
        watched: Watched | None = None
        if {"u", "threshold"} & {*self.names}:
            surrogate = params.get("surrogate", _default(self.step, "surrogate"))
            if surrogate is not None:
                watched = params["surrogate"] = Watched(surrogate)
        after, out = self.step(state, x, **params)
        known = dict(_fields(after))
        if watched is not None and watched.met:
            known |= _at_threshold(*watched.met[-1], state)
        missing = [name for name in self.names if name not in known]
        if missing and self.strict:
            raise ValueError(_complaint(self.step, missing, [name for name, _ in _fields(after)]))
        return after, (out, {name: lift(known[name]) for name in self.names if name in known})

    def at_rest(self, neuron: Any, like: jax.Array) -> Any:
        """Return the state at rest, which is that of the step."""
        return inner_rest(self.step, neuron, like)


def recorded(step: Callable[..., Any], *names: str) -> Recorded:
    """Return a step whose output is ``(out, {name: record})``; see ``Recorded``.

    "u" and "threshold" need a step that fires through ``fire``, as all steps of the library do, with the default of its
    surrogate or with the one in its parameters.

    Raises:
        TypeError: a name is not a string, or there are no names.

    >>> from spikingtorch.jax import IFState, if_step, scan
    >>> _, (spikes, records) = scan(recorded(if_step, "v", "u"), IFState(v=jnp.zeros(1)), jnp.full((3, 1), 0.75))
    >>> spikes.ravel().tolist(), records["u"].ravel().tolist(), records["v"].ravel().tolist()
    ([0.0, 1.0, 0.0], [0.75, 1.5, 0.75], [0.75, 0.0, 0.75])
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"recorded: names={names!r}; expected names of records, for instance recorded(step, 'v', 'u')")
    return Recorded(step, tuple(names))


class Returning(NamedTuple):
    """A step whose output is a tuple: its own output, then one record for each name of ``Recorded``.

    state[t], (out[t], record[t], ...) = ...
    """

    step: Callable[..., Any]
    names: tuple[str, ...]

    def __call__(self, state: Any, x: Any, **params: Any) -> Any:
        """Advance one step; ValueError if a name is not known."""
        after, (out, records) = Recorded(self.step, self.names)(state, x, **params)
        return after, (out, *[records[name] for name in self.names])

    def at_rest(self, neuron: Any, like: jax.Array) -> Any:
        """Return the state at rest, which is that of the step."""
        return inner_rest(self.step, neuron, like)


def _fields(state: Any) -> Iterator[tuple[str, jax.Array]]:
    """Yield the arrays of a state by name; those of a wrapper come after those of its neuron, and so win."""
    for name in getattr(state, "_fields", ()):
        value = getattr(state, name)
        if jax.tree_util.all_leaves([value]):
            yield name, value
        else:
            yield from _fields(value)


def _at_threshold(u: jax.Array, threshold: Any, before: Any) -> dict[str, jax.Array]:
    """Return what a membrane had before its reset, and its threshold; the membrane of a resting neuron is its v."""
    met = {"threshold": threshold + jnp.zeros_like(u)}
    resting = _resting(before)
    if resting is None:
        return met | {"u": u}
    v = dict(_fields(before)).get("v")
    return met if v is None else met | {"u": jnp.where(resting, v, u)}


def _resting(state: Any) -> jax.Array | None:
    """Return which neurons rest in a step that begins with a state; None if they never do."""
    while hasattr(state, "neuron"):
        if isinstance(state, RefractoryState):
            return state.left > 0
        state = state.neuron
    return None


def _default(step: Any, name: str) -> Any:
    """Return the default of a parameter of the innermost step that has it; None if there is none."""
    while step is not None:
        try:
            parameter = inspect.signature(step).parameters.get(name)
        except (TypeError, ValueError):
            return None
        if parameter is not None:
            return None if parameter.default is parameter.empty else parameter.default
        step = getattr(step, "step", None)
    return None


def _complaint(step: Any, missing: list[str], there: list[str]) -> str:
    has = f"it has {', '.join(there)}" if there else "it has none that are arrays in a NamedTuple"
    text = f"recorded: {step_name(step)} has no state {', '.join(map(repr, missing))}; {has}"
    if {"u", "threshold"} & {*missing}:
        text += (
            ". 'u' and 'threshold' need a step with a parameter surrogate that fires through fire(u, threshold, "
            "surrogate, reset). If it rests after a spike, its state needs a v"
        )
    return text
