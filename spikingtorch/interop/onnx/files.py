"""Graphs as files of ONNX: what an exporter has left in them goes out, and a description goes in."""

import json
import os
import re
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir.passes import common

import spikingtorch
from spikingtorch.interop.onnx import scan
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.stepping import SPIKES

OPSET = 18


def names_of(graph: ir.Graph, name: str, axes: dict[int, str]) -> dict[str, str]:
    """Return the names of the free sizes, by those that torch has given to an input."""
    shape: Any = next(value.shape for value in graph.inputs if value.name == name)
    sizes: Any = [*[shape[axis] for axis in axes], *[each.shape[0] for each in graph.inputs if each.shape]]
    if any(isinstance(size, int) for size in sizes):
        raise ONNXError(
            "torch's exporter fixes the number of samples or steps, as it does if code writes on a part of a tensor in "
            "place, such as x.unbind(1)[0].mul_(2.0); compute a new tensor"
        )
    return {str(shape[axis].value): name for axis, name in axes.items()}


def finish(model: ir.Model, names: dict[str, str]) -> None:
    """Name the free sizes of a graph, and leave out what only torch's exporter needed."""
    graph = model.graph
    for value in (*graph.inputs, *graph.outputs):
        value.shape = ir.Shape([_renamed(size, names) for size in value.shape or ()])
    for node in graph:
        for output in node.outputs:
            if output not in graph.outputs:
                output.shape = None
        node.metadata_props.clear()
    model.opset_imports.pop(scan.DOMAIN, None)
    tidy(model)


def without_spikes(model: ir.Model) -> None:
    """Leave out the outputs of layers, which are the last ones of a Scan over all."""
    for value in [each for each in reversed(model.graph.outputs) if str(each.name).startswith(SPIKES)]:
        node: Any = value.producer()
        model.graph.outputs.remove(value)
        if node.op_type == "Scan":
            node.resize_outputs(len(node.outputs) - 1)
            node.attributes["body"].as_graph().outputs.pop()
    tidy(model)


def tidy(model: ir.Model) -> None:
    """Leave out what nothing uses, and give each value a name that no other one has, also inside of bodies."""
    for each in (common.RemoveUnusedNodesPass(), common.RemoveUnusedOpsetsPass(), common.NameFixPass()):
        each(model)


def content_of(model: ir.Model, described: dict[str, Any]) -> bytes:
    """Return the content of a file with a description in its metadata."""
    model.producer_name, model.producer_version = "spikingtorch", spikingtorch.__version__
    model.metadata_props["spikingtorch"] = json.dumps({"version": spikingtorch.__version__, **described})
    return bytes(ir.to_proto(model).SerializeToString())


def save(content: bytes, path: Path) -> None:
    """Write a file, which takes the place of an older one only when it is whole."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _renamed(size: Any, names: dict[str, str]) -> Any:
    if isinstance(size, int):
        return size
    return re.sub(r"\w+", lambda found: names.get(found.group(), found.group()), str(size.value))
