"""A network as a graph of ONNX: exported by torch, with each scan of this library written as operators.

A network that folds is exported with all steps, and a Scan runs each neuron. Of one that does not, a single step is
exported, and becomes the body of one Scan.
"""

import ast
import copy
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spikingtorch.functional import lift
from spikingtorch.functional.core.sharing import copied
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.interop.onnx import scan
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.files import OPSET, finish, names_of
from spikingtorch.interop.onnx.rules import Value
from spikingtorch.interop.onnx.stepping import SPIKES, in_one_scan
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.delayed_recurrence import DelayedRecurrence
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.streams import key_name, rest_of
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.pure import run

_SIZE = r"L\[[^<>*+%/]*\.size\(\)\[\d+\]"
_SAME_SIZE = rf"{_SIZE} == {_SIZE}"
# torch's exporter changes filters of warnings and levels of loggers, which threads share
LOCK = threading.RLock()
# sizes of the example that torch traces; its exporter takes 0 and 1 for constants
_SAMPLES, _STEPS = 2, 3


class Traced(nn.Module):
    """One call of a network; with an axis of time, one step, whose arguments and results are without this axis."""

    def __init__(self, model: SpikingNet, axis: int | None = None) -> None:
        super().__init__()
        self.model, self.axis = model, axis
        self.spikes: dict[str, list[Tensor]] = {}  # what each layer has given out in a step
        if axis is not None:  # a copy, on which the network may write
            model.net.register_forward_pre_hook(lambda _, given: (given[0].clone(), *given[1:]))
        for path, layer in model.net.named_modules() if axis is not None else ():
            if isinstance(layer, StepLayer):
                layer.register_forward_hook(partial(self._note, path))

    def _note(self, path: str, layer: Any, *_: Any) -> None:
        self.spikes.setdefault(path, []).append(pytree.tree_leaves(layer.s)[0])

    def forward(self, state: dict[str, Tensor], x: Tensor) -> Any:
        """Return outputs, the spikes of layers that a step calls once, and the next state."""
        self.spikes.clear()
        after, _, out = run(self.model, state, x if self.axis is None else x.unsqueeze(self.axis))
        outs = [each if self.axis is None else each.squeeze(self.axis) for each in named("out", out).values()]
        return [*outs, *[calls[0] for calls in self.spikes.values() if len(calls) == 1]], after


def graph_of(model: SpikingNet, x: Tensor, nan: bool) -> tuple[ir.Model, str | None]:
    """Return the graph of a prepared network for an input (N, T, ...) or (T, N, ...), and why it is one Scan, if it is.

    Its inputs are x and the states. Its outputs are out, the states after the last step, and for an examination the
    ``spikes.<path>`` of layers, with time first. N and T are free.
    """
    samples, steps = (0, 1) if model.batch_first else (1, 0)
    example = sized(sized(x, samples, _SAMPLES), steps, _STEPS)
    drawn = torch.get_rng_state()
    with torch.no_grad():
        outs = [*named("out", model(example))]
    if not torch.equal(drawn, torch.get_rng_state()):
        raise ONNXError("the network draws random numbers, which a file cannot hold; export neurons without noise")
    why, state = _why_one_scan(model.explain()), rest_of(model.net, _SAMPLES)
    for path, layer in model.net.named_modules():
        if isinstance(layer, StatefulLayer) and not any(name.startswith(path and f"{path}.") for name in state):
            layer.memoryless = True  # it is not called, so that there is no state to hand on
    whole, given, axes = Traced(model), example, {samples: "N", steps: "T"}
    if why is not None:
        model.mode = "step"
        whole, given, axes = Traced(model, steps), example.select(steps, 0), {0: "N"}
        with torch.no_grad():
            whole(state, given)
        outs += [f"{SPIKES}{path}" for path, calls in whole.spikes.items() if len(calls) == 1]
        if any(len(calls) > 1 for calls in whole.spikes.values()):
            why += "; spikes of a layer that a step calls more than once are not compared"
    sizes = {name: {0: "N"} for name in state}, axes
    inputs = [*[f"state.{name}" for name in state], "x"]
    made = exported(whole, (state, given), sizes, inputs, [*outs, *[f"next.{name}" for name in state]])
    for path, spikes in with_scans(made.graph, nan).items():
        node = ir.node("Identity", [spikes])
        node.outputs[0].name, node.outputs[0].type = f"{SPIKES}{path}", spikes.type
        made.graph.append(node)
        made.graph.outputs.append(node.outputs[0])
    names = names_of(made.graph, "x", axes)
    if why is not None:
        made.graph = in_one_scan(made.graph, len(outs), steps)
    finish(made, names)
    return made, why


def _why_one_scan(report: Any) -> str | None:
    """Return why the steps of a network run one by one; None if all of its layers run over time."""
    looped = [f"{each.path!r} runs {each.backend.reason}" for each in report.layers if each.backend.backend == "loop"]
    return str(report.reason) if report.mode == "step" else next(iter(looped), None)


def exported(whole: nn.Module, given: Any, axes: Any, inputs: list[str], outputs: list[str]) -> ir.Model:
    """Return the graph that torch exports of a module for given arguments, a node ``spikingtorch::Scan`` for each scan.

    ``axes`` has the form of the arguments, and a dict of the free axes to their names for each tensor.
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


def named(root: str, tree: Any) -> dict[str, Tensor]:
    """Return the tensors of a tree by the names that they have in a file."""
    leaves, _ = pytree.tree_flatten_with_path(tree)
    return {".".join([root, *[key_name(key) for key in keys]]): leaf for keys, leaf in leaves}


def sized(x: Tensor, axis: int, size: int) -> Tensor:
    """Return x with another number of entries along an axis, the first ones, again and again."""
    return x.index_select(axis, torch.arange(size) % x.shape[axis])


def prepared(model: SpikingNet) -> SpikingNet:
    """Return a copy of a network whose parameters are numbers: computed weights and time constants are computed once.

    A runtime of ONNX rounds ``exp`` differently than torch, and a time constant acts on every step.
    """
    own = copied(model).requires_grad_(False)
    own.recompute = own.truncate = own.warn_silent = False
    own.time_chunk = None
    for module in [each for each in own.modules() if parametrize.is_parametrized(each)]:
        _without_parametrizations(module)
    _give_each_place_a_module(own)
    for module in own.modules():
        if isinstance(module, StepLayer):
            object.__setattr__(module, "step_params", partial(dict, module.step_params()))
        elif isinstance(module, DelayedRecurrence):
            object.__setattr__(module, "spread", partial(lift, module.spread()))
    own.reset()
    return own


def _give_each_place_a_module(model: SpikingNet) -> None:
    """Put a copy, with the same weights, where a module stands again: torch hands out stand-ins for modules there."""
    known = set[Any]()
    places: list[Any] = [(path, owner, name) for path, owner in model.named_modules() for name in owner._modules]
    for path, owner, name in places:
        if (module := owner._modules[name]) is not None:
            if module in known:
                if any(isinstance(each, StatefulLayer) for each in module.modules()):
                    raise ONNXError(f"{path}.{name} has a state, and stands at two places; give each its own layer")
                weights = (*module.parameters(), *module.buffers())
                owner._modules[name] = copy.deepcopy(module, {id(each): each for each in weights})
            known.add(module)


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
