"""The plastic synapses of a network: a linear layer, and the spiking layer that follows it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from spikingtorch.functional.core.sharing import copied
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.time_norm import TimeNorm
from spikingtorch.step_graph.trace import trace


def synapses_of(owner: str, net: nn.Module, layers: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    """Return the names of linear layers, each with the name of the spiking layer that it feeds.

    Raises:
        TypeError: layers is neither None nor a list or dict of names.
        ValueError: there is no such layer; or it is no linear layer, has computed or shared weights, or feeds no
            spiking layer.
    """
    followed = _followed(net)
    if isinstance(layers, str) or not (layers is None or isinstance(layers, Mapping | Sequence)):
        raise TypeError(f"{owner}: layers={layers!r}, expected a list of names, or a dict of a name to a name")
    found = followed if layers is None else _chosen(owner, net, layers, followed)
    if not found:
        raise ValueError(
            f"{owner}: the network has no nn.Linear with a spiking layer right behind it. If torch.fx "
            "cannot see the order of calls, name both: layers={'linear': 'lif'}"
        )
    weights: dict[int, str] = {}
    for path in found:
        weight = _checked_weight(owner, path, net.get_submodule(path))
        if id(weight) in weights:
            raise ValueError(f"{owner}: {path!r} and {weights[id(weight)]!r} share their weights; give each its own")
        weights[id(weight)] = path
    return found


def _chosen(
    owner: str, net: nn.Module, layers: Sequence[str] | Mapping[str, str], followed: Mapping[str, str]
) -> dict[str, str]:
    modules, found = dict(net.named_modules()), dict[str, str]()
    for path in layers:
        if path not in modules:
            raise ValueError(f"{owner}: there is no layer {path!r}; there are {_listed(followed)}")
        behind = layers[path] if isinstance(layers, Mapping) else followed.get(path)
        if isinstance(modules[path], nn.Linear) and behind is None:
            raise ValueError(
                f"{owner}: no spiking layer comes right behind {path!r}; name it: layers={{{path!r}: 'lif'}}"
            )
        if behind is not None and not isinstance(modules.get(behind), StepLayer):
            raise ValueError(f"{owner}: {behind!r}, which {path!r} is to feed, is no spiking layer of the network")
        found[path] = behind or ""
    return found


def _checked_weight(owner: str, path: str, layer: nn.Module) -> Tensor:
    """Return the weight of a layer; raise ValueError unless it is the parameter of a linear layer."""
    if not isinstance(layer, nn.Linear):
        hint = " Its weights are shared between places" if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) else ""
        raise ValueError(f"{owner}: {path!r} is a {type(layer).__name__}, expected an nn.Linear.{hint}".rstrip("."))
    weight = layer._parameters.get("weight")
    if weight is None:
        raise ValueError(
            f"{owner}: the weight of {path!r} is computed by a parametrization, and has no value to change; remove it: "
            "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
        )
    return weight


def _followed(net: nn.Module) -> dict[str, str]:
    """Return the names of linear layers and of the spiking layers right behind them, in the order of calls.

    Linear layers that are not called as modules, and all if torch.fx cannot trace the network, are those before a
    spiking layer in the order of modules.
    """
    by_modules = dict(_in_order(net))
    try:
        graph = trace(copied(net), "")
    except (ValueError, RuntimeError):
        return by_modules
    modules = {node: net.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
    found = dict[str, str]()
    for node, module in modules.items():
        left, seen = [*node.all_input_nodes] if _spikes(module) else [], set[Any]()
        while left:  # sums and other functions are looked through
            if (before := left.pop()) in seen:
                continue
            seen.add(before)
            if isinstance(modules.get(before), nn.Linear):
                found.setdefault(str(before.target), str(node.target))
            elif before not in modules:
                left += before.all_input_nodes
    called = {str(node.target) for node in modules}
    return found | {path: behind for path, behind in by_modules.items() if path not in called}


def _in_order(net: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of linear layers and of the spiking layers right behind them, in the order of modules."""
    inner: list[str] = []
    before: tuple[str, Any] = "", None
    for path, module in net.named_modules():
        if any(path.startswith(f"{spiking}.") for spiking in inner):
            continue  # recurrent weights, for instance
        if _spikes(module):
            inner.append(path)
            if isinstance(before[1], nn.Linear):
                yield before[0], path
        elif any(True for _ in module.children()):
            continue
        before = path, module


def _spikes(module: nn.Module) -> bool:
    return isinstance(module, StepLayer) and not isinstance(module, TimeNorm)


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(map(repr, names)) or "none"
