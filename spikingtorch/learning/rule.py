"""A rule over time: the factors of both sides of a synapse at all steps, and checks of its numbers."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch import validation as checks
from spikingtorch.functional import plasticity
from spikingtorch.functional.plasticity import factors
from spikingtorch.functional.plasticity.factors import Factors
from spikingtorch.learning.spikes import Trains

# by rule: the step of each side, and the state of both
_SIDES: dict[Any, tuple[Any, Any, Any]] = {
    plasticity.pair_stdp: (factors.pair_pre, factors.pair_post, factors.Trace),
    plasticity.triplet_stdp: (factors.triplet_pre, factors.triplet_post, factors.TwoTraces),
}
# how the names of rates begin
RATES = ("rate_", "triplet_")


class Sides(NamedTuple):
    """The traces of both sides of a synapse, after the last step."""

    pre: Any
    post: Any


class Rule:
    """A rule with its parameters.

    Args:
        owner: for messages.
        rule: ``plasticity.pair_stdp`` or ``plasticity.triplet_stdp``.
        params: its parameters but for bounds.

    Raises:
        ValueError: there is no such rule, or a number is out of range.
        TypeError: a parameter is missing or of a wrong type, or the rule has none of that name.
    """

    def __init__(self, owner: str, rule: Callable[..., Any], params: Mapping[str, Any]) -> None:
        if rule not in _SIDES:
            name = getattr(rule, "__name__", repr(rule))
            raise ValueError(f"{owner}: rule={name}, expected pair_stdp or triplet_stdp of functional.plasticity")
        takes = {
            name: each
            for name, each in inspect.signature(rule).parameters.items()
            if each.kind is inspect.Parameter.KEYWORD_ONLY and name != "bounds"
        }
        missing = [name for name, each in takes.items() if each.default is each.empty and name not in params]
        unknown = [name for name in params if name not in takes]
        if missing or unknown:
            what = f"has no parameter {unknown[0]}" if unknown else f"needs {', '.join(missing)}"
            raise TypeError(f"{owner}: {rule.__name__} {what}; it takes {', '.join(takes)}, and bounds")
        given = {name: params.get(name, each.default) for name, each in takes.items()}
        check_params(owner, given)
        self._pre, self._post, self.state_type = _SIDES[rule]
        self._of_pre, self._of_post = (_taken(side, given) for side in (self._pre, self._post))

    def at_rest(self, trains: Trains) -> Sides:
        """Return traces of zero."""
        return Sides(*[F.zeros_state(self.state_type, train[:, 0]) for train in trains])

    def run(self, traces: Sides, trains: Trains, running: Tensor | None) -> tuple[Sides, Factors, Factors]:
        """Return the traces after all steps, and the factors of both sides at each, (N, T, I) and (N, T, O).

        The traces of a sample stay as they are after its last step, and its factors are zero there.
        """
        pre, of_pre = _over_time(self._pre, traces.pre, trains.pre, self._of_pre, running)
        post, of_post = _over_time(self._post, traces.post, trains.post, self._of_post, running)
        return Sides(pre, post), of_pre, of_post


def _taken(step: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a step takes."""
    return {name: params[name] for name in inspect.signature(step).parameters if name in params}


def _over_time(step: Any, state: Any, xs: Tensor, params: Mapping[str, Any], running: Tensor | None) -> Any:
    if running is None:
        return F.scan(step, state, xs, params=params, dim=1)
    masked: Any = F.Masked(step)
    return F.scan(masked, state, (xs, running[..., None]), params=params, dim=1)


def check_params(owner: str, params: Mapping[str, Any]) -> None:
    """Raise unless the parameters of a rule are shares, rates and a pairing.

    Raises:
        TypeError: a parameter is no number and no tensor, or the pairing is no function.
        ValueError: a share that a trace keeps is not in [0, 1], or a number is not finite.
    """
    for name, value in params.items():
        if name.startswith("decay"):
            checks.check_parameter(owner, name, value, least=0.0, most=1.0)
        elif name.startswith(RATES):
            checks.check_parameter(owner, name, value)
        elif not callable(value):
            raise TypeError(f"{owner}: {name}={value!r}, expected all_to_all or nearest of functional.plasticity")


def check_bounds(owner: str, bounds: Any, params: Mapping[str, Any]) -> None:
    """Raise unless bounds hold weights between them.

    Raises:
        TypeError: they are no function, or no numbers.
        ValueError: the lowest weight is above the highest one, the exponent is not positive, or soft bounds meet a
            negative rate, which would scale a fall as if it were a rise.
    """
    if not callable(bounds) or isinstance(bounds, type):
        raise TypeError(
            f"{owner}: bounds={bounds!r}, expected HardBounds(0.0, 1.0), SoftBounds(0.0, 1.0) or unbounded of "
            "functional.plasticity"
        )
    if not isinstance(bounds, plasticity.HardBounds | plasticity.SoftBounds):
        return
    low, high = (torch.as_tensor(each, dtype=torch.float64).cpu() for each in bounds[:2])
    if not bool((low <= high).all()):  # nor NaN
        raise ValueError(f"{owner}: bounds={bounds!r}, expected numbers with low at most high")
    if isinstance(bounds, plasticity.HardBounds):
        return
    checks.check_parameter(owner, "the power of bounds", bounds.power, above=0.0)
    if not bool(low.isfinite().all() and high.isfinite().all()):
        raise ValueError(f"{owner}: bounds={bounds!r}, expected finite numbers; HardBounds takes infinity")
    for name, value in params.items():
        if name.startswith(RATES) and not bool((torch.as_tensor(value) >= 0.0).all()):
            raise ValueError(
                f"{owner}: {name} is negative, and SoftBounds scales it by the distance to the wrong bound. Pass "
                "HardBounds or unbounded"
            )
