"""Common parts of the constructors of ``spikingtorch.like``: checks, and conversions of other libraries' values."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeAlias, TypedDict, cast

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.foreign import made_by_them, surrogate_of_theirs
from spikingtorch.layers.recurrent import Weights
from spikingtorch.layers.returns import Returns
from spikingtorch.validation import check_parameter, check_surrogate

Value: TypeAlias = Tensor | float


class Common(TypedDict, total=False):
    """Arguments of every layer besides those of the other library; see StepLayer.

    Attributes:
        recurrent: weights through which the output feeds back one step later.
        returns: the results of a call: "spikes", or a tuple of names such as ("spikes", "v").
    """

    recurrent: Weights | None
    returns: Returns


def common(owner: str, given: Mapping[str, Any], reasons: Mapping[str, str]) -> Common:
    """Return the common options among arguments; raise TypeError for others, with the reason if there is one."""
    known = {name: value for name, value in given.items() if name in Common.__annotations__ and name not in reasons}
    for name, value in given.items():
        if name in reasons:
            raise TypeError(f"{owner}: {name}={value!r} has no meaning here: {reasons[name]}")
        if name not in known:
            raise TypeError(f"{owner}: there is no argument {name!r}")
    return cast(Common, known)


def own_weights(owner: str, given: Mapping[str, Any], which: str) -> None:
    """Raise TypeError if a layer gets recurrent weights that its other arguments already define."""
    if "recurrent" in given:
        raise TypeError(f"{owner}: recurrent= has no meaning here: its recurrent weights are those of {which}")


def number(owner: str, name: str, value: object, **limits: Any) -> None:
    """Raise unless a value is a finite float, or a floating tensor of them, within limits."""
    if isinstance(value, bool):
        raise TypeError(f"{owner}: {name} is a bool, expected a float, or a tensor that broadcasts to the neurons")
    check_parameter(owner, name, value, **limits)


def bounded(value: Value) -> Value:
    """Return a value clamped to [0, 1]."""
    return value.clamp(0.0, 1.0) if isinstance(value, Tensor) else min(max(value, 0.0), 1.0)


def stopped(value: Value) -> Value:
    """Return a value without its gradient."""
    return value.detach() if isinstance(value, Tensor) else value


def surrogate(owner: str, name: str, given: F.Surrogate | None, default: F.Surrogate) -> F.Surrogate:
    """Return a checked surrogate of this library: the equal of another library's, or the default for None."""
    if given is None:
        return default
    if (made := made_by_them(given)) is not None:
        equal: F.Surrogate = getattr(import_module(f"spikingtorch.like.{made.package}"), made.name)(**made.arguments)
        return equal
    if (theirs := surrogate_of_theirs(given, name)) is not None:
        raise TypeError(f"{owner}: {name} is {theirs}")
    if not isinstance(given, F.Strict):
        check_surrogate(owner, given, name)
    return given


def strict(owner: str, name: str, given: F.Surrogate | None, default: F.Surrogate) -> F.Surrogate:
    """Return a surrogate that fires above the threshold, but not at it."""
    found = surrogate(owner, name, given, default)
    return found if isinstance(found, F.Strict) else F.Strict(found)


def tensor(value: Any) -> Tensor:
    """Return a number as a tensor, as in libraries that compute with one-number tensors; keep a tensor unchanged."""
    return value if isinstance(value, Tensor) else torch.tensor(float(value))
