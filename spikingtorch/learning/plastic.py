"""Plastic: what rules over a network have in common: they watch calls, keep traces, and change weights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.plasticity.bounds import Bounds, clip
from spikingtorch.functional.plasticity.factors import Factors
from spikingtorch.learning.rule import Rule, Sides, check_bounds
from spikingtorch.learning.spikes import watch
from spikingtorch.learning.synapses import synapses_of
from spikingtorch.watching.network import check_network


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
