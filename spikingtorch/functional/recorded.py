"""Recorded and Returning: steps that also return their state, and the membrane at the threshold."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.names import step_name
from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.firing import FireRecord, Watched
from spikingtorch.functional.recurrent import Recurrent, RecurrentState, first_output
from spikingtorch.functional.state import inner_rest

# the records of ``fire``: the membrane before the reset, and its threshold
_AT_THRESHOLD = ("u", "threshold")


class Recorded(NamedTuple):
    """A step with records of its state and membrane, for each step of time.

        state[t], (out[t], {name: record[t]}) = ...

    Args:
        step: a step, ``(state, x, **params) -> (state, out)``.
        names: of the records: fields of the state after the step; "u", the membrane before the reset, or v while a
            neuron rests; "threshold".
        strict: whether an unknown name is an error; if not, its record is left out.

    >>> from spikingtorch.functional import IFState, if_step, scan
    >>> _, (spikes, records) = scan(recorded(if_step, "v", "u"), IFState(v=torch.zeros(1)), torch.full((3, 1), 0.6))
    >>> spikes.flatten(), records["u"].flatten(), records["v"].flatten()
    (tensor([0., 1., 0.]), tensor([0.6000, 1.2000, 0.6000]), tensor([0.6000, 0.0000, 0.6000]))
    """

    step: Callable[..., tuple[Any, Any]]
    names: tuple[str, ...]
    strict: bool = True

    def __call__(self, state: Any, x: Any, **params: Any) -> tuple[Any, tuple[Any, dict[str, Tensor]]]:
        """Advance one step; raise ValueError if the step has no state of a name, or does not record its threshold."""
        watched: Watched | None = None
        if set(self.names) & set(_AT_THRESHOLD):
            watched = watch(self.step, params)
        after, out = self.step(state, x, **params)
        records = dict(fields_of(after))
        if watched is not None and watched.met:
            records |= _met(watched.met[-1], state)
        missing = [name for name in self.names if name not in records]
        if missing and self.strict:
            raise ValueError(_complaint(self.step, missing, [name for name, _ in fields_of(after)]))
        return after, (out, {name: lift(records[name]) for name in self.names if name in records})

    def at_rest(self, neuron: Any, like: Tensor) -> Any:
        """Return the state at rest, which is that of the step."""
        return inner_rest(self.step, neuron, like)


def recorded(step: Callable[..., tuple[Any, Any]], *names: str) -> Recorded:
    """Return a step that gives out records of its state and membrane beside its output.

        state[t], (out[t], {name: record[t]}) = recorded(step, *names)(state[t-1], x[t], **params)

    Args:
        step: a step, ``(state, x, **params) -> (state, out)``.
        names: fields of its state after a step; "u", the membrane before the reset; "threshold". While a neuron rests,
            "u" is its v. The last two need a step that fires through ``functional.fire``, as all steps of the library
            do; "u" of a resting neuron needs a state with a v.

    Raises:
        TypeError: a name is not a string, or there are no names.
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"recorded: names={names!r}; expected names of records, for instance recorded(step, 'v', 'u')")
    return Recorded(step, tuple(names))


class Returning(NamedTuple):
    """A step that returns fields of its state beside its output, in one tuple.

        state[t], (out[t], field[t], ...) = ...

    Args:
        step: a step, ``(state, x, **params) -> (state, out)``.
        names: of the fields after the step; the names of ``Recorded``.

    >>> from spikingtorch.functional import IFState, if_step, scan
    >>> _, (spikes, v) = scan(Returning(if_step, ("v",)), IFState(v=torch.zeros(1)), torch.full((3, 1), 0.6))
    >>> spikes.flatten(), v.flatten()
    (tensor([0., 1., 0.]), tensor([0.6000, 0.0000, 0.6000]))
    """

    step: Callable[..., tuple[Any, Any]]
    names: tuple[str, ...]

    def __call__(self, state: Any, x: Any, **params: Any) -> tuple[Any, tuple[Any, ...]]:
        """Advance one step.

        Raises:
            ValueError: the step has no state of a name.
        """
        after, (out, records) = Recorded(self.step, self.names)(state, x, **params)
        return after, (out, *[records[name] for name in self.names])

    def at_rest(self, neuron: Any, like: Tensor) -> Any:
        """Return the state at rest, which is that of the step."""
        return inner_rest(self.step, neuron, like)


