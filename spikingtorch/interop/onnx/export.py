"""Write a network as a file of ONNX, with the loop over time inside."""

import json
import warnings
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

import spikingtorch
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.sharing import copied
from spikingtorch.interop.onnx import network
from spikingtorch.interop.onnx.certificate import SPIKES, certified
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.stepping import start_at_rest
from spikingtorch.interop.verdict import Certificate
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.streams import rest_of
from spikingtorch.spikingnet import SpikingNet


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
    with network.LOCK:
        return _export(checked(model, x), x, Path(path), state, nan, certify)


def _export(whole: SpikingNet, x: Tensor, path: Path, state: bool, nan: bool, certify: bool) -> Certificate | None:
    ready = network.prepared(whole)
    graph = network.graph_of(ready, x, nan)
    made, rest = graph.model, rest_of(ready.net, 1)
    if not state:
        start_at_rest(made.graph, {name: each.numpy() for name, each in rest.items()}, 0 if whole.batch_first else 1)
        network.tidy(made)
    made.producer_name, made.producer_version = "spikingtorch", spikingtorch.__version__
    made.metadata_props["spikingtorch"] = json.dumps(_described(whole, rest))
    certificate = _certificate(whole, x, graph, state) if certify else None
    network.save(ir.to_proto(made).SerializeToString(), path)
    return certificate


def _certificate(model: SpikingNet, x: Tensor, graph: network.Graph, state: bool) -> Certificate:
    """Return the certificate of a graph; warn of a difference by rounding, and raise ONNXError for any other one."""
    whole = graph.model.graph
    shown = [ir.node("Identity", [spikes]) for spikes in graph.spikes.values()]
    for node, (path, spikes) in zip(shown, graph.spikes.items(), strict=True):
        node.outputs[0].name, node.outputs[0].type = f"{SPIKES}{path}", spikes.type
        whole.append(node)
        whole.outputs.append(node.outputs[0])
    content = ir.to_proto(graph.model).SerializeToString()
    for node in shown:
        whole.outputs.remove(node.outputs[0])
        whole.remove(node)
    how = "" if graph.why is None else f", one Scan over all of it because {graph.why}"
    own = copied(model)
    own.mode = model.mode if graph.why is None else "step"
    found = certified(own, x, content, state)
    found = found._replace(settings=found.settings + how)
    if not found.within_rounding:
        raise ONNXError(f"the file and the network have different outputs.\n{found}")
    if not found.equal:
        warnings.warn(
            "onnx.export: a membrane lies so near to its threshold that rounding decides; network and file differ from "
            f"there on.\n{found}",
            UserWarning,
            stacklevel=level_of_user(),
        )
    return found


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
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if any(not type(hook).__module__.startswith("spikingtorch.") for hook in hooks):
            raise ONNXError(f"module {path or 'model'!r} has a forward hook, which a file cannot hold; remove it")
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
    layers: dict[str, Any] = {
        name: layer for name, layer in model.net.named_modules() if isinstance(layer, StatefulLayer)
    }
    values = {name: torch.unique(value).tolist() for name, value in rest.items()}
    uniform = {name: found[0] for name, found in values.items() if len(found) == 1}
    return {
        "version": spikingtorch.__version__,
        "axes": "N, T" if model.batch_first else "T, N",
        "layers": {name: type(layer).__name__ for name, layer in layers.items()},
        "dt": {name: torch.as_tensor(layer.dt).tolist() for name, layer in layers.items() if hasattr(layer, "dt")},
        "rest": uniform,
    }
