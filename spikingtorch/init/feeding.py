"""Find the weights that feed a spiking layer and the inputs of its calls, and call the layer alone."""

import copy
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.delayed import DelayedLinear
from spikingtorch.layers.recorder import SPIKES
from spikingtorch.layers.returns import spikes_in

# by position or by name, as they were passed
Inputs: TypeAlias = dict[int | str, Tensor]

# a layer whose output is anything but 0 and 1 for one of these inputs is not a spiking layer
_PROBES = [1.037 * 10.0**power for power in range(-3, 5)]


def inputs_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
    """Return the inputs among a layer's arguments: all except ``init``, which is not floating."""
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    return {key: value for key, value in given if isinstance(value, Tensor) and value.is_floating_point()}


def call(layer: StatefulLayer, inputs: Inputs, init: bool) -> Any:
    """Call a layer with one step of its inputs."""
    args = [x for key, x in inputs.items() if isinstance(key, int)]
    return layer(*args, **{key: x for key, x in inputs.items() if isinstance(key, str)}, init=init)


def spikes_of(layer: StatefulLayer, output: Any) -> Any:
    """Return the spikes in the result of a layer; None if it does not return them."""
    return spikes_in(getattr(layer, "returns", SPIKES), output)


def call_all(layer: StatefulLayer, inputs: Inputs) -> Tensor:
    """Return the outputs of a layer for a sequence, inputs and outputs (N, T, ...)."""
    steps = min(x.shape[1] for x in inputs.values())
    outputs = [call(layer, {key: x[:, t] for key, x in inputs.items()}, init=t == 0) for t in range(steps)]
    return torch.stack([spikes_of(layer, output) for output in outputs], 1)


@torch.no_grad()
def gives_spikes(layer: StatefulLayer, inputs: Inputs) -> bool:
    """Return True if a layer's outputs are only 0 and 1, for small and large inputs of one step like these."""
    probed = copy.deepcopy(layer).eval()
    probes = [{key: torch.full_like(x[:1], value) for key, x in inputs.items()} for value in _PROBES]
    outputs = [spikes_of(layer, call(probed, probe, init=step == 0)) for step, probe in enumerate(probes)]
    return all([isinstance(out, Tensor) and bool(((out == 0) | (out == 1)).all()) for out in outputs])


