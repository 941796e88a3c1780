"""Spike functions and neurons of other libraries, known by their modules: none of these libraries is imported."""

import types
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Library(NamedTuple):
    """A library whose neurons ``spikingtorch.like`` has.

    Attributes:
        name: as it calls itself.
        neurons: names of the neurons that are there.
        functions: of the spike functions; those of Norse and Sinabs are options of their own neurons alone.
        instead: for other modules that keep a state, what to take.
        resets: how the library puts all states of a network back.
    """

    name: str
    neurons: frozenset[str]
    functions: frozenset[str] = frozenset()
    instead: Mapping[str, str] = types.MappingProxyType({})
    resets: str = ""


# by the name of the package
LIBRARIES = {
    "snntorch": Library(
        "snnTorch",
        frozenset(("Alpha", "Lapicque", "Leaky", "RLeaky", "RSynaptic", "Synaptic")),
        frozenset(("atan", "fast_sigmoid", "sigmoid", "spike_rate_escape", "straight_through_estimator", "triangular")),
        resets="snntorch.utils.reset(net)",
    ),
    "spikingjelly": Library(
        "SpikingJelly",
        frozenset(
            (
                *("IFNode", "LIFNode", "ParametricLIFNode", "KLIFNode", "LIAFNode", "CUBALIFNode"),
                *("QIFNode", "EIFNode", "IzhikevichNode", "SynapseFilter"),
                *("ElementWiseRecurrentContainer", "LinearRecurrentContainer"),
            )
        ),
        frozenset(("ATan", "Erf", "PiecewiseExp", "PiecewiseQuadratic", "Rect", "Sigmoid", "SoftSign", "SuperSpike")),
        {"Dropout": "spikingtorch.SequenceDropout(p)", "Dropout2d": "spikingtorch.SequenceDropout(p)"},
        "spikingjelly.activation_based.functional.reset_net(net)",
    ),
    "norse": Library(
        "Norse",
        frozenset(
            (
                *("LIFCell", "LIFRefracCell", "LIFBoxCell", "IAFCell", "LICell", "LIBoxCell", "LSNNCell"),
                *("LIFExCell", "LIFAdExCell", "LIFAdExRefracCell", "IzhikevichCell"),
                *("LIFRecurrentCell", "LIFRefracRecurrentCell", "LSNNRecurrentCell"),
                *("LIFExRecurrentCell", "LIFAdExRecurrentCell", "LIFAdExRefracRecurrentCell"),
                "IzhikevichRecurrentCell",
            )
        ),
    ),
    "sinabs": Library(
        "Sinabs",
        frozenset(("ALIF", "ALIFRecurrent", "ExpLeak", "IAF", "IAFRecurrent", "LIF", "LIFRecurrent")),
        resets="sinabs.utils.reset_states(net)",
    ),
}


# attributes of spike functions that are no arguments
_SWITCHES = ("spiking", "training")


def surrogate_of_theirs(given: Any, name: str) -> str | None:
    """Return whose spike function an object is, and what to write in its place; None if it is of no other library.

    Args:
        given: a spike function, a class or a function that makes one, or what its ``apply`` is.
        name: of the argument that it was given as.
    """
    owner = getattr(given, "__self__", None)
    given = owner if isinstance(owner, type) else given  # Function.apply
    package = package_of(given)
    if package is None:
        return None
    library = LIBRARIES[package]
    called = _called(given)
    same = [each for each in library.functions if _plain(each) == _plain(called)]
    if not same:
        remedy = f"take a surrogate of spikingtorch.functional, {name}=Arctan(alpha=2.0) for instance"
    else:
        remedy = f"write {name}=like.{package}.{same[0]}({_arguments(given)}) (from spikingtorch import like)"
    return f"{library.name}'s {called}; {remedy}"


class Made(NamedTuple):
    """A spike function that another library has made, and that ``spikingtorch.like`` has.

    Attributes:
        package: of the library.
        name: of the function in ``spikingtorch.like``.
        arguments: that it was made with, all of them numbers.
    """

    package: str
    name: str
    arguments: dict[str, Any]


def made_by_them(given: Any) -> Made | None:
    """Return what a spike function of another library was made of; None if it is none, or holds more than numbers."""
    package = package_of(given)
    is_made = not isinstance(given, type) and (not hasattr(given, "__qualname__") or "<locals>" in given.__qualname__)
    if package is None or not is_made or not getattr(given, "spiking", True):
        return None
    called, held = _called(given), _held(given)
    same = [each for each in LIBRARIES[package].functions if _plain(each) == _plain(called)]
    return Made(package, same[0], held) if same and all(map(_is_number, held.values())) else None


