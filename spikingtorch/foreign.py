"""Spike functions and neurons of other libraries, known by their modules: none of these libraries is imported."""

import types
from numbers import Real
from typing import Any, NamedTuple


class Library(NamedTuple):
    """A library whose neurons ``spikingtorch.like`` has.

    Attributes:
        name: as it calls itself.
        neurons: names of the neurons that are there.
        functions: of the spike functions; those of Norse and Sinabs are options of their own neurons alone.
    """

    name: str
    neurons: frozenset[str]
    functions: frozenset[str] = frozenset()


# by the name of the package
LIBRARIES = {
    "snntorch": Library(
        "snnTorch",
        frozenset(("Alpha", "Lapicque", "Leaky", "RLeaky", "RSynaptic", "Synaptic")),
        frozenset(("atan", "fast_sigmoid", "sigmoid", "spike_rate_escape", "straight_through_estimator", "triangular")),
    ),
    "spikingjelly": Library(
        "SpikingJelly",
        frozenset(
            (
                *("IFNode", "LIFNode", "ParametricLIFNode", "KLIFNode", "LIAFNode", "CUBALIFNode"),
                *("QIFNode", "EIFNode", "IzhikevichNode"),
            )
        ),
        frozenset(("ATan", "Erf", "PiecewiseExp", "PiecewiseQuadratic", "Rect", "Sigmoid", "SoftSign", "SuperSpike")),
    ),
    "norse": Library(
        "Norse",
        frozenset(
            (
                *("LIFCell", "LIFRefracCell", "LIFBoxCell", "IAFCell", "LICell", "LIBoxCell", "LSNNCell"),
                *("LIFExCell", "LIFAdExCell", "IzhikevichCell"),
            )
        ),
    ),
    "sinabs": Library("Sinabs", frozenset(("ALIF", "ExpLeak", "IAF", "LIF"))),
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
    library, _, functions = LIBRARIES[package]
    called = _called(given)
    same = [each for each in functions if _plain(each) == _plain(called)]
    if not same:
        remedy = f"take a surrogate of spikingtorch.functional, {name}=Arctan(alpha=2.0) for instance"
    else:
        remedy = f"write {name}=like.{package}.{same[0]}({_arguments(given)}) (from spikingtorch import like)"
    return f"{library}'s {called}; {remedy}"


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
    """Return what messages call a neuron of another library, and what to take in its place; None if it is none."""
    package = package_of(module)
    kind = type(module).__name__
    if package is None or kind not in LIBRARIES[package].neurons:
        return None
    return f"the {kind} of {LIBRARIES[package].name}", f"like.{package}.{kind}(...)"


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
