"""The shared part of the layers' constructors: checked options become keyword arguments of the step."""

import inspect
import math
import warnings
from collections.abc import Callable, Collection, Iterable
from numbers import Real
from typing import Any, TypeAlias, TypedDict

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.names import level_of_user, step_name
from spikingtorch.layers.recurrent import Weights
from spikingtorch.layers.returns import Returns
from spikingtorch.validation import check_parameter

Value: TypeAlias = Tensor | float
Learnable: TypeAlias = bool | str | Iterable[str]

# the attributes of a step's parameters, by the names of the older package
OLDER_NAMES = {"threshold": "v0", "reset": "reset_rule"}
TAU = 8.0  # default membrane time constant, in steps


class StepOptions(TypedDict, total=False):
    """The options of every layer besides the parameters of its neuron; see StepLayer.

    Attributes:
        learnable: names of the parameters to train, or True for all.
        recurrent: recurrent weights: the weighted output is added to the input one step later.
        constrain: keep learnable parameters within their limits.
        refractory: refractory period after each spike.
        returns: the values that a call returns: "spikes", or a tuple of names such as ("spikes", "v").
    """

    learnable: Learnable
    recurrent: Weights | None
    constrain: bool
    refractory: Value | None
    returns: Returns


class Options(StepOptions, total=False):
    """The options of a layer whose times are in steps, or in the unit of ``dt``.

    Attributes:
        dt: length of a step, in the unit of the time constants and of ``refractory``.
    """

    dt: float


def firing(
    owner: str,
    v0: Value,
    threshold: Value | None,
    beta: float,
    surrogate: F.Surrogate | None,
    older: str = "v0",
    defaults: tuple[float, float] = (1.0, 5.0),
) -> dict[str, Any]:
    """Return the arguments of firing, and the name of the threshold: the older one if it was given by that."""
    found = threshold_of(owner, older, v0, threshold, defaults[0])
    is_older = isinstance(v0, Tensor) or v0 != defaults[0]
    names = {} if is_older else {older: "threshold"}
    return {"threshold": found, "surrogate": surrogate_of(owner, beta, surrogate, defaults[1]), "other_names": names}


def threshold_of(owner: str, older: str, value: Value, threshold: Value | None, default: float) -> Value:
    """Return the threshold that was given, by its name or by its older name."""
    if threshold is None:
        return value
    if isinstance(value, Tensor) or value != default:
        raise ValueError(
            f"{owner}: {older}={value!r} and threshold={threshold!r} are the same parameter; give one of them"
        )
    return threshold


def tau_or_decay(owner: str, tau: Value, decay: Value | None) -> dict[str, Any]:
    """Return tau or decay, whichever was given; raise if both were given."""
    if decay is None:
        return {"tau": tau}
    if isinstance(tau, Tensor) or tau != TAU:
        raise ValueError(
            f"{owner}: tau={tau!r} and decay={decay!r} both say how much of the membrane is kept; give one of them"
        )
    return {"decay": decay}


def warn_of_tau(kind: type[Any], tau: Any) -> None:
    """Warn if a time constant in steps is shorter than one step: it may be a decay, or a time in another unit."""
    if not _is_share(tau):
        return
    owner = kind.__name__
    same = f"decay={tau:g}" if "decay" in _arguments(kind.__init__)[0] else f"tau={-1.0 / math.log(tau):.4g}"
    warnings.warn(
        f"{owner}: tau={tau:g} is a time constant, in steps, and shorter than one step: its decay over a step is "
        f"exp(-1 / {tau:g}) = {math.exp(-1.0 / tau):.2g}. For a decay of {tau:g}, beta={tau:g} of snnTorch, write "
        f"{owner}({same}); for a time in another unit, give dt, the length of a step: {owner}(tau={tau:g}, dt=...)",
        UserWarning,
        stacklevel=level_of_user(),
    )


