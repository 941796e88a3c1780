"""The state of a whole network between two calls, as a flat dict of tensors."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikingtorch.functional.core.precision import lift
from spikingtorch.layers.base import Memory, StatefulLayer
from spikingtorch.layers.threads import this_thread

_HINT = "Give it a state of the same network: model.get_state()"


def state_of(net: nn.Module, with_graph: bool) -> dict[str, Tensor]:
    """Return copies of the tensors of all states, by path and field; of layers that have not been called, none."""
    found: dict[str, Tensor] = {}
    for path, layer in _layers(net).items():
        memory = layer._shown("get_state()")
        if memory is not None:
            names, leaves = _named(path, _kept(layer, memory))
            copies = [leaf.clone() if with_graph else leaf.detach().clone() for leaf in leaves]
            found |= dict(zip(names, copies, strict=True))
    return found


def take_state(net: nn.Module, state: dict[str, Tensor]) -> None:
    """Let all layers go on from a state.

    Raises:
        TypeError: it holds something else than floating tensors.
        ValueError: its names, shapes or dtypes are not those of the states of this network.
    """
    for name, leaf in state.items():
        if not isinstance(leaf, Tensor):
            raise TypeError(f"SpikingNet: state[{name!r}] is a {type(leaf).__name__}, expected a tensor")
    layers = _layers(net)
    made = {path: _memory(path, layer, state) for path, layer in layers.items()}
    # a layer that no call has reached has none
    called = any(layer._memory is not None for layer in layers.values())
    for path, (names, _) in made.items() if state else ():
        if not names and not (called and layers[path]._memory is None):
            raise ValueError(
                f"SpikingNet: state holds nothing for {path or 'net'} ({type(layers[path]).__name__}). {_HINT}"
            )
    taken = {name for names, _ in made.values() for name in names}
    if unknown := [name for name in state if name not in taken]:
        raise ValueError(
            f"SpikingNet: state holds {', '.join(unknown)}, which this network has no state for; it has "
            f"{', '.join(layers) or 'no spiking layers'}. {_HINT}"
        )
    sizes = {name: tuple(leaf.shape[:1]) for name, leaf in state.items()}
    if len({*sizes.values()}) > 1:
        raise ValueError(f"SpikingNet: state is of different numbers of samples: {sizes}")
    for path, layer in layers.items():
        layer.reset()
        if (memory := made[path][1]) is not None:
            layer._finish(memory)


def _layers(net: nn.Module) -> dict[str, StatefulLayer]:
    modules = net.named_modules()
    return {path: each for path, each in modules if isinstance(each, StatefulLayer) and not each.memoryless}


def _kept(layer: StatefulLayer, memory: Memory) -> Any:
    return (memory.state, {"act": memory.act} if layer.track_act else {})


def _named(path: str, kept: Any) -> tuple[list[str], list[Tensor]]:
    """Return names for the tensors of a layer, and the tensors."""
    leaves = [pair for part in kept for pair in pytree.tree_flatten_with_path(part)[0]]
    names = [".".join([*([path] if path else []), *[_text(key) for key in keys]]) for keys, _ in leaves]
    return names, [leaf for _, leaf in leaves]


def _text(key: Any) -> str:
    return str(next(getattr(key, name) for name in ("name", "key", "idx") if hasattr(key, name)))


def _memory(path: str, layer: StatefulLayer, state: dict[str, Tensor]) -> tuple[list[str], Memory | None]:
    """Return what of a state belongs to a layer, and the memory that it makes; None without any."""
    prefix = f"{path}." if path else ""
    own = [leaf for name, leaf in state.items() if name.startswith(prefix)]
    if not own:
        return [], None
    like = torch.zeros_like(own[0], dtype=next((x.dtype for x in own if x.is_floating_point()), None))
    # a state at rest may be drawn at random
    with torch.random.fork_rng([like.device] if like.is_cuda else []):
        rest = layer._at_rest(like)
    kept = _kept(layer, rest)
    names, leaves = _named(path, kept)
    for name, leaf in zip(names, leaves, strict=True):
        if name not in state:
            raise ValueError(
                f"SpikingNet: state lacks {name}, which layer {path or 'net'} ({type(layer).__name__}) keeps. {_HINT}"
            )
        given = state[name]
        if given.shape != leaf.shape or given.dtype != leaf.dtype:
            raise ValueError(
                f"SpikingNet: state[{name!r}] has shape {tuple(given.shape)} and dtype {given.dtype}, expected "
                f"{tuple(leaf.shape)} and {leaf.dtype}, as the rest of this layer's state"
            )
    values = iter([lift(state[name]).clone() for name in names])
    first, second = [pytree.tree_map(lambda _: next(values), part) for part in kept]
    return names, rest._replace(state=first, act=second.get("act", ()), thread=this_thread())
