"""Recognise spike functions and neurons of other libraries by their modules, without an import of these libraries."""

import types
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Library(NamedTuple):
    """A library whose neurons exist in ``spikingtorch.like``.

    Attributes:
        name: its own spelling.
        neurons: names of the neurons in ``spikingtorch.like``.
        functions: names of the spike functions; those of Norse and Sinabs are options of their neurons only.
        instead: replacements for other modules that keep a state.
        resets: the code with which the library resets all states of a network.
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


# attributes of spike functions that are not arguments
_SWITCHES = ("spiking", "training")


def packages_with(name: str) -> list[str]:
    """Return the packages of which ``spikingtorch.like`` has a neuron or a spike function of this name."""
    return [package for package, library in LIBRARIES.items() if name in library.neurons | library.functions]


def surrogate_of_theirs(given: Any, name: str) -> str | None:
    """Return the library of a spike function, and its replacement; None if it belongs to no other library.

    Args:
        given: a spike function, a class or a function that creates one, or its ``apply``.
        name: name of the argument.
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


class TheirFunction(NamedTuple):
    """A spike function of another library that exists in ``spikingtorch.like``.

    Attributes:
        package: of the library.
        name: of the function in ``spikingtorch.like``.
        arguments: its arguments, all of them numbers.
    """

    package: str
    name: str
    arguments: dict[str, Any]


def made_by_them(given: Any) -> TheirFunction | None:
    """Return a spike function of another library with its arguments; None if it is not one, or not all are numbers."""
    package = package_of(given)
    is_made = not isinstance(given, type) and (not hasattr(given, "__qualname__") or "<locals>" in given.__qualname__)
    if package is None or not is_made or not getattr(given, "spiking", True):
        return None
    called, held = _called(given), _held(given)
    same = [each for each in LIBRARIES[package].functions if _plain(each) == _plain(called)]
    return TheirFunction(package, same[0], held) if same and all(map(_is_number, held.values())) else None


def neuron_of_theirs(module: Any) -> tuple[str, str] | None:
    """Return the name of another library's neuron and what becomes of its state, and its replacement; else return None.

    Other modules of these libraries that keep a state count as well.
    """
    kind = kind_of_theirs(module)
    remedy = "" if kind is None else _remedy(kind)
    if kind is None or not remedy:
        return None
    stays = LIBRARIES[str(package_of(kind))].resets
    kept = "init does not reset, so that it goes on from call to call"
    return f"{_title(kind)}, whose state {kept if stays else 'forward has to hand on from step to step'}", remedy


def state_of_theirs(module: nn.Module) -> str | None:
    """Describe another library's module whose state is not at rest, and its replacement; else return None.

    In all these libraries, a state stays from one call to the next until it is reset.
    """
    kind = kind_of_theirs(module)
    held = [] if kind is None else [name for name, state in _states(module) if _differs(*state)]
    if kind is None or not held:
        return None
    remedy = _remedy(kind)
    other = f"take {remedy} in its place, or " if remedy else ""
    return (
        f"{_title(kind)}, which still holds the state ({', '.join(held)}) of an earlier call: the same input "
        f"gives another output at each call. To start each sequence from rest, {other}reset it before each call: "
        f"{LIBRARIES[str(package_of(kind))].resets}"
    )


def _title(kind: type[Any]) -> str:
    """Return the name of a class of another library for messages."""
    return f"the {kind.__name__} of {LIBRARIES[str(package_of(kind))].name}"


def _remedy(kind: type[Any]) -> str:
    """Return the replacement of a module that keeps a state, itself or a base class of it; empty if there is none."""
    package = str(package_of(kind))
    for each in [each.__name__ for each in kind.__mro__ if package_of(each) == package]:
        if each in LIBRARIES[package].neurons:
            return f"like.{package}.{each}(...)"
        if f"{each}Cell" in LIBRARIES[package].neurons:  # what runs a cell of Norse over time
            return f"like.{package}.{each}Cell(...)"
        if each in LIBRARIES[package].instead:
            return LIBRARIES[package].instead[each]
    return ""


