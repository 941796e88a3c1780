"""What the constructors of the layers have in common: options of a layer to keyword arguments of its step, checked."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.validation import check_parameter

Value: TypeAlias = Tensor | float
Learnable: TypeAlias = bool | str | Iterable[str]


def firing(owner: str, v0: Value, beta: float, surrogate: F.Surrogate | None, reset: F.Reset) -> dict[str, Any]:
    """Return what fires and resets."""
    return {"threshold": v0, "surrogate": surrogate_of(owner, beta, surrogate), "reset": reset}


def surrogate_of(owner: str, beta: float, surrogate: F.Surrogate | None, default: float = 5.0) -> F.Surrogate:
    """Return the surrogate, or Sigmoid(beta) without one; a beta beside a surrogate would be lost, and is an error."""
    if surrogate is None:
        check_parameter(owner, "beta", beta, above=0.0)
        return F.Sigmoid(beta)
    if beta != default:
        raise ValueError(
            f"{owner}: beta={beta!r} is the slope of the default surrogate, give it to {surrogate!r} instead"
        )
    return surrogate


def decay_and_gain(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with tau turned into the decay and the gain that it stands for."""
    if "tau" not in stored:
        return stored
    params = dict(stored)
    tau = params.pop("tau")
    return params | {"decay": F.decay_from_tau(tau), "gain": F.gain_from_tau(tau)}


def decay_and_gains(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with tau turned into the decay, the gain and the gain after a spike."""
    return decay_and_gain(stored) | {"refractory_gain": F.refractory_gain_from_tau(stored["tau"])}