def neuron_of_theirs(module: Any) -> tuple[str, str] | None:
    """Return what messages call a neuron of another library, and what to take in its place; None if it is none.

    Other modules of theirs that keep a state count as well.
    """
    kind = kind_of_theirs(module)
    remedy = "" if kind is None else _remedy(kind)
    return (_title(kind), remedy) if kind is not None and remedy else None


def state_of_theirs(module: nn.Module) -> str | None:
    """Return what a module of another library is that holds a state other than at rest, and what to take; else None.

    What they have in common is that a state stays from one call to the next one until somebody resets it.
    """
    kind = kind_of_theirs(module)
    held = [] if kind is None else [name for name, state in _states(module) if _differs(*state)]
    if kind is None or not held:
        return None
    remedy = _remedy(kind)
    other = f"take {remedy} in its place, or " if remedy else ""
    return (
        f"{_title(kind)}, which still holds the state ({', '.join(held)}) of an earlier call: the same input gives "
        f"another output at each call. To start anew with each sequence, {other}reset it before each call: "
        f"{LIBRARIES[str(package_of(kind))].resets}"
    )


def _title(kind: type[Any]) -> str:
    """Return what messages call a class of theirs."""
    return f"the {kind.__name__} of {LIBRARIES[str(package_of(kind))].name}"


def _remedy(kind: type[Any]) -> str:
    """Return what to take in place of a module that keeps a state, itself or one that it is made of; empty if none."""
    package = str(package_of(kind))
    for each in [each.__name__ for each in kind.__mro__ if package_of(each) == package]:
        if each in LIBRARIES[package].neurons:
            return f"like.{package}.{each}(...)"
        if each in LIBRARIES[package].instead:
            return LIBRARIES[package].instead[each]
    return ""


def in_multi_step(module: nn.Module) -> str | None:
    """Return what a module of SpikingJelly in step mode "m" is, which takes all steps, (T, N, ...); else None."""
    kind = kind_of_theirs(module)
    return _title(kind) if kind is not None and getattr(module, "step_mode", "s") == "m" else None


def _states(module: nn.Module) -> list[tuple[str, tuple[Any, Any]]]:
    """Return the states that a module of theirs keeps, by name: what it holds, and what it holds at rest."""
    own = vars(module)
    if isinstance(own.get("_memories"), dict):  # SpikingJelly
        return [(name, (value, own["_memories_rv"].get(name))) for name, value in own["_memories"].items()]
    # snnTorch's do not go into a state dict, and all buffers of a StatefulLayer of Sinabs are states
    sinabs = any(kind.__name__ == "StatefulLayer" for kind in type(module).__mro__)
    names = own["_buffers"] if sinabs else own["_non_persistent_buffers_set"]
    return [(name, (own["_buffers"][name], 0.0)) for name in names if name in own["_buffers"]]


def _differs(state: Any, rest: Any) -> bool:
    """Say whether a state is another one than at rest; where nobody can tell, it is."""
    if isinstance(state, Tensor) and isinstance(rest, float | int | Tensor):
        return bool(torch.any(torch.ne(state, rest)))
    return isinstance(state, Tensor) or (state is not rest and state != rest)


def kind_of_theirs(module: nn.Module) -> type[Any] | None:
    """Return the class of another library that a module is of; None if it is of none."""
    return next((kind for kind in type(module).__mro__ if package_of(kind) is not None), None)


def package_of(given: Any) -> str | None:
    """Return the package of the library that an object, a class or a function is of; None if it is none of these."""
    package = str(getattr(given, "__module__", "")).split(".")[0]
    return package if package in LIBRARIES else None


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _called(given: Any) -> str:
    """Return the name of a spike function, or of what has made it."""
    return given.__qualname__.split(".")[0] if hasattr(given, "__qualname__") else type(given).__name__


def _arguments(given: Any) -> str:
    """Return the numbers that a spike function was made with."""
    return ", ".join(f"{name}={value!r}" for name, value in _held(given).items() if _is_number(value))


def _held(given: Any) -> dict[str, Any]:
    """Return what a spike function holds: the variables that it closes over, or its public attributes."""
    if isinstance(given, types.FunctionType) and given.__closure__:
        return dict(zip(given.__code__.co_freevars, [cell.cell_contents for cell in given.__closure__], strict=True))
    found = {} if isinstance(given, type) else getattr(given, "__dict__", {})
    return {name: each for name, each in found.items() if not name.startswith("_") and name not in _SWITCHES}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
