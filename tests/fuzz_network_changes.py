"""What the fuzzer changes of a network between two calls."""

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from spikingtorch import BioLIF, SpikingDecay, SpikingNet
from spikingtorch.layers.steplayer import StepLayer
from tests import fuzz_network_recipes as recipes
from tests.fuzz_network_layers import STYLES
from tests.fuzz_network_mixing import Mixing
from tests.fuzz_network_own_layers import Gained


class Change(NamedTuple):
    """Something that happens to a model between its calls: one of CHANGES, at a place or with a value of several."""

    what: str
    place: int = 0


def halved(_module: nn.Module, _inputs: Any, out: Tensor) -> Tensor:
    """Do what a hook may do."""
    return 0.5 * out


def _optimizer(model: SpikingNet, place: int) -> None:
    generator = torch.Generator().manual_seed(place)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
    (torch.optim.SGD if place % 2 else torch.optim.Adam)(model.parameters(), lr=0.02).step()
    model.zero_grad()


def _new_parameter(model: SpikingNet, place: int) -> None:
    owners = [(module, name) for module in model.modules() for name in dict(module.named_parameters(recurse=False))]
    for module, name in owners[place % max(len(owners), 1) :][:1]:
        setattr(module, name, nn.Parameter(1.1 * getattr(module, name).detach()))


def _new_float(model: SpikingNet, place: int) -> None:
    layers = [layer for layer in model.modules() if isinstance(layer, StepLayer)]
    holders = [*layers, *[layer.step for layer in layers if isinstance(layer.step, Gained)]]
    owners = [(holder, name) for holder in holders for name, value in vars(holder).items() if isinstance(value, float)]
    for layer, name in owners[place % max(len(owners), 1) :][:1]:
        setattr(layer, name, 1.25 * getattr(layer, name))


def _new_data(model: SpikingNet, place: int) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and not is_lazy(tensor):
            tensor.data = 0.9 * tensor.data


def _new_rule(model: SpikingNet, place: int) -> None:
    layers: list[Any] = [layer for layer in model.modules() if hasattr(layer, "reset_rule")]
    for layer in layers:
        layer.surrogate, layer.reset_rule = [*STYLES.values()][place % len(STYLES)]


def _call_layer(model: SpikingNet, place: int) -> None:
    layers = [layer for layer in model.modules() if isinstance(layer, StepLayer) and isinstance(layer.s, Tensor)]
    for layer in layers[place % max(len(layers), 1) :][:1]:
        if not isinstance(layer, BioLIF):
            layer(torch.full_like(layer.s, 0.4))


def _reset_layer(model: SpikingNet, place: int) -> None:
    layers = [layer for layer in model.modules() if isinstance(layer, StepLayer)]
    layers[place % len(layers)].reset()


def _new_layer(model: SpikingNet, place: int) -> None:
    parts: Any = model.net.parts
    for k, part in enumerate(parts):
        if isinstance(part, StepLayer):
            parts[k] = SpikingDecay(2.0, 0.43)


def _mix(model: SpikingNet, place: int) -> None:
    for block in model.modules():
        if isinstance(block, Mixing):
            block.on, block.strength = not block.on, 0.5 * (1 + place)


def _mix_in(model: SpikingNet, place: int) -> None:
    parts: Any = model.net.parts
    parts.insert(place % (len(parts) + 1), Mixing("centre", (), None, ()))


def _set(name: str, *values: Any) -> Callable[[SpikingNet, int], None]:
    return lambda model, place: setattr(model, name, values[place % len(values)])


def _freeze(model: SpikingNet, place: int) -> None:
    for k, weight in enumerate(model.parameters()):
        weight.requires_grad_(k % 3 != place % 4)


def _reload(model: SpikingNet, place: int) -> None:
    scaled = {name: 0.9 * value if value.is_floating_point() else value for name, value in model.state_dict().items()}
    model.load_state_dict(scaled)


def _channels_last(model: Any, place: int) -> None:
    model.to(memory_format=torch.channels_last)


def _hook(model: SpikingNet, place: int) -> None:
    modules = [*model.net.modules()]
    modules[place % len(modules)].register_forward_hook(halved)


# each changes a model in place, or returns another one
CHANGES: dict[str, Callable[[SpikingNet, int], Any]] = {
    "train": lambda model, place: recipes.train(model),
    "eval": lambda model, place: model.eval(),
    "deepcopy": lambda model, place: copy.deepcopy(model),
    "pickle": lambda model, place: pickle.loads(pickle.dumps(model)),
    "float32 and back": lambda model, place: model.to(torch.float32).to(torch.float64),
    "channels last": _channels_last,
    "optimizer": _optimizer,
    "reload": _reload,
    "new parameter": _new_parameter,
    "new float": _new_float,
    "new data": _new_data,
    "new rule": _new_rule,
    "new layer": _new_layer,
    "freeze": _freeze,
    "mix": _mix,
    "mix in": _mix_in,
    "hook": _hook,
    "time_chunk": _set("time_chunk", 3, 1, None),
    "carry_graph": _set("carry_graph", True, False),
    "call a layer": _call_layer,
    "reset a layer": _reset_layer,
    "reset": lambda model, place: model.reset(),
    "detach": lambda model, place: model.detach_(),
}
