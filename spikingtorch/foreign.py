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
                *("QIFNode", "EIFNode", "IzhikevichNode", "SynapseFilter"),
                *("ElementWiseRecurrentContainer", "LinearRecurrentContainer"),
            )
        ),
        frozenset(("ATan", "Erf", "PiecewiseExp", "PiecewiseQuadratic", "Rect", "Sigmoid", "SoftSign", "SuperSpike")),
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
        "Sinabs", frozenset(("ALIF", "ALIFRecurrent", "ExpLeak", "IAF", "IAFRecurrent", "LIF", "LIFRecurrent"))
    ),
}


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
    called = given.__qualname__.split(".")[0] if hasattr(given, "__qualname__") else type(given).__name__
    same = [each for each in functions if _plain(each) == _plain(called)]
    if not same:
        remedy = f"take a surrogate of spikingtorch.functional, {name}=Arctan(alpha=2.0) for instance"
    else:
        remedy = f"write {name}=like.{package}.{same[0]}({_arguments(given)}) (from spikingtorch import like)"
    return f"{library}'s {called}; {remedy}"


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


def _arguments(given: Any) -> str:
    """Return the numbers that a spike function was made with."""
    found: dict[str, Any] = {}
    if isinstance(given, types.FunctionType) and given.__closure__:
        found = dict(zip(given.__code__.co_freevars, [cell.cell_contents for cell in given.__closure__], strict=True))
    elif not isinstance(given, type):
        found = getattr(given, "__dict__", {})
    numbers = {name: value for name, value in found.items() if isinstance(value, Real) and not isinstance(value, bool)}
    return ", ".join(f"{name}={value!r}" for name, value in numbers.items() if not name.startswith("_"))
