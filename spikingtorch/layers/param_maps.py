"""From the attributes of a layer to the parameters of its step: time constants to decays, gains and leaks."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.options import Value

# a refractory period of 1.1 with dt = 0.1 is eleven steps, although 1.1 / 0.1 is rounded to more than 11
_ROUNDING = 1e-6
_TIMES = ("tau", "tau_adaptation", "tau_facilitation", "tau_recovery", "tau_rise", "tau_syn", "tau_w")


class InSteps(NamedTuple):
    """A map of parameters whose times are in units of dt."""

    map: Callable[[dict[str, Any]], dict[str, Any]]  # of parameters whose times are in steps
    times: tuple[str, ...]  # the names of the times

    def __call__(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of the step."""
        params = dict(stored)
        dt = params.pop("dt")
        return self.map(params | {name: params[name] / dt for name in self.times if name in params})


def rest_in_steps(refractory: Value, dt: float) -> Value:
    """Return a refractory period in whole steps, rounded up."""
    steps = refractory / dt
    steps = steps - _ROUNDING * (1.0 + steps)
    return torch.ceil(F.lift(steps)) if isinstance(steps, Tensor) else float(math.ceil(steps))


def decays(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with time constants turned into decays.

    ``tau`` becomes ``decay`` and ``gain``, and each ``tau_name`` becomes ``decay_name``; with ``decay_rise`` comes a
    gain that keeps the charge of a spike.
    """
    params = dict(stored)
    if (tau := params.pop("tau", None)) is not None:
        params |= {"decay": F.decay_from_tau(tau), "gain": F.gain_from_tau(tau)}
    named = {name: f"decay_{name.removeprefix('tau_')}" for name in params if name.startswith("tau_")}
    params = {named.get(name, name): F.decay_from_tau(v) if name in named else v for name, v in params.items()}
    return params | {"gain_rise": 1.0 - params["decay_rise"]} if "decay_rise" in params else params


class TimeConstants:
    """A layer with some of these time constants, in steps or in the unit of dt, which become decays."""

    times: ClassVar[tuple[str, ...] | None] = _TIMES
    param_map = staticmethod(decays)


def leaky(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the same as ``decays``; with ``norm_input``, the gain is the share of the membrane that a step loses."""
    params = decays({name: value for name, value in stored.items() if name != "norm_input"})
    if "norm_input" not in stored:
        return params
    return params | {"gain": params["gain"] / stored["tau"] if "tau" in stored else 1.0 - params["decay"]}


class Leaky(TimeConstants):
    """A layer whose leaky membranes may have a normalised input."""

    fixed: ClassVar[tuple[str, ...]] = ("norm_input",)
    param_map = staticmethod(leaky)

    def __init__(self, *args: Any, norm_input: bool = False, **params: Any) -> None:
        if not isinstance(norm_input, bool):
            raise TypeError(f"{type(self).__name__}: norm_input={norm_input!r}, expected True or False")
        # what the layer stores, shows and saves if the input is normalised
        super().__init__(*args, **params, **({"norm_input": "1 - decay"} if norm_input else {}))


def decay_and_gains(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with tau turned into the decay, the gain and the gain after a spike."""
    return decays(stored) | {"refractory_gain": F.refractory_gain_from_tau(stored["tau"])}


def filter_decays(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a filter of spikes, whose tau becomes a decay only."""
    params = decays(stored)
    del params["gain"]
    return params


def leaks(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with time constants turned into leaks, 1 / tau."""
    named = {"tau": "leak", "tau_w": "leak_w"}
    return {named.get(name, name): 1.0 / value if name in named else value for name, value in stored.items()}