def warn_of_beta(owner: str, beta: Any, tau: Value, decay: Value | None) -> None:
    """Warn if the slope of the surrogate looks like a decay: below one, and given without a tau or a decay."""
    given = (
        decay is not None or tau is not TAU
    )  # compare with the default object: an 8.0 in the user's code is another object
    if given or not _is_share(beta):
        return
    warnings.warn(
        f"{owner}: beta={beta:g} is the slope of the surrogate, and the decay is that of tau={TAU:g} steps. For a "
        f"decay of {beta:g}, beta={beta:g} of snnTorch, write {owner}(decay={beta:g}); for this slope, "
        f"{owner}(surrogate=Sigmoid({beta:g}))",
        UserWarning,
        stacklevel=level_of_user(),
    )


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0.0 < float(value) < 1.0


def surrogate_of(owner: str, beta: float, surrogate: F.Surrogate | None, default: float = 5.0) -> F.Surrogate:
    """Return the surrogate, or Sigmoid(beta) without one; raise if both were given."""
    if surrogate is None:
        check_parameter(owner, "beta", beta, above=0.0)
        return F.Sigmoid(beta)
    if beta != default:
        raise ValueError(
            f"{owner}: beta={beta!r} is the slope of the default surrogate, give it to {surrogate!r} instead"
        )
    return surrogate


def threshold_property(older: str) -> Any:
    """Return the attribute ``threshold`` of a layer that stores it under an older name."""

    def read(layer: Any) -> Any:
        return getattr(layer, older)

    def write(layer: Any, value: Any) -> None:
        setattr(layer, older, value)

    return property(read, write, doc="Membrane at which the neuron fires.")


def check_arguments(
    kind: type[Any], step: Callable[..., Any], state: type[Any], given: Iterable[str], handed: Collection[str]
) -> None:
    """Raise if a layer has an argument that its step does not take, or lacks one that the step needs.

    Args:
        kind: class of the layer.
        step: its step.
        state: type of its state.
        given: the arguments of the layer's constructor.
        handed: the arguments of its step, which may be computed from ``given``.
    """
    takes, any_name = _arguments(step)
    if not any_name and (unknown := [name for name in handed if name not in takes]):
        own, takes_options = _arguments(kind.__init__)
        own = takes[2:] if "step" in own else own[1:]  # a StepLayer takes the arguments of its step
        known = [*own, *(Options.__annotations__ if takes_options else ())]
        wrong = [name for name in given if name not in (*takes, *known)] or unknown
        raise TypeError(f"{kind.__name__}: there is no argument {wrong[0]!r}; it takes {', '.join(known)}")
    if missing := [name for name in _needed(step) if name not in handed]:
        made = kind.__name__ if "step" in _arguments(kind.__init__)[0] else "super().__init__"
        called = step_name(step)
        first = called if called.isidentifier() else "step"
        written = [first, getattr(state, "__name__", "..."), *[f"{name}=..." for name in missing]]
        raise TypeError(f"{kind.__name__}: {called} needs {' and '.join(missing)}; write {made}({', '.join(written)})")


def _arguments(function: Callable[..., Any]) -> tuple[list[str], bool]:
    """Return the names of a function's arguments, and whether it takes others, as far as its signature shows."""
    named = _named(function)
    return ([], True) if named is None else ([each.name for each in named[0]], named[1])


def _needed(step: Callable[..., Any]) -> list[str]:
    """Return the arguments after state and input without a default, of a step and of the steps inside it."""
    named = _named(step)
    if named is None:
        return []
    needed = [each.name for each in named[0][2:] if each.default is each.empty]
    inside = getattr(step, "step", None)
    if named[1] and callable(inside) and type(step).__module__.startswith("spikingtorch."):  # it passes the others on
        own = [each.name for each in named[0]]
        needed += [name for name in _needed(inside) if name not in own]
    return needed


def _named(function: Callable[..., Any]) -> tuple[list[inspect.Parameter], bool] | None:
    """Return the named arguments of a function, and whether it takes others; None if it has no signature."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    named = [each for each in found if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    return named, any(each.kind is each.VAR_KEYWORD for each in found)
