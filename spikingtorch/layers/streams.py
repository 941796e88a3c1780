"""The state of a whole network between two calls, as a flat dict of tensors."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.core.shapes import differ
from spikingtorch.functional.core.surroundings import same_random_numbers
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.layers.base import Memory, StatefulLayer
from spikingtorch.layers.threads import this_thread

_HINT = "Give it a state of the same network: model.get_state()"


def state_of(net: nn.Module, with_graph: bool, given: Mapping[Any, Memory | None] | None = None) -> dict[str, Tensor]:
    """Return copies of the tensors of all states, by path and field; layers not called yet have empty ones, (N, 0).

    ``with_graph`` says whether the copies have the graph of the states, and ``given`` are memories of the layers in
    place of their own.
    """
    found: dict[str, Tensor] = {}
    layers = _layers(net)
    memories = {path: each._shown("get_state()") if given is None else given.get(each) for path, each in layers.items()}
    for path, memory in memories.items():
        if memory is not None:
            names, leaves = _named(path, _kept(layers[path], memory))
            copies = [leaf.clone() if with_graph else leaf.detach().clone() for leaf in leaves]
            found |= dict(zip(names, copies, strict=True))
    like = next(iter(found.values()), None)
    if like is not None:
        found |= {_unused(path): like.new_empty(like.shape[0], 0) for path, each in memories.items() if each is None}
    return found


def rest_of(net: nn.Module, N: int) -> dict[str, Tensor]:
    """Return the state of N samples at rest, by path and field, of layers that have been called."""
    found: dict[str, Tensor] = {}
    for path, layer in _layers(net).items():
        memory = layer._shown("rest()")
        if memory is not None:
            leaves = leaves_of(memory.state)
            like = next((leaf for leaf in leaves if leaf.is_floating_point()), leaves[0])
            like = like.new_zeros(N, *like.shape[1:])
            at_rest = same_random_numbers(like.device, partial(layer._at_rest, like))
            names, leaves = _named(path, _kept(layer, at_rest))
            found |= dict(zip(names, [leaf.detach().clone() for leaf in leaves], strict=True))
    return found


def memories_of(net: nn.Module, state: dict[str, Tensor]) -> dict[StatefulLayer, Memory | None]:
    """Return the memories with which the layers continue from a state.

    Raise TypeError if it holds other values than tensors, ValueError if names, shapes or dtypes differ from this
    network's.
    """
    for name, leaf in state.items():
        if not isinstance(leaf, Tensor):
            raise TypeError(f"SpikingNet: state[{name!r}] is a {type(leaf).__name__}, expected a tensor")
    layers, rest = _layers(net), dict(state)
    made: dict[str, Memory | None] = {}
    for path in sorted(layers, key=len, reverse=True):  # inner layers before the layers around them
        prefix = f"{path}." if path else ""
        own = {name: rest.pop(name) for name in state if name.startswith(prefix) and name in rest}
        unused = own.pop(_unused(path), None) is not None
        if not own and not unused and state:
            raise ValueError(
                f"SpikingNet: state holds nothing for {path or 'net'} ({type(layers[path]).__name__}). {_HINT}"
            )
        made[path] = _memory(path, layers[path], own, rest) if own else None
    if rest:
        raise ValueError(
            f"SpikingNet: state holds {', '.join(rest)}, which this network has no state for; it has "
            f"{', '.join(layers) or 'no spiking layers'}. {_HINT}"
        )
    sizes = {name: tuple(leaf.shape[:1]) for name, leaf in state.items()}
    if sizes and differ(sizes.values()):
        raise ValueError(f"SpikingNet: state is of different numbers of samples: {sizes}")
    return {layer: made[path] for path, layer in layers.items()}


def _unused(path: str) -> str:
    return f"{path}.not_called" if path else "not_called"


def _layers(net: nn.Module) -> dict[str, StatefulLayer]:
    modules = net.named_modules()
    return {path: each for path, each in modules if isinstance(each, StatefulLayer) and not each.memoryless}


def _kept(layer: StatefulLayer, memory: Memory) -> Any:
    return memory.state, {"act": memory.act} if layer.track_act else {}


def _named(path: str, kept: Any) -> tuple[list[str], list[Tensor]]:
    """Return the names of the tensors of a layer, and the tensors."""
    leaves = [pair for part in kept for pair in pytree.tree_flatten_with_path(part)[0]]
    names = [".".join([*([path] if path else []), *[key_name(key) for key in keys]]) for keys, _ in leaves]
    return names, [leaf for _, leaf in leaves]


def key_name(key: Any) -> str:
    """Return the name of a key of a tree."""
    return str(next(getattr(key, name) for name in ("name", "key", "idx") if hasattr(key, name)))


def _memory(path: str, layer: StatefulLayer, own: dict[str, Tensor], rest: dict[str, Tensor]) -> Memory:
    """Return the memory of a layer from its part of a state; put entries of others into ``rest``."""
    like = next(iter(own.values()))
    like = torch.zeros_like(like, dtype=next((x.dtype for x in own.values() if x.is_floating_point()), None))
    # a state at rest may be drawn at random
    at_rest = same_random_numbers(like.device, partial(layer._at_rest, like))
    kept = _kept(layer, at_rest)
    names, leaves = _named(path, kept)
    rest |= {name: leaf for name, leaf in own.items() if name not in names}
    for name, leaf in zip(names, leaves, strict=True):
        if name not in own:
            raise ValueError(
                f"SpikingNet: state lacks {name}, which layer {path or 'net'} ({type(layer).__name__}) keeps. {_HINT}"
            )
        if own[name].shape != leaf.shape or own[name].dtype != leaf.dtype:
            raise ValueError(
                f"SpikingNet: state[{name!r}] has shape {tuple(own[name].shape)} and dtype {own[name].dtype}, expected "
                f"{tuple(leaf.shape)} and {leaf.dtype}, as the rest of this layer's state"
            )
    values = iter([lift(own[name]).clone() for name in names])
    first, second = [pytree.tree_map(lambda _: next(values), part) for part in kept]
    return at_rest._replace(state=first, act=second.get("act", ()), thread=this_thread())
