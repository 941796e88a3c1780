"""Calls of a spiking layer: its inputs, and the layer called alone."""

import copy
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.recorder import SPIKES
from spikingtorch.layers.returns import spikes_in

# by place or by name, as they were passed
Inputs: TypeAlias = dict[int | str, Tensor]

# a layer that gives out anything but 0 and 1 for one of these inputs is no spiking one
_PROBES = [1.037 * 10.0**power for power in range(-3, 5)]


def inputs_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
    """Return the inputs of a layer among its arguments: all but ``init``, which is not floating."""
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    return {key: value for key, value in given if isinstance(value, Tensor) and value.is_floating_point()}


def call(layer: StatefulLayer, inputs: Inputs, init: bool) -> Any:
    """Call a layer with one step of its inputs."""
    args = [x for key, x in inputs.items() if isinstance(key, int)]
    return layer(*args, **{key: x for key, x in inputs.items() if isinstance(key, str)}, init=init)


def spikes_of(layer: StatefulLayer, output: Any) -> Any:
    """Return the spikes in what a layer has returned; None where it does not return them."""
    return spikes_in(getattr(layer, "returns", SPIKES), output)


def call_all(layer: StatefulLayer, inputs: Inputs) -> Tensor:
    """Return the outputs of a layer for a sequence, inputs and outputs (N, T, ...)."""
    steps = min(x.shape[1] for x in inputs.values())
    outputs = [call(layer, {key: x[:, t] for key, x in inputs.items()}, init=t == 0) for t in range(steps)]
    return torch.stack([spikes_of(layer, output) for output in outputs], 1)


@torch.no_grad()
def gives_spikes(layer: StatefulLayer, inputs: Inputs) -> bool:
    """Say whether a layer gives out nothing but 0 and 1, for inputs like these of one step, small ones and large."""
    probed = copy.deepcopy(layer).eval()
    probes = [{key: torch.full_like(x[:1], value) for key, x in inputs.items()} for value in _PROBES]
    outputs = [spikes_of(layer, call(probed, probe, init=step == 0)) for step, probe in enumerate(probes)]
    return all([isinstance(out, Tensor) and bool(((out == 0) | (out == 1)).all()) for out in outputs])