def feeding(
    modules: Mapping[nn.Module, str], alone: Mapping[StatefulLayer, StatefulLayer], run: Callable[[], None]
) -> dict[StatefulLayer, list[nn.Module]]:
    """Return the spiking layers in the order of their calls, each with the modules whose weights feed it.

    The autograd graph is followed from the inputs of a layer back to the outputs of modules with weights.

    Args:
        modules: call of a network whose parameters all require gradients.
        alone: copies of its layers.
        run: calls the network.
    """
    outputs: dict[Any, nn.Module] = {}  # by node of the graph
    found: dict[StatefulLayer, dict[nn.Module, None]] = {}
    seen: dict[StatefulLayer, set[Any]] = {}
    spiking: dict[StatefulLayer, bool] = {}

    def leave(module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG001
        for leaf in leaves_of(output):
            if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
                outputs.setdefault(leaf.grad_fn, module)

    def enter(layer: Any, args: Any, kwargs: Any) -> Any:
        inputs = inputs_of(args, kwargs)
        if layer not in spiking:
            spiking[layer] = gives_spikes(alone[layer], inputs)
        if not spiking[layer]:
            return None
        nodes = [x.grad_fn for x in inputs.values()]
        _go_back(nodes, outputs, seen.setdefault(layer, set()), found.setdefault(layer, {}))
        # so that no path goes back through a spiking layer
        cut = {key: x.detach() for key, x in inputs.items()}
        names = {name: cut.get(name, value) for name, value in kwargs.items()}
        return tuple(cut.get(place, value) for place, value in enumerate(args)), names

    with ExitStack() as hooks, torch.enable_grad():
        for module in modules:
            if isinstance(module, StatefulLayer):
                hooks.enter_context(module.register_forward_pre_hook(enter, with_kwargs=True))
            if isinstance(module, DelayedLinear) or (not isinstance(module, StatefulLayer) and _has_weight(module)):
                hooks.enter_context(module.register_forward_hook(leave))
        run()
    return {layer: list(feeders) for layer, feeders in found.items()}


def own_weights(
    feeders: Mapping[StatefulLayer, list[nn.Module]], paths: Mapping[nn.Module, str]
) -> dict[StatefulLayer, list[str]]:
    """Return the names of the weights and biases to scale for each layer: those that feed no earlier layer.

    Raises:
        ValueError: there are no layers, no weight is for this layer alone, or a weight is computed.
    """
    if not feeders:
        raise ValueError("to_rate_: no layer of the network returns spikes, so there is no rate to reach")
    owners: dict[int, StatefulLayer] = {}
    found: dict[StatefulLayer, list[str]] = {}
    for layer, modules in feeders.items():
        free: dict[int, str] = {}
        for module in modules:
            own = _scaled(module, paths, named(layer, paths))
            free |= {} if owners.keys() & own.keys() else own
        if not free:
            others = {owners[key]: None for module in modules for key in _identities(module) if key in owners}
            raise ValueError(_without_weights(layer, modules, list(others), paths))
        owners |= dict.fromkeys(free, layer)
        found[layer] = list(free.values())
    return found


def named(module: nn.Module, paths: Mapping[nn.Module, str]) -> str:
    """Return the name of a module for messages."""
    return f"{paths[module] or 'net'} ({type(module).__name__})"


def _has_weight(module: nn.Module) -> bool:
    # a PReLU passes a scale of its input on to its output, and its weight is not a scale of the output
    scripted = isinstance(module, torch.jit.ScriptModule)
    return isinstance(getattr(module, "weight", None), Tensor) and not isinstance(module, nn.PReLU) and not scripted


def _go_back(nodes: list[Any], outputs: dict[Any, nn.Module], seen: set[Any], found: dict[nn.Module, None]) -> None:
    """Add the modules that the nodes of a graph come from, the nearest on each path."""
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in outputs:
            found[outputs[node]] = None
        else:
            nodes += [before for before, _ in node.next_functions]


def _identities(module: nn.Module) -> dict[int, str]:
    parameters = {name: module._parameters.get(name) for name in ("weight", "bias")}
    return {id(parameter): name for name, parameter in parameters.items() if parameter is not None}


def _scaled(module: nn.Module, paths: Mapping[nn.Module, str], layer: str) -> dict[int, str]:
    """Return the names of the tensors of a module to scale, by identity."""
    own = _identities(module)
    if "weight" not in own.values() or (getattr(module, "bias", None) is not None and "bias" not in own.values()):
        raise ValueError(
            f"to_rate_: {named(module, paths)}, which feeds layer {layer}, has a weight or bias that is computed "
            "and not a parameter, so it cannot be scaled. Call to_rate_ before you register a parametrization or "
            "prune"
        )
    return {key: f"{paths[module]}.{name}".removeprefix(".") for key, name in own.items()}


def _without_weights(
    layer: StatefulLayer, modules: list[nn.Module], others: list[nn.Module], paths: Mapping[nn.Module, str]
) -> str:
    if not modules:
        return (
            f"to_rate_: no weight feeds layer {named(layer, paths)}. Put a module with a weight, such as nn.Linear, "
            "before it, and call it as a module"
        )
    return (
        f"to_rate_: the weights that feed layer {named(layer, paths)}, of "
        f"{', '.join(named(module, paths) for module in modules)}, also feed "
        f"{', '.join(named(other, paths) for other in others)}, and one factor cannot be right for all. Give each "
        "layer a module of its own, or put a normalisation with a weight before one of them"
    )
