"""Activity: whether the spiking layers of a network in training fire at all, and not always."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.tree import leaves_of

# so many batches on end are no accident
BATCHES = 8
# one batch in so many is looked at, as long as all layers are well
_EVERY = 16

_SILENT = (
    "has not fired once in {n} batches of training on end, so that nothing gets past it and what lies before it learns "
    "little. A lower threshold such as v0=0.3, a longer time constant, larger weights or a normalisation before the "
    "layer make it fire; spikingtorch.init.to_rate_(model, x) scales the weights of a new network until each layer does"
)
_SATURATED = (
    "has fired in every neuron, at every step, in {n} batches of training on end, so that it says nothing about its "
    "input. A higher threshold v0, smaller weights or a normalisation before the layer help"
)


class Activity:
    """Counts the batches in which a layer was silent, or always fired, and warns once.

    A copy of the network, and what comes out of a pickle, counts anew.
    """

    def __init__(self) -> None:
        self._calls = 0
        # the least and the greatest magnitude that a layer has given out
        self._range: dict[Any, tuple[Tensor, Tensor]] = {}
        self._odd: dict[str, tuple[str, int]] = {}
        self._warned = False

    def __reduce__(self) -> Any:
        return Activity, ()

    def begin(self, x: Tensor) -> bool:
        """Say whether this batch, of inputs x, is looked at; its layers then hand over their outputs to ``note``."""
        if self._warned or not torch.is_grad_enabled():
            return False
        self._calls += 1
        if (not self._odd and self._calls % _EVERY != 1) or not checks.has_values(x):
            return False
        self._range.clear()
        return True

    def note(self, layer: Any, output: Any) -> None:
        """Add what a layer has given out, at one step or at all of them."""
        for leaf in leaves_of(output):
            if leaf.numel():
                magnitude = leaf.detach().to(torch.promote_types(leaf.dtype, torch.float16)).abs()
                least, most = torch.aminmax(magnitude)
                before = self._range.get(layer, (least, most))
                self._range[layer] = torch.minimum(before[0], least), torch.maximum(before[1], most)

    def end(self, net: nn.Module) -> None:
        """Warn if the same layer has been silent, or has always fired, long enough."""
        kinds = {layer: _kind(*torch.stack(found).tolist()) for layer, found in self._range.items()}
        self._range.clear()
        if not any(kinds.values()):
            self._odd.clear()
            return
        names = {module: name for name, module in net.named_modules()}
        found = {names.get(layer, ""): (kind, type(layer).__name__) for layer, kind in kinds.items() if kind}
        before = {name: count for name, (kind, count) in self._odd.items() if found.get(name, ("",))[0] == kind}
        self._odd = {name: (kind, before.get(name, 0) + 1) for name, (kind, _) in found.items()}
        for name, (kind, count) in self._odd.items():  # in the order in which they ran
            if count >= BATCHES:
                self._warned = True
                warnings.warn(
                    f"SpikingNet: layer {name or 'net'} ({found[name][1]}) {kind.format(n=count)}. "
                    "SpikingNet(..., warn_silent=False) turns this warning off",
                    RuntimeWarning,
                    stacklevel=level_of_user(),
                )
                return  # the layers after it have nothing to fire for


def _kind(least: float, most: float) -> str:
    """Return what is wrong with a layer whose outputs have these magnitudes, if anything; a readout has others."""
    return _SILENT if most == 0.0 else _SATURATED if least == most == 1.0 else ""