def returning(step: Any, names: tuple[str, ...]) -> Any:
    """Return a step that returns fields of its state; in a recurrent step, the neuron does."""
    if isinstance(step, Recurrent):
        neuron: Any = Returning(step.step, names)
        return Recurrent(neuron, step.synapse)
    return Returning(step, names)


class RecordedNeuron(NamedTuple):
    """The step of a neuron that becomes recurrent, with the records of the whole step; see ``records_inside``.

    The names are those of ``Recorded``, and "s", the output, as part of the state of ``Recurrent``.
    """

    step: Callable[..., tuple[Any, Any]]
    names: tuple[str, ...]
    strict: bool = True

    def __call__(self, state: Any, x: Any, **params: Any) -> tuple[Any, tuple[Any, dict[str, Tensor]]]:
        """Advance one step."""
        alone: Any = _Undriven(self.step)
        after, outputs = Recorded(alone, self.names, self.strict)(state, x, **params)
        return after.neuron, outputs


class _Undriven(NamedTuple):
    """A recurrent step with only the state of its neuron, without feedback."""

    step: Callable[..., tuple[Any, Any]]

    def __call__(self, state: Any, x: Any, **params: Any) -> tuple[RecurrentState, Any]:
        """Advance one step."""
        after, out = self.step(state, x, **params)
        return RecurrentState(after, first_output(out)), out


def records_inside(step: Any) -> Any:
    """Return a recurrent step whose neuron has the records, for one with records around it; other steps stay unchanged.

    Both are equal: the records belong to the neuron, and the synapse sees only its output.

        Recorded(Recurrent(neuron, synapse), names) -> Recurrent(RecordedNeuron(neuron, names), synapse)
    """
    if isinstance(step, Recorded) and isinstance(step.step, Recurrent):
        neuron: Any = RecordedNeuron(step.step.step, step.names, step.strict)
        return Recurrent(neuron, step.step.synapse)
    return step


def watch(step: Any, params: dict[str, Any]) -> Watched | None:
    """Replace a step's surrogate by one that records its calls; return it, or None if the step has none."""
    surrogate = params["surrogate"] if "surrogate" in params else default_of(step, "surrogate")
    if surrogate is None:
        return None
    watched = params["surrogate"] = Watched(surrogate)
    return watched


def default_of(step: Any, name: str) -> Any:
    """Return the default of a step's parameter, for a wrapper that of the step inside; None if there is none."""
    while step is not None:
        try:
            found = inspect.signature(step).parameters.get(name)
        except (TypeError, ValueError):
            return None
        if found is not None:
            return None if found.default is inspect.Parameter.empty else found.default
        step = getattr(step, "step", None)
    return None


def _met(met: FireRecord, before: Any) -> dict[str, Tensor]:
    """Return the membrane, if it is known, and the threshold; at rest, the membrane is constant."""
    # in its own memory, with the membrane's shape
    threshold = {"threshold": met.threshold + torch.zeros_like(met.u)}
    if met.resting is None:
        return {"u": met.u} | threshold
    kept = dict(fields_of(before)).get("v")
    return threshold if kept is None else {"u": torch.where(met.resting, kept, met.u)} | threshold


def fields_of(state: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the fields of a state; the fields of the neuron come after those of its wrapper."""
    for name in getattr(state, "_fields", ()):
        value = getattr(state, name)
        if isinstance(value, Tensor):
            yield name, value
        else:
            yield from fields_of(value)


def _complaint(step: Any, missing: list[str], there: list[str]) -> str:
    has = f"it has {', '.join(there)}" if there else "it has none that are tensors in a NamedTuple"
    text = f"recorded: {step_name(step)} has no state {', '.join(map(repr, missing))}; {has}"
    if set(missing) & set(_AT_THRESHOLD):
        text += (
            ". 'u' and 'threshold' need a step with a parameter surrogate that fires through functional.fire(u, "
            "threshold, surrogate, reset). If it rests after a spike, its state needs a v"
        )
    return text
