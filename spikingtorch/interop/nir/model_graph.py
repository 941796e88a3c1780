"""Trace a network to a graph of calls by torch.fx, with the shapes of one sample at one step."""

import copy
import inspect
import operator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.modules import Scale
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.dropout import SequenceDropout
from spikingtorch.layers.passed_init import InitHook
from spikingtorch.layers.recorder import SPIKES
from spikingtorch.layers.time_norm import TimeNorm

_TORCH = str(Path(torch.__file__).parent)
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# in evaluation, they pass their input on
_PASSING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, SequenceDropout)
_ADDITIONS = (operator.add, torch.add, "add")
# they pass the same numbers on
_COPIES = ("contiguous", "clone", "detach", torch.clone)
_FLATTENING = (torch.flatten, "flatten", "view", "reshape", torch.reshape)


class Op(NamedTuple):
    """One module that is called.

    Attributes:
        path: name of the module in the network, or of the called function, for messages.
        module: the module that is called.
        sources: indices of the ops whose outputs it sums; -1 for the input of the network.
        before: shape of its input for a sample.
        after: shape of its output.
    """

    path: str
    module: nn.Module
    sources: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


class Calls(NamedTuple):
    """The calls of a step.

    Attributes:
        ops: in the order of the calls.
        result: indices of the ops whose sum is the network's output.
        shape: of the input for a sample.
        out: of the output.
    """

    ops: list[Op]
    result: tuple[int, ...]
    shape: tuple[int, ...]
    out: tuple[int, ...]


class _Tracer(fx.Tracer):
    record_stack_traces = True  # messages show the line of the user's forward

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, StatefulLayer):
            check_layer(m, module_qualified_name)
        return isinstance(m, StatefulLayer | Scale) or super().is_leaf_module(m, module_qualified_name)


def calls_of(net: nn.Module, x: Tensor) -> Calls:
    """Return the calls of a network in evaluation, batch norm in the weights before it.

    Args:
        net: a copy, which is changed.
        x: an input of one step, (N, ...).

    Raises:
        NIRError: the network cannot be traced, or has calls that are not supported.
    """
    if isinstance(net, StatefulLayer):
        raise NIRError(
            f"the network is a single {type(net).__name__}; put it into an nn.Sequential, which has names for nodes"
        )
    # arguments beyond the input and init keep their defaults
    _, *others = inspect.signature(net.forward).parameters.values()
    defaults = {each.name: each.default for each in others if each.default is not each.empty and each.name != "init"}
    try:
        traced = fx.GraphModule(net, _Tracer().trace(net, concrete_args=defaults or None))
        values = [defaults.get(each.name, True) for each in others]
        with torch.no_grad():
            ShapeProp(traced).propagate(x, *values)
    except NIRError:
        raise
    except Exception as error:  # any error of forward's code for the placeholder of its input
        raise NIRError(
            f"torch.fx cannot trace {type(net).__name__} ({type(error).__name__}: {error}). Its forward may not branch "
            "on values or sizes of tensors; call torch.fx.symbolic_trace(net) to see where it does"
        ) from error
    return _GraphWalk(traced).calls()


