"""A network as a graph of ONNX: exported by torch, with each scan of this library written as operators.

A network that folds is exported with all steps, and a Scan runs each neuron. Of one that does not, a single step is
exported, and becomes the body of one Scan.
"""

import ast
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spikingtorch.functional.core.sharing import copied
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.interop.onnx import scan
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.rules import Value
from spikingtorch.interop.onnx.stepping import in_one_scan
from spikingtorch.layers.delayed_recurrence import DelayedRecurrence
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.streams import key_name
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.pure import run

OPSET = 18
_SIZE = r"L\[[^<>*+%/]*\.size\(\)\[\d+\]"
_SAME_SIZE = rf"{_SIZE} == {_SIZE}"
# torch's exporter changes filters of warnings and levels of loggers, which threads share
LOCK = threading.RLock()
# sizes of the example that torch traces; its exporter takes 0 and 1 for constants
_SAMPLES, _STEPS = 2, 3


class Graph(NamedTuple):
    """A graph, and what an examination of it asks for."""

    model: ir.Model
    spikes: dict[str, Value]  # of each layer, over time as the outputs are
    why: str | None  # why one Scan runs the whole network, if it does


class Traced(nn.Module):
    """One call of a network: from its state and an input to the outputs and the next state."""

    def __init__(self, model: SpikingNet, axis: int | None = None) -> None:
        super().__init__()
        self.model, self.axis = model, axis

    def forward(self, state: dict[str, Tensor], x: Tensor) -> Any:
        """Return outputs and state; with an axis, those of one step, without this axis of time."""
        after, _, out = run(self.model, state, x if self.axis is None else x.unsqueeze(self.axis))
        outs = [*outputs_of(out).values()]
        return outs if self.axis is None else [each.squeeze(self.axis) for each in outs], after


def graph_of(model: SpikingNet, x: Tensor, nan: bool) -> Graph:
    """Return the graph of a network in evaluation, which is prepared, for an input (N, T, ...) or (T, N, ...).

    Its inputs are x and the states, and its outputs out and the states after the last step; N and T are free.
    """
    if later := [path for path, each in model.net.named_modules() if isinstance(each, DelayedRecurrence)]:
        raise ONNXError(
            f"{later[0]!r} delays the spikes that come back, which no file takes; nn.Linear does not delay them"
        )
    samples, steps = (0, 1) if model.batch_first else (1, 0)
    example = x
    for axis, size in ((samples, _SAMPLES), (steps, _STEPS)):
        example = example.index_select(axis, torch.arange(size) % x.shape[axis])
    drawn = torch.get_rng_state()
    with torch.no_grad():
        outs = [*outputs_of(model(example))]
    if not torch.equal(drawn, torch.get_rng_state()):
        raise ONNXError("the network draws random numbers, which a file cannot hold; export neurons without noise")
    report, state = model.explain(), model.get_state()
    folds = report.mode == "fold"
    if not folds:
        model.mode = "step"
    axes = {samples: "N", steps: "T"} if folds else {0: "N"}
    whole, given = (Traced(model), example) if folds else (Traced(model, steps), example.select(steps, 0))
    sizes = {name: {0: "N"} for name in state}, axes
    inputs = [*[f"state.{name}" for name in state], "x"]
    made = exported(whole, (state, given), sizes, inputs, [*outs, *[f"next.{name}" for name in state]])
    spikes = with_scans(made.graph, nan)
    names = names_of(made.graph, "x", axes)
    if not folds:
        made.graph = in_one_scan(made.graph, len(outs), steps)
    finish(made, names)
    # inside of a step, spikes have no steps
    return Graph(made, spikes, None) if folds else Graph(made, {}, report.reason)


