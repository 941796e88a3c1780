"""Run a network and return the spikes on both sides of its plastic synapses."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.axes import samples_first, sizes
from spikingtorch.functional import lift
from spikingtorch.functional.core.network_mode import NetworkMode
from spikingtorch.watching.recording import record


class Trains(NamedTuple):
    """The spikes on both sides of a synapse in one call, (N, T, I) and (N, T, O)."""

    pre: Tensor
    post: Tensor


class Watched(NamedTuple):
    """A call of a network.

    Attributes:
        trains: the spikes by the name of the linear layer.
        running: the steps of the samples that are not padding, (N, T); None if all are.
        out: the output of the network.
    """

    trains: dict[str, Trains]
    running: Tensor | None
    out: Any


class Inputs(NetworkMode):
    """Keeps the inputs of linear layers, by the name of the layer to which the weight belongs.

    Args:
        paths: the names of the layers, by the ids of their weights.
        called: told the name of a layer and its inputs so far, when it is called.
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

    Args:
        owner: for messages.
        model: a SpikingNet.
        synapses: the names of linear layers, each with that of the spiking layer that it feeds.
        x: input of the network.
        options: further arguments of the call, ``init`` and ``lengths``.
        in_order: whether the spiking layers were found by the order of modules, which need not be that of calls.

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
