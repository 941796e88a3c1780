"""Activity: find spiking layers that never fire, or always fire, while a network is trained."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.tree import leaves_of

# a layer that is silent for so many batches in a row is reported
BATCHES = 8
# as long as all layers fire as they should, one batch in so many is examined
_EVERY = 16

_SILENT = (
    "has not fired once in {n} batches of training in a row: the layers after it get no spikes, and the layers before "
    "it learn little. Take a lower threshold such as threshold=0.3, a longer time constant, larger weights or a "
    "normalisation before the layer. spikingtorch.init.to_rate_(model, x) scales the weights of a new network until "
    "each layer fires"
)
_SATURATED = (
    "has fired in every neuron, at every step, in {n} batches of training in a row, so its output carries no "
    "information about its input. Take a higher threshold, smaller weights or a normalisation before the layer"
)


class Activity:
    """Counts the batches in which a layer was silent, or always fired, and warns once.

    A copied or unpickled network starts to count again from zero.
    """

    def __init__(self) -> None:
        self._calls = 0
        # the least and the greatest magnitude of a layer's outputs
        self._range: dict[Any, tuple[Tensor, Tensor]] = {}
        self._odd: dict[tuple[str, str], int] = {}  # batches in a row, by name of the layer and warning
        self._warned = False

    def __reduce__(self) -> Any:
        return Activity, ()

    def begin(self, x: Tensor) -> bool:
        """Return True if this batch is examined; the layers then pass their outputs to ``note``."""
        if self._warned or not torch.is_grad_enabled():
            return False
        self._calls += 1
        if (not self._odd and self._calls % _EVERY != 1) or not checks.has_values(x):
            return False
        self._range.clear()
        return True

    def note(self, layer: Any, output: Any) -> None:
        """Add the outputs of a layer, of one step or of all steps."""
        for leaf in leaves_of(output):
            if leaf.numel():
                magnitude = leaf.detach().to(torch.promote_types(leaf.dtype, torch.float16)).abs()
                least, most = torch.aminmax(magnitude)
                before = self._range.get(layer, (least, most))
                self._range[layer] = torch.minimum(before[0], least), torch.maximum(before[1], most)

    def end(self, net: nn.Module) -> None:
        """Warn if the same layer has been silent, or has always fired, long enough."""
        names = {module: name for name, module in net.named_modules()}
        found = {}  # the classes, in the order in which the layers ran
        for layer, (least, most) in self._range.items():
            low, high = torch.stack([least, most]).tolist()
            if high == 0.0 or low == high == 1.0:  # not those of a readout
                found[names.get(layer, ""), _SATURATED if high else _SILENT] = type(layer).__name__
        self._range.clear()
        self._odd = {odd: self._odd.get(odd, 0) + 1 for odd in found}
        for (name, text), count in self._odd.items():
            if count >= BATCHES:
                self._warned = True
                warnings.warn(
                    f"SpikingNet: layer {name or 'net'} ({found[name, text]}) {text.format(n=count)}. "
                    "SpikingNet(..., warn_silent=False) turns this warning off",
                    RuntimeWarning,
                    stacklevel=level_of_user(),
                )
                return  # the layers after it are silent because they get no input
