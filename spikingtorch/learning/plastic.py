"""Plastic: what rules over a network have in common: they watch calls, keep traces, and change weights."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch import validation as checks
from spikingtorch.functional import plasticity
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.plasticity import factors
from spikingtorch.functional.plasticity.bounds import Bounds, clip
from spikingtorch.functional.plasticity.factors import Factors
from spikingtorch.learning.synapses import Trains, synapses_of, watch
from spikingtorch.watching.network import check_network

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


class Plastic:
    """The base class of rules over a network; ``STDP`` describes its arguments."""

    def __init__(
        self,
        model: Any,
        rule: Callable[..., Any],
        layers: Sequence[str] | Mapping[str, str] | None,
        bounds: Bounds,
        reduction: Literal["mean", "sum"],
        params: Mapping[str, Any],
    ) -> None:
        self._owner = type(self).__name__
        check_network(self._owner, model)
        if reduction not in ("mean", "sum"):
            raise ValueError(f"{self._owner}: reduction={reduction!r}, expected 'mean' or 'sum' over the samples")
        check_bounds(self._owner, bounds, params)
        self.model, self.bounds, self.reduction = model, bounds, reduction
        self.synapses = synapses_of(self._owner, model.net, layers)
        self._in_order = not isinstance(layers, Mapping)
        self._rule = Rule(self._owner, rule, params)
        self.reset()

    def __call__(self, x: Tensor, **options: Any) -> Any:
        """Run the network on x, as ``model(x, **options)`` does but without a graph, and watch its spikes.

        A call with ``init=False`` continues the traces, one with ``init=True``, the default, starts them at zero. With
        ``lengths``, steps after the end of a sample do not count.

        Returns:
            The output of the network.

        Raises:
            ValueError: a plastic layer is not called once a step, on inputs (N, I).
        """
        watched = watch(self._owner, self.model, self.synapses, x, options, in_order=self._in_order)
        init = options.get("init", True)
        with torch.no_grad():
            # all of them are computed before any is kept, so that an error keeps the traces as they were
            found = {}
            for path, trains in watched.trains.items():
                before = self._traces.get(path) if init is not True else None
                traces = self._rule.at_rest(trains) if before is None else before
                traces = F.reset_where(init, traces) if isinstance(init, Tensor) else traces
                found[path] = self._rule.run(traces, trains, watched.running)
            self.spikes |= {self.synapses[path]: trains.post for path, trains in watched.trains.items()}
            for path, (traces, pre, post) in found.items():
                self._traces[path] = traces
                self._take(path, pre, post, init, watched.running)
        return watched.out

    def _take(self, path: str, pre: Factors, post: Factors, init: bool | Tensor, running: Tensor | None) -> None:
        """Keep what the factors of a call, (N, T, I) and (N, T, O), say about a weight."""
        raise NotImplementedError

    def _weight(self, path: str) -> Tensor:
        weight: Tensor = self.model.net.get_submodule(path).weight
        return weight

    def _change(self, path: str, change: Tensor) -> None:
        """Add a change to a weight, in place."""
        weight = self._weight(path)
        after = (weight + change).to(weight.dtype)
        low, high = getattr(self.bounds, "low", None), getattr(self.bounds, "high", None)
        # a sum of the weight and its change may be a rounding error outside of the bounds
        weight.copy_(clip(after, low, high))

    def reset(self) -> None:
        """Forget the traces and all that has been watched."""
        self._traces: dict[str, Sides] = {}
        # of the last call, by the name of the spiking layer, (N, T, O)
        self.spikes: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the traces and what has been watched since the last step, as a tree of tensors to save."""
        return {
            "traces": {path: tuple(tuple(side) for side in each) for path, each in self._traces.items()},
            **{name: dict(getattr(self, f"_{name}")) for name in self._kept},
        }

    # names of dicts by layer that belong to the state, besides the traces
    _kept: tuple[str, ...] = ()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state that ``state_dict`` of a rule over the same layers has returned.

        Raises:
            ValueError: the state is that of another rule, or of other layers.
        """
        names = {"traces", *self._kept}
        others = {path for each in state.values() for path in each} - {*self.synapses}
        kind = self._rule.state_type
        sizes = {len(side) for each in state.get("traces", {}).values() for side in each} - {len(kind._fields)}
        if {*state} != names or others or sizes:
            raise ValueError(
                f"{self._owner}: the state has {', '.join(state)} of {', '.join(sorted(others)) or 'its layers'}"
                f", expected {', '.join(sorted(names))} of {', '.join(self.synapses)}; take the state of a rule like "
                "this one, over the same layers"
            )
        self._traces = {
            path: Sides(*[kind(*tree_map(torch.clone, tuple(side))) for side in each])
            for path, each in state["traces"].items()
        }
        for name in self._kept:
            setattr(self, f"_{name}", tree_map(torch.clone, dict(state[name])))


class Rule:
    """A rule over time, with its parameters but for bounds."""

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
        for name, value in given.items():
            if name.startswith("decay"):
                checks.check_parameter(owner, name, value, least=0.0, most=1.0)
            elif name.startswith(RATES):
                checks.check_parameter(owner, name, value)
            elif not callable(value):
                raise TypeError(f"{owner}: {name}={value!r}, expected all_to_all or nearest of functional.plasticity")
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


def check_bounds(owner: str, bounds: Any, params: Mapping[str, Any]) -> None:
    """Raise unless bounds hold weights between them, and rates are positive where soft bounds scale them."""
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
