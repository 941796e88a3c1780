"""Write a network as a file of ONNX, with the loop over time inside."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from spikingtorch.axes import samples_first
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.sharing import copied
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.interop.onnx import files, network
from spikingtorch.interop.onnx.certificate import certified
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.stepping import start_at_rest
from spikingtorch.interop.verdict import Certificate
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.batch_norm import takes_statistics
from spikingtorch.layers.streams import rest_of
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.pure import run


def export(
    model: Any, x: Tensor, path: str | Path, *, state: bool = True, nan: bool = True, certify: bool = True
) -> Certificate | None:
    """Write a network as a file of ONNX that runs any number of steps of any number of samples.

    The inputs of the file are ``x`` and ``state.<name>``, its outputs ``out`` and ``next.<name>``: hand the state on to
    continue a stream, from ``rest(model, N)``. Names of states are those of ``model.get_state()``. Several outputs are
    ``out.0``, ``out.1``, or ``out.<key>`` of a dict. It holds standard operators of opset 18, and nothing of this
    library. Layers between neurons run once over all steps, and a Scan runs each neuron.

    Args:
        model: the network, in evaluation, which is not changed; or a single layer.
        x: an input of it, (N, T, ...), or (T, N, ...) with ``batch_first=False``; N and T are free in the file.
        path: of the file.
        state: whether the file takes and gives the state; without it, each call starts at rest.
        nan: whether a NaN goes on as in this library; leaving it out saves two operations for each neuron.
        certify: whether to run the file and to compare it with the network.

    Returns:
        The certificate, a table to print; None without ``certify``.

    Raises:
        ONNXError: the network is in training mode, draws random numbers, has a hook, or computes something that has no
            operator; or the file computes something else than the network.
        TypeError: model is no SpikingNet and no layer.
    """
    whole = checked(model, x)
    with network.LOCK:
        ready = network.prepared(whole)
        made, why = network.graph_of(ready, x, nan)
        rest = rest_of(ready.net, 1)
        if not state:
            start_at_rest(
                made.graph, {name: each.numpy() for name, each in rest.items()}, 0 if whole.batch_first else 1
            )
            files.tidy(made)
        certificate = _certificate(whole, x, made, why, state) if certify else None
        files.without_spikes(made)
        files.save(files.content_of(made, _described(whole, rest)), Path(path))
        return certificate


def _certificate(model: SpikingNet, x: Tensor, made: ir.Model, why: str | None, state: bool) -> Certificate:
    """Return the certificate of a graph; warn of a difference by rounding, and raise ONNXError for any other one."""
    own, how = copied(model), "" if why is None else f", one Scan over all of it ({why})"
    own.mode = model.mode if why is None else "step"
    found = certified(own, x, ir.to_proto(made).SerializeToString(), state, how)
    if not found.within_rounding:
        raise ONNXError(f"the file and the network have different outputs{_why_they_differ(own, x)}.\n{found}")
    if not found.equal:
        warnings.warn(
            "onnx.export: a membrane lies so near to its threshold that rounding decides; network and file differ from "
            f"there on.\n{found}",
            UserWarning,
            stacklevel=level_of_user(),
        )
    return found


def _why_they_differ(model: SpikingNet, x: Tensor) -> str:
    """Return the reason in words, if a network starts a sequence differently than from its state at rest."""
    with torch.no_grad():
        out, state = model(x.clone()), model.get_state()
        begin = rest_of(model.net, len(samples_first(x, model.batch_first)))
        after, _, again = run(model, state | begin, x.clone())
    pairs = zip(pytree.tree_leaves((out, state)), pytree.tree_leaves((again, after)), strict=True)
    if all(np.array_equal(*pair, equal_nan=True) for pair in pairs):
        return ""
    return (
        ", because the network starts a sequence (init=True) with something else than its state at rest, with which "
        "the file starts. Give each call in a step a layer of its own, and hand init to layers alone"
    )


def checked(model: Any, x: Any) -> SpikingNet:
    """Return the network to export; raise TypeError or ONNXError if it cannot be."""
    if isinstance(model, StatefulLayer):
        model = SpikingNet(model).train(model.training)
    if not isinstance(model, SpikingNet):
        raise TypeError(f"onnx.export: model is a {type(model).__name__}, expected a SpikingNet or a layer")
    if any(module.training for module in model.modules()):
        raise ONNXError("the network is in training mode, and a file holds evaluation; call model.eval() first")
    if not isinstance(x, Tensor) or x.ndim < 2 or x.numel() == 0:
        raise ONNXError("x is no tensor (N, T, ...) with entries; pass an input of the network")
    if x.dtype not in (torch.float32, torch.float64) or not x.is_cpu:
        raise ONNXError(
            f"x is {x.dtype} on {x.device}, expected float32 or float64 on the CPU; move it and the network"
        )
    for path, module in model.named_modules():
        if any(map(is_lazy, module.parameters(recurse=False))):
            raise ONNXError(f"module {path!r} gets the shape of its weights from an input; call the network: model(x)")
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if any(not type(hook).__module__.startswith("spikingtorch.") for hook in hooks):
            raise ONNXError(f"module {path or 'model'!r} has a forward hook, which a file cannot hold; remove it")
        if takes_statistics(module):
            raise ONNXError(
                f"module {path!r} ({type(module).__name__}) has no running statistics, and normalises by those of its "
                "batch, so that no sample has a result of its own; train it with track_running_stats=True"
            )
    return model


def rest(model: SpikingNet, N: int) -> dict[str, Tensor]:
    """Return the state of a network at rest for N samples, by the names of ``model.get_state()``.

    Raises:
        ONNXError: the network has not been called, so that its sizes are not known.
    """
    found = rest_of(model.net, N)
    if not found and any(not layer.memoryless for layer in model.modules() if isinstance(layer, StatefulLayer)):
        raise ONNXError("the network has not been called, so that its sizes are not known; call it once: model(x)")
    return found


def _described(model: SpikingNet, rest: dict[str, Tensor]) -> dict[str, Any]:
    layers: Any = {name: each for name, each in model.net.named_modules() if isinstance(each, StatefulLayer)}
    values = {name: (torch.unique(value).tolist(), value[0].tolist()) for name, value in rest.items()}
    return {
        "axes": "N, T" if model.batch_first else "T, N",
        "layers": {name: type(layer).__name__ for name, layer in layers.items()},
        "dt": {name: torch.as_tensor(layer.dt).tolist() for name, layer in layers.items() if hasattr(layer, "dt")},
        "rest": {name: found[0] if len(found) == 1 else whole for name, (found, whole) in values.items()},
    }