class _GraphWalk:
    """Walk through a traced network and collect its ops."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced = traced
        self.ops: list[Op] = []
        # the value of each node: the ops whose outputs sum to it
        self.sums: dict[fx.Node, tuple[int, ...]] = {}
        self.called: set[str] = set()

    def calls(self) -> Calls:
        """Return the calls."""
        x, *_ = [node for node in self.traced.graph.nodes if node.op == "placeholder"]
        self.sums[x] = (-1,)
        for node in self.traced.graph.nodes:
            if node.op == "call_module":
                self._module(node)
            elif node.op in ("call_function", "call_method"):
                self._function(node)
            elif node.op == "output":
                returned = node.args[0]
                if not isinstance(returned, fx.Node) or returned not in self.sums:
                    raise NIRError(
                        f"the network returns {returned}, expected one tensor; export a network that returns the one "
                        "that matters"
                    )
                return Calls(self.ops, self.sums[returned], _shape(x), _shape(returned))
            elif node.op == "get_attr":
                self._refuse(node, f"the tensor {node.target}", "put it into the weight or bias of a module")
        raise AssertionError("a graph without an output")

    def _module(self, node: fx.Node) -> None:
        path = str(node.target)
        module = self.traced.get_submodule(path)
        source = self._given(node, path)
        if isinstance(module, _PASSING):
            self.sums[node] = self._summed(source, path)
            return
        if isinstance(module, (*_NORMS, TimeNorm)):
            self._norm(node, _in_evaluation(module) if isinstance(module, TimeNorm) else module, path)
            return
        if path in self.called and isinstance(module, StatefulLayer):
            raise NIRError(
                f"layer {path!r} is called twice in a step, but a node of NIR is called once; give each call its "
                "own layer"
            )
        self.called.add(path)
        self._add(node, path, module, source)

    def _add(self, node: fx.Node, path: str, module: nn.Module, source: fx.Node) -> None:
        self.ops.append(Op(path, module, self._summed(source, path), _shape(source), _shape(node)))
        self.sums[node] = (len(self.ops) - 1,)

    def _norm(self, node: fx.Node, norm: Any, path: str) -> None:
        """Merge a batch norm into the weights before it."""
        sources = self._summed(self._given(node, path), path)
        op = self.ops[sources[0]] if len(sources) == 1 and sources[0] >= 0 else None
        # a batch norm after a Linear normalises the axis after the batch, which must be the axis of outputs
        fits = (
            op is not None
            and isinstance(op.module, _WEIGHTED)
            and (not isinstance(op.module, nn.Linear) or len(op.after) == 1)
        )
        if op is None or not fits or norm.running_mean is None or not self._alone(sources[0], node):
            raise NIRError(
                f"{path!r} is a batch norm for which NIR has no node. It has running statistics, but does not "
                "directly follow a Linear or Conv module, so it cannot be merged into its weights"
            )
        if norm.weight is None:  # affine=False
            norm.weight = nn.Parameter(torch.ones_like(norm.running_mean))
            norm.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
        fuse: Any = fuse_linear_bn_eval if isinstance(op.module, nn.Linear) else fuse_conv_bn_eval
        if not isinstance(op.module._parameters.get("weight"), nn.Parameter):
            raise NIRError(
                f"the weight of {op.path!r} is computed, so that the batch norm {path!r} cannot become part of it; "
                "make it a plain one first, with remove_parametrizations or prune.remove"
            )
        self.ops[sources[0]] = op._replace(module=fuse(op.module, norm))
        self.sums[node] = sources

    def _alone(self, index: int, norm: fx.Node) -> bool:
        """Return True if only a batch norm reads the output of an op."""
        users = {user for node, sums in self.sums.items() if index in sums for user in node.users if user is not norm}
        calls = [self.traced.get_submodule(str(user.target)) for user in users if user.op == "call_module"]
        return len(calls) == len(users) and all(isinstance(called, _PASSING) for called in calls)

    def _given(self, node: fx.Node, path: str) -> fx.Node:
        """Return the argument of a module's call."""
        found = [each for each in node.all_input_nodes if each in self.sums]
        if len(found) != 1:
            raise NIRError(f"{path!r} is called with {len(found)} values that come from the input, expected one")
        return found[0]

    def _function(self, node: fx.Node) -> None:
        target: Any = node.target
        name = getattr(target, "__name__", str(target))
        if "tensor_meta" not in node.meta:  # a size, for instance
            return
        given = [each for each in node.all_input_nodes if each in self.sums]
        plain_sum = target in _ADDITIONS and node.kwargs.get("alpha", 1) == 1 and len(node.args) == 2
        if plain_sum and len(given) == 2 and _shape(given[0]) == _shape(given[1]):
            self.sums[node] = self._summed(given[0], name) + self._summed(given[1], name)
            if len(set(self.sums[node])) < len(self.sums[node]):
                self._refuse(node, "a sum of one value with itself", "put the factor into a weight")
        elif target in _FLATTENING and len(given) == 1:
            self._flatten(node, given[0], name)
        elif len(given) == 1 and (target in _COPIES or _is_off(node)):
            self.sums[node] = self._summed(given[0], name)
        elif target is nnf.avg_pool2d and len(given) == 1:
            options: dict[str, Any] = {key: value for key, value in node.kwargs.items() if key != "input"}
            sizes: Any = node.args[1:]
            self._add(node, name, nn.AvgPool2d(*sizes, **options), given[0])
        elif given:
            self._refuse(
                node,
                f"a call of {name}",
                "use modules of torch.nn that NIR has a node for: Linear, Conv1d, Conv2d, "
                "AvgPool2d, Flatten, and sums of two values of one shape",
            )

    def _flatten(self, node: fx.Node, source: fx.Node, name: str) -> None:
        """Add a flattening of all axes from a given one; views that keep the shape pass their input on."""
        before, after = _shape(source), _shape(node)
        if source.meta["tensor_meta"].shape[0] != node.meta["tensor_meta"].shape[0]:
            self._refuse(node, f"a {name} that mixes samples", "keep the first axis")
        if before == after:
            self.sums[node] = self._summed(source, name)
            return
        kept = len(after) - 1
        if kept < 0 or len(after) > len(before) or before[:kept] != after[:kept]:
            self._refuse(node, f"a {name} of {before} to {after}", "flatten the last axes: nn.Flatten()")
        self._add(node, name, nn.Flatten(kept + 1), source)

    def _summed(self, source: Any, path: str) -> tuple[int, ...]:
        if source not in self.sums:
            raise NIRError(f"{path!r} is called with {source}, which does not come from the input")
        return self.sums[source]

    def _refuse(self, node: fx.Node, what: str, fix: str) -> None:
        raise NIRError(f"the network has {what}{_line_of(node)}, for which NIR has no node; {fix}")


