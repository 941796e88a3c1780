"""AdaptiveThreshold: thresholds that rise with each spike, over many sequences."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch import validation as checks
from spikingtorch.axes import samples_first
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.network import check_network


class AdaptiveThreshold:
    """Raise the thresholds of neurons with each of their spikes, so that no neuron wins all of the time.

        theta[t] = decay theta[t-1] + rise s[t]
        threshold = base + theta

    ``step`` takes the spikes of a call and changes ``layer.threshold`` in place. It must be a tensor with a value for
    each neuron. During the call the thresholds stay as they are. For thresholds that move within a sequence and start
    anew with it, use the layer ``ALIF``.

    Args:
        model: a ``SpikingNet``.
        layers: names of the spiking layers; by default all that have a tensor as their threshold.
        rise: rise for each spike, in units of the membrane. Of a batch, the mean number of spikes counts.
        decay: share of theta kept over a step, in [0, 1]; see ``functional.decay_from_tau``.

    Raises:
        TypeError: model is no SpikingNet.
        ValueError: a layer has no tensor as its threshold, or a number is out of range.

    Source: P. U. Diehl, M. Cook, Front. Comput. Neurosci. 9:99 (2015), doi:10.3389/fncom.2015.00099.

    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(LIF(tau=8.0, threshold=torch.ones(2)))
    >>> homeostasis = AdaptiveThreshold(model, rise=0.1, decay=1.0)
    >>> homeostasis.step({"": torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])})
    >>> model.net.threshold
    tensor([1.2000, 1.0000])
    """

    def __init__(self, model: Any, layers: Sequence[str] | None = None, *, rise: float, decay: float = 1.0) -> None:
        check_network("AdaptiveThreshold", model)
        checks.check_parameter("AdaptiveThreshold", "rise", rise, least=0.0)
        checks.check_parameter("AdaptiveThreshold", "decay", decay, least=0.0, most=1.0)
        self.model, self.rise, self.decay = model, rise, decay
        spiking = {path: each for path, each in model.net.named_modules() if isinstance(each, StepLayer)}
        there = {path: _threshold(each) for path, each in spiking.items()}
        fit = [path for path, each in there.items() if isinstance(each, Tensor) and each.ndim > 0]
        wrong = [path for path in layers or () if path not in fit]
        if wrong or not fit or isinstance(layers, str):
            raise ValueError(
                f"AdaptiveThreshold: {layers!r} names no spiking layers with a threshold for each neuron; make one by "
                f"LIF(threshold=torch.ones(neurons)). There are {', '.join(map(repr, fit)) or 'none'}"
            )
        self.layers = fit if layers is None else list(layers)
        self._base: dict[str, Tensor] = {path: there[path].detach().clone() for path in self.layers}

    @torch.no_grad()
    def step(self, spikes: Any) -> None:
        """Move the thresholds by the spikes of a call.

        Args:
            spikes: by the name of each layer, its spikes, (N, T, neurons), or its records as ``record`` returns them,
                in the order of the model.
                ``rule.spikes`` of a plastic rule has those of its last call.

        Raises:
            TypeError: a threshold is in half precision, which rounds small rises away.
            ValueError: a layer is missing, or its spikes have another shape.
        """
        for path in self.layers:
            if path not in spikes:
                raise ValueError(
                    f"AdaptiveThreshold: there are no spikes of {path!r}; there are those of {list(spikes)}"
                )
            layer: Any = self.model.net.get_submodule(path)
            train = _samples_first(spikes[path])
            N = train.shape[0]
            threshold: Tensor = layer.threshold
            if threshold.dtype in (torch.float16, torch.bfloat16):
                raise TypeError(
                    f"AdaptiveThreshold: the threshold of {path!r} is {threshold.dtype}, in which small rises are "
                    "rounded away. Keep the layer in float32: layer.float()"
                )
            theta = threshold - self._base[path]
            if train.shape[2:] != theta.shape:
                raise ValueError(
                    f"AdaptiveThreshold: the spikes of {path!r} have shape {tuple(train.shape)}, expected (N, T, "
                    f"{', '.join(map(str, theta.shape))})"
                )
            # theta is an exponential synapse that its own spikes drive
            counts = train.sum(0).to(theta.dtype) * (self.rise / max(N, 1))
            state = F.ExponentialSynapseState(theta)
            state, _ = F.scan(F.exponential_synapse_step, state, counts, params={"decay": self.decay})
            threshold.copy_(self._base[path] + state.i)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the thresholds at rest; those of now are in the ``state_dict`` of the network."""
        return dict(self._base)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the thresholds at rest that ``state_dict`` has returned; ValueError for those of other layers."""
        if {*state} != {*self._base}:
            raise ValueError(
                f"AdaptiveThreshold: the state is of layers {[*state]}, expected those of this object, {[*self._base]}"
            )
        self._base = {path: state[path].clone() for path in self._base}


def _threshold(layer: Any) -> Any:
    """Return the threshold of a layer; None if it has none, or computes it anew at each read."""
    threshold = getattr(layer, "threshold", None)
    return threshold if getattr(layer, "threshold", None) is threshold else None


def _samples_first(spikes: Any) -> Tensor:
    """Return spikes (N, T, neurons), from themselves or from the records of a layer."""
    if isinstance(spikes, Tensor):
        return spikes
    return samples_first(spikes["spikes"], getattr(spikes, "batch_first", True))