def in_multi_step(module: nn.Module) -> str | None:
    """Describe a module of SpikingJelly in step mode "m", which takes all steps, (T, N, ...); else return None."""
    kind = kind_of_theirs(module)
    return _title(kind) if kind is not None and getattr(module, "step_mode", "s") == "m" else None


def several_steps_in(module: nn.Module, x: Tensor) -> str | None:
    """Describe another library's module that takes one step x, (N, ...), as several ones, and its replacement."""
    kind = kind_of_theirs(module)
    order, steps = ("", 1) if kind is None else _order_and_steps(module, tuple(x.shape))
    if kind is None or steps < 2:
        return None
    return (
        f"{_title(kind)}, which takes all steps, {order}, and takes one step of shape {tuple(x.shape)} as {steps} "
        f"steps. A SpikingNet runs over time by itself; take {_remedy(kind) or 'a layer of one step'} in its place"
    )


def _order_and_steps(module: nn.Module, shape: tuple[int, ...]) -> tuple[str, int]:
    """Return the order of the axes that a module takes, and the number of steps that it sees in an input."""
    names = {each.__name__ for each in type(module).__mro__ if package_of(each) is not None}
    if names & {"SNN", "SNNRecurrent", "Lift"}:  # of Norse
        return "(T, N, ...)", shape[0]
    if "SqueezeMixin" in names:  # of Sinabs; each size is -1 where the other one says it
        size, steps = (int(vars(module)[name]) for name in ("batch_size", "num_timesteps"))
        return "(N T, ...)", steps if steps > 0 else shape[0] // size
    if "StatefulLayer" in names:  # of Sinabs
        return "(N, T, ...)", dict(enumerate(shape)).get(1, 1)
    return "", 1


def _states(module: nn.Module) -> list[tuple[str, tuple[Any, Any]]]:
    """Return the states of another library's module, by name: the value, and the value at rest."""
    own = vars(module)
    if isinstance(own.get("_memories"), dict):  # SpikingJelly
        return [(name, (value, own["_memories_rv"].get(name))) for name, value in own["_memories"].items()]
    # states of snnTorch are not in a state dict; all buffers of a StatefulLayer of Sinabs are states
    sinabs = any(kind.__name__ == "StatefulLayer" for kind in type(module).__mro__)
    names = own["_buffers"] if sinabs else own["_non_persistent_buffers_set"]
    return [(name, (own["_buffers"][name], 0.0)) for name in names if name in own["_buffers"]]


def _differs(state: Any, rest: Any) -> bool:
    """Return True if a state is not at rest, or if this cannot be found out."""
    if isinstance(state, Tensor) and isinstance(rest, float | int | Tensor):
        return bool(torch.any(torch.ne(state, rest)))
    return isinstance(state, Tensor) or (state is not rest and state != rest)


def kind_of_theirs(module: nn.Module) -> type[Any] | None:
    """Return the class of another library that a module belongs to; None if there is none."""
    return next((kind for kind in type(module).__mro__ if package_of(kind) is not None), None)


def package_of(given: Any) -> str | None:
    """Return the package of an object, a class or a function; None if it is none of these libraries."""
    package = str(getattr(given, "__module__", "")).split(".")[0]
    return package if package in LIBRARIES else None


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _called(given: Any) -> str:
    """Return the name of a spike function, or of the function that created it."""
    return given.__qualname__.split(".")[0] if hasattr(given, "__qualname__") else type(given).__name__


def _arguments(given: Any) -> str:
    """Return the numbers that a spike function was created with."""
    return ", ".join(f"{name}={value!r}" for name, value in _held(given).items() if _is_number(value))


def _held(given: Any) -> dict[str, Any]:
    """Return the content of a spike function: the variables that it closes over, or its public attributes."""
    if isinstance(given, types.FunctionType) and given.__closure__:
        return dict(zip(given.__code__.co_freevars, [cell.cell_contents for cell in given.__closure__], strict=True))
    found = {} if isinstance(given, type) else getattr(given, "__dict__", {})
    return {name: each for name, each in found.items() if not name.startswith("_") and name not in _SWITCHES}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
