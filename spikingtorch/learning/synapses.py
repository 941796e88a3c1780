"""The plastic synapses of a network, and the spikes on both sides of them in one call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from spikingtorch import validation as checks
from spikingtorch.axes import samples_first, sizes
from spikingtorch.functional import lift
from spikingtorch.functional.core.network_mode import NetworkMode
from spikingtorch.functional.core.sharing import copied
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.time_norm import TimeNorm
from spikingtorch.step_graph.trace import trace
from spikingtorch.watching.fires import fires
from spikingtorch.watching.recording import record


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
        if behind is not None and not _spikes(modules.get(behind)):
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
        if isinstance(module, StepLayer):
            inner.append(path)
            if isinstance(before[1], nn.Linear) and _spikes(module):
                yield before[0], path
        elif any(True for _ in module.children()):
            continue
        before = path, module


def _spikes(module: nn.Module | None) -> bool:
    return isinstance(module, StepLayer) and not isinstance(module, TimeNorm) and fires(module)


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(map(repr, names)) or "none"


class Trains(NamedTuple):
    """The spikes on both sides of a synapse in one call, (N, T, I) and (N, T, O)."""

    pre: Tensor
    post: Tensor


class Watched(NamedTuple):
    """A call of a network: the spikes by the name of the linear layer, and the output."""

    trains: dict[str, Trains]
    running: Tensor | None  # the steps of the samples that are not padding, (N, T); None if all are
    out: Any


class Inputs(NetworkMode):
    """Keeps the inputs of linear layers, by the name of the layer to which the weight belongs.

    ``paths`` has these names by the ids of weights. ``called`` is told the name of a layer that is called, and its
    inputs so far.
    """

    def __init__(self, paths: dict[int, str], called: Callable[[str, list[Tensor]], None] = lambda *_: None) -> None:
        super().__init__()
        self._paths, self._called = paths, called
        self.found: dict[str, list[Tensor]] = {path: [] for path in paths.values()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and keep its input."""
        out = func(*args, **(kwargs or {}))
        self.saw(func, out, args, kwargs or {})
        return out

    def saw(self, func: Any, out: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        """Keep the input of a linear function, if its weight is plastic."""
        if func is not nnf.linear:
            return
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        path = self._paths.get(id(given["weight"]))
        if path is not None:
            self._called(path, self.found[path])
            # a copy, because the network may write on it later
            self.found[path].append(given["input"].detach().clone())

    def mark(self) -> dict[str, int]:
        """Return the number of inputs so far."""
        return {path: len(parts) for path, parts in self.found.items()}

    def rewind(self, mark: Any) -> None:
        """Forget the inputs after a mark, because their steps run again."""
        self.found = {path: parts[: mark[path]] for path, parts in self.found.items()}


def watch(
    owner: str,
    model: Any,
    synapses: Mapping[str, str],
    x: Tensor,
    options: Mapping[str, Any],
    *,
    in_order: bool = False,
) -> Watched:
    """Run a network, without a graph, and return the spikes of its synapses.

    ``in_order`` tells whether ``synapses_of`` has found spiking layers by the order of modules, which need not be that
    of calls.

    Raises:
        ValueError: the network does not call a linear layer once a step, on (N, I), or not with its own weight; or it
            calls a layer that was found by the order of modules before the linear one.
    """
    paths = {id(model.net.get_submodule(path).weight): path for path in synapses}
    N, T = sizes(x, model.batch_first)
    inputs = Inputs(paths, partial(_check_order, owner, model.net, synapses, N) if in_order else lambda *_: None)
    layers = list(dict.fromkeys(synapses.values()))
    with torch.no_grad():
        recording = model.watched(inputs, partial(record, model, x, layers=layers, **options))
        running = _running(options.get("lengths"), N, T, x.device)
        trains = {}
        for path, behind in synapses.items():
            if behind not in recording:
                raise ValueError(
                    f"{owner}: the network did not call {behind!r}, which {path!r} is to feed; name others"
                )
            post = samples_first(recording[behind]["spikes"], model.batch_first)
            # a padded batch runs as many steps as its longest sample
            pre = _joined(owner, path, inputs.found[path], N, T if running is None else int(running.sum(1).max()))
            pre = nnf.pad(pre, (0, 0, 0, T - pre.shape[1]))
            layer: Any = model.net.get_submodule(path)
            if post.shape[2:] != (layer.out_features,):
                raise ValueError(
                    f"{owner}: {path!r} has {layer.out_features} outputs, but {behind!r} has neurons of shape "
                    f"{tuple(post.shape[2:])}; name the layer that it feeds: layers={{{path!r}: 'lif'}}"
                )
            trains[path] = Trains(lift(pre), lift(post))
    return Watched(trains, running, recording.out)


def _check_order(owner: str, net: Any, synapses: Mapping[str, str], N: int, path: str, parts: list[Tensor]) -> None:
    """Raise if a spiking layer has already taken the step for which a linear layer is called."""
    behind = synapses[path]
    recorder = net.get_submodule(behind)._cell.recorder
    if recorder is not None and recorder.steps * N > sum(part.shape[0] for part in parts):
        raise ValueError(
            f"{owner}: {behind!r} comes behind {path!r} in the order of modules, but the network calls it before. Name "
            f"the layer that it feeds: layers={{{path!r}: 'lif'}}"
        )


def _running(lengths: Any, N: int, T: int, device: torch.device) -> Tensor | None:
    if lengths is None:
        return None
    ends = checks.check_lengths("SpikingNet", lengths, N, T).to(device)
    return torch.arange(T, device=device) < ends[:, None]


def _joined(owner: str, path: str, parts: list[Tensor], N: int, T: int) -> Tensor:
    """Return the inputs of a layer, (N, T, I), from those of each call of it, (N steps, I)."""
    if any([part.ndim != 2 for part in parts]):
        shape = next(tuple(part.shape) for part in parts if part.ndim != 2)
        raise ValueError(f"{owner}: {path!r} gets inputs of shape {shape}, expected (N, features); flatten them first")
    steps = sum(part.shape[0] for part in parts) // max(N, 1)
    if not parts or (N and steps != T):
        raise ValueError(
            f"{owner}: the network uses the weight of {path!r} in {steps} calls for {T} steps, expected one call a "
            "step, by nn.Linear or functional.event_linear"
        )
    if N == 0:
        return parts[0].new_zeros(0, T, parts[0].shape[-1])
    return torch.cat([part.view(N, -1, part.shape[-1]) for part in parts], 1)
