"""A network as a graph of ONNX: exported by torch, with each scan of this library written as operators."""

import copy
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.interop.onnx import scan
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.pure import run

OPSET = 18
# sizes of the example that torch traces; its exporter takes 0 and 1 for constants
_SAMPLES, _STEPS = 2, 3


class Traced(nn.Module):
    """One call of a network: from its state and an input to the output and the next state."""

    def __init__(self, model: SpikingNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, state: dict[str, Tensor], x: Tensor) -> Any:
        """Return output and state."""
        after, _, out = run(self.model, state, x)
        return out, after


def graph_of(model: SpikingNet, x: Tensor, nan: bool) -> ir.Model:
    """Return the graph of a network in evaluation, which is prepared, for an input (N, T, ...) or (T, N, ...).

    Its inputs are x and the states, and its outputs out and the states after the last step; N and T are free.
    """
    samples, steps = (0, 1) if model.batch_first else (1, 0)
    example = x
    for axis, size in ((samples, _SAMPLES), (steps, _STEPS)):
        example = example.index_select(axis, torch.arange(size) % x.shape[axis])
    with torch.no_grad():
        model(example)
        state = model.get_state()
        N, T = torch.export.Dim("N", min=2), torch.export.Dim("T", min=2)
        sizes = {name: {0: N} for name in state}, {samples: N, steps: T}
        program = torch.export.export(Traced(model), (state, example), dynamic_shapes=sizes, strict=False)
        _check_random(program)
        program = program.run_decompositions({torch.ops.spikingtorch.scan_exported.default: scan.symbolic})
        outs = outputs_of(model(example))
        names = [f"state.{name}" for name in state] + ["x"], [*outs, *[f"next.{name}" for name in state]]
        with _quiet():
            made: Any = torch.onnx.export(
                program, input_names=names[0], output_names=names[1], opset_version=OPSET, dynamo=True, verbose=False
            )
    return _finished(made.model, nan, samples, steps)


def outputs_of(out: Any) -> dict[str, Tensor]:
    """Return the outputs of a network by the names that they have in a file."""
    if isinstance(out, dict):
        return {f"out.{name}": value for name, value in out.items()}
    if isinstance(out, Tensor):
        return {"out": out}
    return {f"out.{place}": value for place, value in enumerate(leaves_of(out))}


def prepared(model: SpikingNet) -> SpikingNet:
    """Return a copy of a network whose parameters are numbers: computed weights and time constants are computed once.

    A runtime of ONNX rounds ``exp`` differently than torch, and a time constant acts on every step.
    """
    copied = copy.deepcopy(model).requires_grad_(False)
    for module in copied.modules():
        for name in [*getattr(module, "parametrizations", ())]:
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    for module in copied.modules():
        if isinstance(module, StepLayer):
            params = module.step_params()
            object.__setattr__(module, "step_params", lambda params=params: dict(params))
    copied.reset()
    return copied


def _check_random(program: Any) -> None:
    """Raise ONNXError if an exported program draws random numbers."""
    for node in program.graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags:
            raise ONNXError(
                f"the network draws random numbers ({node.target.name()}), which a file cannot hold; export a network "
                "of neurons without noise"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what torch's exporter says of itself: that it skips torchvision, and that its warnings are experimental."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _finished(model: ir.Model, nan: bool, samples: int, steps: int) -> ir.Model:
    """Write the scans of a graph, and name its free sizes N and T."""
    graph = model.graph
    for node in [*graph]:
        if node.domain == scan.DOMAIN:
            nodes, results = scan.written(node, nan)
            ir.convenience.replace_nodes_and_values(graph, node, [node], nodes, [*node.outputs], results)
    x = next(value for value in graph.inputs if value.name == "x")
    shape: Any = x.shape
    names = {str(shape[samples]): "N", str(shape[steps]): "T"}
    for value in (*graph.inputs, *graph.outputs):
        value.shape = ir.Shape([_renamed(size, names) for size in value.shape or ()])
    for node in graph:
        for output in node.outputs:
            if output not in graph.outputs:
                output.shape = None
        node.metadata_props.clear()
    model.opset_imports.pop(scan.DOMAIN, None)
    for each in (common.RemoveUnusedNodesPass(), common.RemoveUnusedOpsetsPass(), common.NameFixPass()):
        each(model)
    return model


def _renamed(size: Any, names: dict[str, str]) -> Any:
    if isinstance(size, int):
        return size
    return re.sub(r"\w+", lambda found: names.get(found.group(), found.group()), str(size.value))