def exported(whole: nn.Module, given: Any, axes: Any, inputs: list[str], outputs: list[str]) -> ir.Model:
    """Return the graph that torch exports of a module, with a node ``spikingtorch::Scan`` for each scan.

    Args:
        whole: the module.
        given: its arguments.
        axes: in the form of the arguments, dicts of the free axes to their names.
        inputs: names of the tensors that it takes.
        outputs: names of those that it gives out.
    """
    free = {name: torch.export.Dim(name, min=2) for name in ("N", "T")}
    sizes = pytree.tree_map(free.__getitem__, axes)
    options: Any = {"input_names": inputs, "output_names": outputs, "opset_version": OPSET, "verbose": False}
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(whole, given, dynamic_shapes=sizes, strict=False)
            _check(program)
            program = program.run_decompositions({torch.ops.spikingtorch.scan_exported.default: scan.symbolic})
            made: Any = torch.onnx.export(program, dynamo=True, **options)
    except ONNXError:
        raise
    except Exception as error:
        if found := re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(error)):
            what = f"the network computes {found[1]}, for which torch has no operator of ONNX"
            raise ONNXError(f"{what}; compute it from other functions, or outside of the network") from error
        said = next(iter(str(error).strip().splitlines()), "")
        raise ONNXError(
            f"torch.export does not take the network ({type(error).__name__}: {said}). Its forward may not branch on "
            "values"
        ) from error
    model: ir.Model = made.model
    return model


def outputs_of(out: Any) -> dict[str, Tensor]:
    """Return the outputs of a network by the names that they have in a file."""
    leaves, _ = pytree.tree_flatten_with_path(out)
    return {".".join(["out", *[key_name(key) for key in keys]]): leaf for keys, leaf in leaves}


def prepared(model: SpikingNet) -> SpikingNet:
    """Return a copy of a network whose parameters are numbers: computed weights and time constants are computed once.

    A runtime of ONNX rounds ``exp`` differently than torch, and a time constant acts on every step.
    """
    own = copied(model).requires_grad_(False)
    plain = {"recompute": False, "truncate": False, "time_chunk": None, "warn_silent": False}
    for name, value in plain.items():
        setattr(own, name, value)
    for module in [each for each in own.modules() if parametrize.is_parametrized(each)]:
        _without_parametrizations(module)
    for module in own.modules():
        if isinstance(module, StepLayer):
            params = module.step_params()
            object.__setattr__(module, "step_params", lambda params=params: dict(params))
    own.reset()
    return own


def _without_parametrizations(module: Any) -> None:
    """Store computed weights as they are; torch's own function would change the class, which the copies share."""
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    module.__class__ = type(module).__mro__[1]
    del module._modules["parametrizations"]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def _check(program: Any) -> None:
    """Raise ONNXError for a branch on sizes, of which a file has one side, and for what torch translates wrongly."""
    for guard in getattr(program, "_guards_code", ()):
        if not re.fullmatch(_SAME_SIZE, guard):
            raise ONNXError(
                f"the network branches on the number of samples or steps ({guard}), and a file has one branch"
            )
    if any(str(node.target).startswith("aten.atan2") for node in program.graph.nodes):
        raise ONNXError(
            "the network computes atan2, whose operators of ONNX give -pi for pi; compute it in another way"
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


def with_scans(graph: ir.Graph, nan: bool) -> dict[str, Value]:
    """Write the scans of a graph, in place, and return the spikes of the layers that they are of."""
    spikes: dict[str, Value] = {}
    for node in [*graph]:
        if node.domain == scan.DOMAIN:
            nodes, results = scan.written(node, nan)
            states = len(results) - node.attributes["outs"].as_int()
            spikes[_path_of(node)] = results[states]
            ir.convenience.replace_nodes_and_values(graph, node, [node], nodes, [*node.outputs], results)
    return spikes


def _path_of(node: ir.Node) -> str:
    """Return the path of the layer in whose call torch has met a node."""
    scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
    inside = [scope.removeprefix("model.net").removeprefix(".") for scope in scopes if scope.startswith("model.net")]
    return max(inside, key=len, default="")


def names_of(graph: ir.Graph, name: str, axes: dict[int, str]) -> dict[str, str]:
    """Return the names of the free sizes, by those that torch has given to an input."""
    shape: Any = next(value.shape for value in graph.inputs if value.name == name)
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


def tidy(model: ir.Model) -> None:
    """Leave out what nothing uses, and give each value a name that no other one has, also inside of bodies."""
    for each in (common.RemoveUnusedNodesPass(), common.RemoveUnusedOpsetsPass(), common.NameFixPass()):
        each(model)


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