def _is_off(node: fx.Node) -> bool:
    """Return True if a node is dropout that drops nothing."""
    return node.target is nnf.dropout and node.kwargs.get("training", True) is False


def _line_of(node: fx.Node) -> str:
    """Return the line of the user's forward that created a node, for messages."""
    lines = [line.strip() for line in (node.stack_trace or "").splitlines()]
    places = [place for place, line in enumerate(lines[:-1]) if line.startswith("File ") and _TORCH not in line]
    return f" ({lines[places[-1]]}: {lines[places[-1] + 1]})" if places else ""


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of a value for one sample."""
    found = node.meta["tensor_meta"]
    return tuple(found.shape[1:])


def _in_evaluation(over_time: TimeNorm) -> Any:
    """Return torch's batch norm that equals one over batch and time in evaluation."""
    norm: Any = copy.deepcopy(over_time.norm)
    if over_time.scale != 1.0:
        norm.weight = nn.Parameter(over_time.scale * norm.weight)
    return norm


def copied_model(model: Any) -> Any:
    """Return a copy of a network that takes (N, T, ...); raise NIRError if its weights are computed by hooks."""
    try:
        copied = copy.deepcopy(model)
    except RuntimeError as error:
        raise NIRError(
            f"the network cannot be copied ({str(error).splitlines()[0]}); make computed weights plain first, with "
            "prune.remove or remove_weight_norm"
        ) from error
    copied.batch_first = True
    return copied


def check_hooks(model: nn.Module) -> None:
    """Raise NIRError if a hook may change inputs or outputs of a module, because a graph would not show it."""
    for path, module in model.named_modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if any(not isinstance(hook, InitHook) for hook in hooks):
            raise NIRError(f"module {path or 'model'!r} has a forward hook, which a graph cannot hold; remove it")


def check_layer(layer: StatefulLayer, path: str) -> None:
    """Raise if a user's subclass changes how a layer of this library uses its step.

    Raises:
        NIRError: the class does so; or the layer returns more than its spikes.
    """
    returns = getattr(layer, "returns", SPIKES)
    if returns != SPIKES:
        raise NIRError(
            f"layer {path!r} has returns={returns!r}, but a node returns only its spikes; write a copy of the "
            f"network whose layers have returns={SPIKES!r}"
        )
    for kind in type(layer).__mro__:
        changed = {"forward", "whole_step", "initial_state", "_advance", "_dispatch"} & vars(kind).keys()
        if changed and issubclass(kind, StatefulLayer) and not kind.__module__.startswith("spikingtorch."):
            raise NIRError(
                f"layer {path!r} is a {kind.__name__} with a {min(changed)} of its own, which NIR cannot express; "
                "write its code as a module around the layer"
            )
