"""What each process has of its own in a checkpoint: random numbers, states between calls, buffers, and the user's."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from spikingtorch import StepLayer
from spikingtorch.functional.core.surroundings import RandomNumbers
from spikingtorch.functional.core.torch_private import plain_class
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.parts import layers_of


class Stateful(Protocol):
    """An object whose state is a dict, such as a scheduler of torch."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Go on from a state."""


# "random": numbers of Python, NumPy and torch, "streams": states between calls, "buffers", "own": the user's
OwnState = dict[str, Any]


def own_state(model: nn.Module, own: Mapping[str, Stateful | torch.Generator]) -> OwnState:
    """Return what this process has of its own, on the CPU."""
    of_python, of_numpy, of_torch, _ = RandomNumbers.now(_device(model))
    streams = {
        path: {name: each.detach().cpu() for name, each in net.get_state().items()}
        for path, net in _nets(model).items()
    }
    buffers = {name: each.cpu().clone() for name, each in tensors_of(model, "buffers").items()}
    users = {name: _state(each) for name, each in own.items()}
    return {"random": [of_python, of_numpy, of_torch], "streams": streams, "buffers": buffers, "own": users}


@torch.no_grad()
def take_own_state(
    model: nn.Module,
    own: Mapping[str, Stateful | torch.Generator],
    saved: Mapping[int, OwnState],
    rank: int,
    new_size: int | None,
) -> None:
    """Go on from what this process had of its own, or from that of all if there were not ``new_size``, but others."""
    streams = [each["streams"] for each in saved.values()]
    for path, net in _nets(model).items():
        parts = [part for each in streams if (part := each.get(path))]  # a process without samples may have none
        net.reset()
        if parts:
            state = parts[0]
            if new_size is not None:
                state = {name: torch.cat([each[name] for each in parts]).tensor_split(new_size)[rank] for name in state}
            net.set_state({name: each.to(_device(model)) for name, each in state.items()})
    if rank not in saved:
        return
    mine = saved[rank]
    of_python, of_numpy, of_torch = mine["random"]
    for name, each in own.items():
        if isinstance(each, torch.Generator):
            each.set_state(mine["own"][name])
        else:
            each.load_state_dict(mine["own"][name])
    if new_size is None:
        for name, buffer in tensors_of(model, "buffers").items():
            buffer.copy_(mine["buffers"][name])
    # last, because what came before may draw
    device = _device(model) if len(of_torch) > 1 else of_torch[0].device
    RandomNumbers(of_python, of_numpy, of_torch, device).put_back()


def _state(own: Stateful | torch.Generator) -> Any:
    return own.get_state() if isinstance(own, torch.Generator) else own.state_dict()


def _nets(model: nn.Module) -> dict[str, SpikingNet]:
    """Return the networks, and layers outside of them as networks."""
    layers, modules = {*layers_of(model.modules())}, modules_by_name(model)
    found = {path: each for path, each in modules.items() if isinstance(each, SpikingNet) or each in layers}
    inside = {part for each in found.values() for part in each.modules() if part is not each}
    outside = {path: each for path, each in found.items() if each not in inside}
    return {path: each if isinstance(each, SpikingNet) else SpikingNet(each) for path, each in outside.items()}


def tensors_of(model: nn.Module, kind: str) -> dict[str, Any]:
    """Return the "parameters", or the "buffers" that are not sharded, by all of their names."""
    return {
        f"{path}.{name}".removeprefix("."): each
        for path, module in modules_by_name(model).items()
        for name, each in getattr(module, f"named_{kind}")(recurse=False)
        if kind == "parameters" or type(each) is Tensor
    }


def modules_by_name(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules by the names that they have without wrappers, so that a run may go on in another wrapper."""
    found, names = dict[str, nn.Module](), dict[str, str]()
    for path, module in model.named_modules():
        around, _, name = path.rpartition(".")
        wraps = name == "_orig_mod" or isinstance(found.get(names.get(around, "-")), DistributedDataParallel)
        names[path] = ".".join(filter(None, (names.get(around), "" if wraps else name)))
        found[names[path]] = module  # what is wrapped takes the place of its wrapper
    return found


def _device(model: nn.Module) -> torch.device:
    return next((each.device for each in model.parameters()), torch.get_default_device())


def layers_said(model: nn.Module) -> dict[str, str]:
    """Return class and numbers of each spiking layer by its name; what is a tensor is in the state of the model."""
    found = dict[str, str]()
    for path, layer in modules_by_name(model).items():
        if isinstance(layer, StepLayer):
            numbers = {
                name: value for name in layer._names() if isinstance(value := getattr(layer, name), (int, float))
            }
            said = ", ".join(f"{name}={value}" for name, value in numbers.items())
            found[f"layer {path}"] = f"{plain_class(type(layer)).__name__}({said})"
    return found
